"""LLaVA in flax.nnx: a port of the Hugging Face models, checked against them layer by layer.

LLaVA-1.5 and LLaVA-1.6 (LLaVA-NeXT) with a Llama or Mistral language model, read from a Hugging Face folder:

    model = llava.load("llava-1.5-7b-hf", dtype=jnp.bfloat16)
    processor = llava.read_processor("llava-1.5-7b-hf")
    batch = llava.encode(processor, [llava.Sample("q1", "kitchen.jpg", "Is the cup left or right of the plate?")])
    output = llava.forward(model, batch.ids, batch.pixels, token_types=batch.token_types, collect="pooled",
                           knockouts=(llava.Knockout(llava.windows(32)[12]),))

    store = llava.capture(model, batch, conditions={"baseline": (), "blind": (llava.Knockout("all"),)}, store="out")
    store.states("blind", llava.TokenType.LAST)[12]

The residual stream of every layer is recorded inside the scan over layers, in full or as means over groups of tokens.
Attention from one group to another can be removed in any set of layers without a new compilation.

    python -m pid.llava verify llava-1.5-7b-hf      compare a folder with what torch computes from it, layer by layer
    python -m pid.llava sizes --mesh.model 8        count what the published models need on a mesh

Stages, in import order:

model_folder      the config.json of a folder, checked, and what to do with a path that is no model folder
config            configurations, read from a Hugging Face config.json
tokens            token types
knockout          attention edges removed by token type and layer
partitioning      placement of parameters and samples on a mesh
progress          a progress bar on a terminal
published_models  the configurations of the published models
preprocessing     from an image and a question to the arrays that the model reads
model             vision tower, language model, and LLaVA
checkpoint        weights: loading, caching, saving
activations       activations of many samples under many knockouts, captured into a store
parity            checks of a checkpoint against torch, and the memory of a model
"""

import sys
from typing import Any

from pid.interface.deprecation import former_attribute
from pid.interface.extras import require_extra

require_extra(
    "llava", "pid.llava", "einops", "filelock", "orbax", "PIL", "rich", "safetensors", "transformers"
)

from pid.llava.activations.activation_store import States as States
from pid.llava.activations.activation_store import Store as Store
from pid.llava.activations.batching import Buckets as Buckets
from pid.llava.activations.collect import capture as capture
from pid.llava.checkpoint.loading import load as load
from pid.llava.checkpoint.loading import load_text as load_text
from pid.llava.checkpoint.saving import save as save
from pid.llava.config import LlavaConfig as LlavaConfig
from pid.llava.config import TextConfig as TextConfig
from pid.llava.config import VisionConfig as VisionConfig
from pid.llava.config import read_config as read_config
from pid.llava.knockout import Knockout as Knockout
from pid.llava.knockout import knockout_mask as knockout_mask
from pid.llava.knockout import windows as windows
from pid.llava.model.language_model import LanguageModel as LanguageModel
from pid.llava.model.language_model import Output as Output
from pid.llava.model.llava import Llava as Llava
from pid.llava.model.llava import forward as forward
from pid.llava.partitioning import MeshShape as MeshShape
from pid.llava.partitioning import bytes_per_device as bytes_per_device
from pid.llava.preprocessing.anyres import anyres_rows as anyres_rows
from pid.llava.preprocessing.device_inputs import DeviceInputs as DeviceInputs
from pid.llava.preprocessing.device_inputs import prepare as prepare
from pid.llava.preprocessing.encoded_prompt import EncodedPrompt as EncodedPrompt
from pid.llava.preprocessing.encoding import Sample as Sample
from pid.llava.preprocessing.encoding import encode as encode
from pid.llava.preprocessing.encoding import encode_prompt as encode_prompt
from pid.llava.preprocessing.encoding import encode_prompts as encode_prompts
from pid.llava.preprocessing.padding import Batch as Batch
from pid.llava.preprocessing.padding import pad as pad
from pid.llava.preprocessing.processor import Processor as Processor
from pid.llava.preprocessing.processor import fingerprint as fingerprint
from pid.llava.preprocessing.processor import read_processor as read_processor
from pid.llava.preprocessing.processor import wrap_processor as wrap_processor
from pid.llava.preprocessing.prompts import Prompt as Prompt
from pid.llava.preprocessing.prompts import prompt as prompt
from pid.llava.published_models import PUBLISHED_MODELS as PUBLISHED_MODELS
from pid.llava.published_models import PublishedModel as PublishedModel
from pid.llava.tokens import TokenType as TokenType

RENAMED = {
    "Inputs": "DeviceInputs",
    "Language": "LanguageModel",
    "PUBLISHED": "PUBLISHED_MODELS",
    "Published": "PublishedModel",
    "Row": "EncodedPrompt",
    "block_table": "knockout_mask",
    "encode_row": "encode_prompt",
    "encode_rows": "encode_prompts",
}
"""Old name → name. The old names work for one release, with a DeprecationWarning."""

__all__ = [
    "PUBLISHED_MODELS",
    "Batch",
    "Buckets",
    "DeviceInputs",
    "EncodedPrompt",
    "Knockout",
    "LanguageModel",
    "Llava",
    "LlavaConfig",
    "MeshShape",
    "Output",
    "Processor",
    "Prompt",
    "PublishedModel",
    "Sample",
    "States",
    "Store",
    "TextConfig",
    "TokenType",
    "VisionConfig",
    "anyres_rows",
    "bytes_per_device",
    "capture",
    "encode",
    "encode_prompt",
    "encode_prompts",
    "fingerprint",
    "forward",
    "knockout_mask",
    "load",
    "load_text",
    "pad",
    "prepare",
    "prompt",
    "read_config",
    "read_processor",
    "save",
    "windows",
    "wrap_processor",
]


def __getattr__(name: str) -> Any:
    """Resolve a former name, with a DeprecationWarning."""
    return former_attribute(sys.modules[__name__], name, RENAMED)
