"""Transformers with seven places for a diffusion layer, and with attention that a PDE may evolve.

config     `ModelConfig`: sizes, places of the diffusion layer, equation of the attention; `Architecture`, its base
positions  position codes: sinusoids, rotations, slopes of linear biases
mixers     attention, plain, windowed, by random features or evolved; a linear recurrence in its place
block      one Transformer block with its hooks
trunk      embedding, and the stacked blocks under one `lax.scan`
heads      `Classifier` and `Matcher` (two towers)
lm_cache   what a language model remembers of earlier tokens; the decoding of new ones
causal_lm  `CausalLM`

Controls stand in the same program: the mixer (`mixer`) and the position code (`positions`) are fields of
`Architecture`, and the layers at the places are kinds of `StencilConfig`. The placement `positions_only` smooths the
position code alone; `in_attention` and `in_ffn` are inside the sublayers.

A model is called as `model(tokens, segment_ids=None, *, key=None) -> logits`. Equal positive `segment_ids` belong
together and 0 is padding: attention, diffusion and positions stay inside a segment. With a key, dropout is drawn from
it. Without one a new model is deterministic, as after `model.eval()`; after `model.train()` the key comes from the
stream `dropout` of `rngs=nnx.Rngs(0, dropout=1)`, and a model without that stream asks for a key.

The initial parameters of a component depend only on the seed and on its name. A model with diffusion layers
or evolved attention therefore starts from the same weights as its baseline, so a comparison of the two is paired.
"""

from pdeformer.model.causal_lm import CausalLM as CausalLM
from pdeformer.model.config import INNER_PLACEMENTS as INNER_PLACEMENTS
from pdeformer.model.config import PLACEMENTS as PLACEMENTS
from pdeformer.model.config import POSITIONS_ONLY as POSITIONS_ONLY
from pdeformer.model.config import Architecture as Architecture
from pdeformer.model.config import ModelConfig as ModelConfig
from pdeformer.model.config import Placement as Placement
from pdeformer.model.heads import Classifier as Classifier
from pdeformer.model.heads import Matcher as Matcher
from pdeformer.model.lm_cache import LMCache as LMCache

__all__ = [
    "INNER_PLACEMENTS",
    "PLACEMENTS",
    "POSITIONS_ONLY",
    "Architecture",
    "CausalLM",
    "Classifier",
    "LMCache",
    "Matcher",
    "ModelConfig",
    "Placement",
]
