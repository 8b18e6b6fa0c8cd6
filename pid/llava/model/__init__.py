"""The model in flax.nnx.

choices           dtype, states and groups of a forward pass, checked
layers            linear maps, LayerNorm and blocks, stacked or listed, that all parts share
attention_kernel  attention in the fast memory of a TPU or GPU
masked_attention  attention under a knockout mask, by the kernel or by XLA
vision            the CLIP vision tower, as deep as LLaVA needs it
language_model    Llama and Mistral, with the residual stream of every layer
llava             LLaVA: image features replace image tokens, and the compiled forward pass
"""
