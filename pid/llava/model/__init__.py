"""The model in flax.nnx.

choices         dtype, states and groups of a forward pass, checked
layers          linear maps, LayerNorm and stacks of blocks that all parts share
vision          the CLIP vision tower, as deep as LLaVA needs it
language_model  Llama and Mistral, with the residual stream of every layer
llava           LLaVA: image features replace image tokens, and the compiled forward pass
"""
