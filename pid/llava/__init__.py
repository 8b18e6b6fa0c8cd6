"""LLaVA in flax.nnx: our port of the Hugging Face models, checked layer by layer against them.

LLaVA-1.5 and LLaVA-1.6 (LLaVA-NeXT) with a Llama or Mistral language model, read from a Hugging Face folder:

    model = llava.load("llava-1.5-7b-hf", dtype=jnp.bfloat16)
    output = llava.forward(model, input_ids, pixel_values, token_types=types, collect="pooled",
                           knockouts=(llava.Knockout(llava.windows(32)[12]),))

    rows = ...  # llava.Row: ids, types and pixels of each prompt
    store = llava.capture(model, rows, conditions={"baseline": (), "blind": (llava.Knockout("all"),)}, store="out")
    store.states("blind", llava.TokenType.LAST)[12]

Every layer's residual stream is taken inside the scan over layers, whole or pooled by group of tokens, and attention
from one group to another can be cut in any set of layers without compiling anew.

tokens      what a token is
knockout    attention edges cut by type of token and layer
anyres      LLaVA-1.6's images of any resolution, as a map of rows
config      sizes and choices, from a Hugging Face config.json
inputs      a batch, checked and laid out on the host
parts       maps, norms and stacks of layers
clip        the vision tower, as deep as needed
language    Llama and Mistral, every layer in sight
sharding    where parameters and samples lie on a mesh
model       image features in the place of image tokens; the forward pass
row         a prompt as the model reads it, before padding
phases      many conditions, the tokens before the question run once
plan        from prompts to batches of few shapes
progress    a bar on a terminal
shards      a folder of shards that survives a kill
store       captured activations, read in the order of the samples
activations samples × conditions → a store
keys        the names of parameters, here and at Hugging Face
weights     from safetensors, each device its own slices
"""

from pid.llava.activations import capture as capture
from pid.llava.anyres import anyres_rows as anyres_rows
from pid.llava.config import LlavaConfig as LlavaConfig
from pid.llava.config import TextConfig as TextConfig
from pid.llava.config import VisionConfig as VisionConfig
from pid.llava.config import read_config as read_config
from pid.llava.inputs import Inputs as Inputs
from pid.llava.inputs import prepare as prepare
from pid.llava.knockout import Knockout as Knockout
from pid.llava.knockout import block_table as block_table
from pid.llava.knockout import windows as windows
from pid.llava.language import Language as Language
from pid.llava.language import Output as Output
from pid.llava.model import Llava as Llava
from pid.llava.model import forward as forward
from pid.llava.plan import Buckets as Buckets
from pid.llava.row import Row as Row
from pid.llava.sharding import bytes_per_device as bytes_per_device
from pid.llava.store import States as States
from pid.llava.store import Store as Store
from pid.llava.tokens import TokenType as TokenType
from pid.llava.weights import load as load
from pid.llava.weights import load_text as load_text

__all__ = [
    "Buckets",
    "Inputs",
    "Knockout",
    "Language",
    "Llava",
    "LlavaConfig",
    "Output",
    "Row",
    "States",
    "Store",
    "TextConfig",
    "TokenType",
    "VisionConfig",
    "anyres_rows",
    "block_table",
    "bytes_per_device",
    "capture",
    "forward",
    "load",
    "load_text",
    "prepare",
    "read_config",
    "windows",
]
