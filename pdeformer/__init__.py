"""Transformers steered by partial differential equations.

Every public name loads on first use; `__init__.pyi` lists where each one is defined.

stencil      the path graph of a token sequence and its Laplacian; checks that functions share
pde          the four equations, their stability and one explicit step
integrators  `evolve`: many steps as a scan, a convolution or modes; causal forms
attention    `pde_attention`: attention weights or logits that a PDE evolves; decoding
sharding     meshes, the placement of parameters, batches and activations
layers       diffusion layers and PDE attention as flax.nnx modules
model        a Transformer with seven places for a diffusion layer
cta          the official Continuous-Time Attention layers and checkpoints
diagnostics  energies, similarity, rank and sensitivity of hidden states
simulator    a Transformer as a PDE, with residual connection and LayerNorm as switches
plots        `plots.evolution`: how a state changes over pseudo-time
train        optimizer and the training step
"""

import lazy_loader

__version__ = "0.1.0"
__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
