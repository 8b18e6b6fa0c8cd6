"""Checkpoints of the official PyTorch code, read without PyTorch and evaluated on test texts.

Files in import order:

checkpoint_files  state dicts of PyTorch, safetensors and NumPy
evaluation        loss, accuracy and hits of a checkpoint on a split
"""
