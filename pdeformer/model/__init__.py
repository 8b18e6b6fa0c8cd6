"""Transformers with seven places for a diffusion layer, and attention that a PDE may evolve.

A classifier, a two-tower matcher, a causal LM.

A model is called as `model(tokens, segment_ids=None, *, key=None) -> logits`. `segment_ids` (0 is padding,
equal positive ids belong together) decide who is seen: attention, diffusion and positions stay inside a
segment. Without a key the model is deterministic; with one, dropout is drawn from it.

The initial parameters of a part depend on the seed and the name of the part alone. A model with diffusion
layers or evolved attention therefore starts from the very weights of its baseline, and the comparison is paired.
"""

from pdeformer.model.config import PLACEMENTS as PLACEMENTS
from pdeformer.model.config import ModelConfig as ModelConfig
from pdeformer.model.config import Placement as Placement
from pdeformer.model.heads import CausalLM as CausalLM
from pdeformer.model.heads import Classifier as Classifier
from pdeformer.model.heads import Matcher as Matcher

__all__ = ["PLACEMENTS", "CausalLM", "Classifier", "Matcher", "ModelConfig", "Placement"]
