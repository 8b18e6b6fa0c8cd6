"""Transformers with seven places for a diffusion layer, and with attention that a PDE may evolve.

config  `ModelConfig`: sizes, places of the diffusion layer, equation of the attention; `Architecture`, its base
block   one Transformer block with its hooks
trunk   embedding, positions, and the stacked blocks under one `lax.scan`
heads   `Classifier`, `Matcher` (two towers) and `CausalLM`

A model is called as `model(tokens, segment_ids=None, *, key=None) -> logits`. Equal positive `segment_ids` belong
together and 0 is padding: attention, diffusion and positions stay inside a segment. Without a key the model is
deterministic; with a key, dropout is drawn from it.

The initial parameters of a component depend only on the seed and on its name. A model with diffusion layers
or evolved attention therefore starts from the same weights as its baseline, so a comparison of the two is paired.
"""

from pdeformer.model.config import PLACEMENTS as PLACEMENTS
from pdeformer.model.config import Architecture as Architecture
from pdeformer.model.config import ModelConfig as ModelConfig
from pdeformer.model.config import Placement as Placement
from pdeformer.model.heads import CausalLM as CausalLM
from pdeformer.model.heads import Classifier as Classifier
from pdeformer.model.heads import Matcher as Matcher

__all__ = ["PLACEMENTS", "Architecture", "CausalLM", "Classifier", "Matcher", "ModelConfig", "Placement"]
