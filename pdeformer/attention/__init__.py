"""Attention whose weights or logits a PDE evolves, plain attention, and decoding over a cache.

Any equation acts on the weights or on the logits, along the keys, the queries or both. The cost depends on whether
the steps are linear (n steps, T tokens, C rows of a tile):

    equation             target    axis              base      method         cost beside plain attention
    diffusion, wave,     weights   key               any       folded         one stencil pass over V
      advection                    key, causal       any       folded         and windows of 2n keys: O(T n) work
                                   query, both       any       folded         one pass over the output (and V)
                         logits    key, query, both  softmax   folded         one pass over K and Q
    reaction,            weights   key               any       tiled          O(C T) memory, O(n T²) work
      Strang or Euler    logits    key               softmax   tiled          the same; allen_cahn only
    reaction first,      weights   key               softmax   folded         a second attention
      or one Euler step

Method "materialized", the definition, is exact for every row of the table; "tiled" for every row with axis "key". A
window needs base "softmax". Causal attention evolves weights along the keys. A reaction acts along the keys; a
"fisher" reaction needs weights. Base "performer" has no logits. `options.exact_methods` computes this table. Any other
combination raises a ValueError that says what to use instead.

types           named tuples for outputs, masks, dropout bits and inputs; the check of shapes
dropout         draws the dropout bits and decides which pairs are kept
chunked         plain softmax attention in O(T) memory
plain           plain attention with random features, and by the fused kernels of accelerators
keywords        turns the fields of a dataclass into keyword arguments
options         the options, each defined once; their checks; the methods that are exact for them
materialized    the definition: the evolved matrix of weights
tiled           the definition by blocks of rows
folded          the exact rewrite of linear equations around plain attention
euler_reaction  the exact rewrite of one Euler reaction as two attentions
dispatch        checks a call, prepares its arrays and runs its method
decode          attention of new tokens over a cache; the number of steps as a function of the length
api             `pde_attention`, `pde_attention_weights`, `dot_product_attention`
"""

from pdeformer.attention.api import dot_product_attention as dot_product_attention
from pdeformer.attention.api import pde_attention as pde_attention
from pdeformer.attention.api import pde_attention_weights as pde_attention_weights
from pdeformer.attention.decode import AttentionCache as AttentionCache
from pdeformer.attention.decode import init_cache as init_cache
from pdeformer.attention.decode import pde_attention_decode as pde_attention_decode
from pdeformer.attention.decode import step_budget as step_budget
from pdeformer.attention.plain.kernel_choice import AttentionKernel as AttentionKernel
from pdeformer.attention.plain.kernel_choice import explain as explain

__all__ = [
    "AttentionCache",
    "AttentionKernel",
    "dot_product_attention",
    "explain",
    "init_cache",
    "pde_attention",
    "pde_attention_decode",
    "pde_attention_weights",
    "step_budget",
]
