"""Checks of a checkpoint: agreement with Hugging Face's torch, layer by layer, and the memory that a model needs.

fixed_prompt     the parity prompt: a fixed question about a fixed picture
torch_reference  Hugging Face's model in eager torch, with the states of every layer
report           `python -m pid.llava verify`: a checkpoint, checked layer by layer against torch
memory           `python -m pid.llava sizes`: bytes per device, and a lowered forward pass
"""
