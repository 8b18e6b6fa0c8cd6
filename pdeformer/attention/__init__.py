"""Attention evolved by a PDE: the definition (materialised), the fold, the tiles, and plain attention under them.

Any equation acts on the weights or on the logits, along the keys, the queries or both. What it costs depends on
whether the steps are linear (n steps, T tokens, C rows of a tile):

    equation             target    axis              base      method         beside plain attention
    diffusion, wave,     weights   key               any       folded         one stencil pass over V
      advection                    key, causal       any       folded         and windows of 2n keys: O(T n) work
                                   query, both       any       folded         one pass over the output (and V)
                         logits    key, query, both  softmax   folded         one pass over K and Q
    reaction,            weights   key               any       tiled          O(C T) memory, O(n T²) work
      Strang or Euler    logits    key               softmax   tiled          the same; allen_cahn only
    reaction first,      weights   key               softmax   folded         a second attention
      or one Euler step

Everything is also served by "materialized", the definition, and what acts along the keys alone by "tiled". Base
"softmax" may have a window. Causal attention evolves along the keys, on weights. A reaction acts along the keys. A
fisher reaction needs weights. Performer features form no logits. `serving.methods` is this table as a function; a
combination outside it raises ValueError and says what to use instead.
"""

from pdeformer.attention.api import pde_attention as pde_attention
from pdeformer.attention.api import pde_attention_weights as pde_attention_weights
from pdeformer.attention.chunked import dot_product_attention as dot_product_attention
from pdeformer.attention.decode import AttentionCache as AttentionCache
from pdeformer.attention.decode import init_cache as init_cache
from pdeformer.attention.decode import pde_attention_decode as pde_attention_decode
from pdeformer.attention.policy import step_budget as step_budget

__all__ = [
    "AttentionCache",
    "dot_product_attention",
    "init_cache",
    "pde_attention",
    "pde_attention_decode",
    "pde_attention_weights",
    "step_budget",
]
