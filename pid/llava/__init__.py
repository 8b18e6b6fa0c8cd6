"""LLaVA in flax.nnx: our port of the Hugging Face models, checked layer by layer against them.

LLaVA-1.5 and LLaVA-1.6 (LLaVA-NeXT) with a Llama or Mistral language model, read from a Hugging Face folder:

    model = llava.load("llava-1.5-7b-hf", dtype=jnp.bfloat16)
    output = llava.forward(model, input_ids, pixel_values, token_types=types, collect="pooled",
                           knockouts=(llava.Knockout(llava.windows(32)[12]),))

    processor = llava.read_processor("llava-1.5-7b-hf")
    rows = llava.encode_rows(processor, [llava.Sample("q1", "kitchen.jpg", "Is the cup left or right of the plate?")])
    store = llava.capture(model, rows, conditions={"baseline": (), "blind": (llava.Knockout("all"),)}, store="out")
    store.states("blind", llava.TokenType.LAST)[12]

Every layer's residual stream is taken inside the scan over layers, whole or pooled by group of tokens, and attention
from one group to another can be cut in any set of layers without compiling anew.

    python -m pid.llava verify llava-1.5-7b-hf      whether a folder is computed as torch computes it, layer by layer
    python -m pid.llava sizes --mesh.model 8        what the published models need on a mesh

tokens      what a token is
knockout    attention edges cut by type of token and layer
anyres      LLaVA-1.6's images of any resolution, as a map of rows
config      sizes and choices, from a Hugging Face config.json
published   the configs of the published models
inputs      a batch, checked and laid out on the host
parts       maps, norms and stacks of layers
clip        the vision tower, as deep as needed
language    Llama and Mistral, every layer in sight
sharding    where parameters and samples lie on a mesh
model       image features in the place of image tokens; the forward pass
sizes       bytes of a model on a mesh, and a lowered forward pass
keys        the names of parameters, here and at Hugging Face
folder      a folder of safetensors, tensors read by slices
cache       converted weights kept on disk
weights     from safetensors, each device its own slices
export      into a Hugging Face folder
row         a prompt as the model reads it, before padding
prompts     the text around an image and a question
chunks      from text to tokens, before and behind the image
pixels      from an image to tiles
processor   tokenizer, image processor and prompt, with a fingerprint
batch       rows side by side, padded
encoding    from raw samples to rows and batches
phases      many conditions, the tokens before the question run once
plan        from prompts to batches of few shapes
progress    a bar on a terminal
shards      a folder of shards that survives a kill
store       captured activations, read in the order of the samples
activations samples × conditions → a store
probe       a fixed question about a fixed picture
reference   Hugging Face's model in eager torch, watched
verify      a checkpoint checked, layer by layer beside torch
"""

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
from pid.llava.model.language_model import Language as Language
from pid.llava.model.language_model import Output as Output
from pid.llava.model.llava import Llava as Llava
from pid.llava.model.llava import forward as forward
from pid.llava.partitioning import MeshShape as MeshShape
from pid.llava.partitioning import bytes_per_device as bytes_per_device
from pid.llava.preprocessing.anyres import anyres_rows as anyres_rows
from pid.llava.preprocessing.device_inputs import Inputs as Inputs
from pid.llava.preprocessing.device_inputs import prepare as prepare
from pid.llava.preprocessing.encoded_prompt import Row as Row
from pid.llava.preprocessing.encoding import Sample as Sample
from pid.llava.preprocessing.encoding import encode as encode
from pid.llava.preprocessing.encoding import encode_row as encode_row
from pid.llava.preprocessing.encoding import encode_rows as encode_rows
from pid.llava.preprocessing.padding import Batch as Batch
from pid.llava.preprocessing.padding import pad as pad
from pid.llava.preprocessing.processor import Processor as Processor
from pid.llava.preprocessing.processor import fingerprint as fingerprint
from pid.llava.preprocessing.processor import read_processor as read_processor
from pid.llava.preprocessing.processor import wrap_processor as wrap_processor
from pid.llava.preprocessing.prompts import Prompt as Prompt
from pid.llava.preprocessing.prompts import prompt as prompt
from pid.llava.published_models import PUBLISHED as PUBLISHED
from pid.llava.published_models import Published as Published
from pid.llava.tokens import TokenType as TokenType

__all__ = [
    "Batch",
    "Buckets",
    "Inputs",
    "Knockout",
    "Language",
    "Llava",
    "LlavaConfig",
    "MeshShape",
    "Output",
    "PUBLISHED",
    "Processor",
    "Prompt",
    "Published",
    "Row",
    "Sample",
    "States",
    "Store",
    "TextConfig",
    "TokenType",
    "VisionConfig",
    "anyres_rows",
    "knockout_mask",
    "bytes_per_device",
    "capture",
    "encode",
    "encode_row",
    "encode_rows",
    "fingerprint",
    "forward",
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
