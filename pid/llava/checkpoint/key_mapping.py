"""Names of parameters: three layouts of Hugging Face, one canonical form of them, and our own names.

    hub                 language_model.model.layers.0…   language_model.lm_head   vision_tower.vision_model.encoder…
    in memory           model.language_model.layers.0…   lm_head                  model.vision_tower.vision_model…
    saved by v5         language_model.model.layers.0…   language_model.lm_head   vision_tower.encoder…
    canonical           language_model.layers.0…         lm_head                  vision_tower.encoder…

A model of text alone has model.layers.0… and lm_head.
"""

import re
from collections.abc import Iterable

TO_CANONICAL = (
    (r"^model\.(?=(language_model|vision_tower|multi_modal_projector|image_newline|lm_head)\b)", ""),
    (r"^model\.(?=(layers|embed_tokens|norm)\.)", "language_model."),
    (r"^language_model\.model\.", "language_model."),
    (r"^language_model\.lm_head\.", "lm_head."),
    (r"^vision_tower\.vision_model\.", "vision_tower."),
)

TO_HUB = (
    (r"^language_model\.", "language_model.model."),
    (r"^lm_head\.", "language_model.lm_head."),
    (r"^vision_tower\.", "vision_tower.vision_model."),
)

MODULES = {
    "embed": "language_model.embed_tokens",
    "norm": "language_model.norm",
    "head": "lm_head",
    "blocks/norm_attention": "language_model.layers.{}.input_layernorm",
    "blocks/query": "language_model.layers.{}.self_attn.q_proj",
    "blocks/key": "language_model.layers.{}.self_attn.k_proj",
    "blocks/value": "language_model.layers.{}.self_attn.v_proj",
    "blocks/out": "language_model.layers.{}.self_attn.o_proj",
    "blocks/norm_ffn": "language_model.layers.{}.post_attention_layernorm",
    "blocks/gate": "language_model.layers.{}.mlp.gate_proj",
    "blocks/up": "language_model.layers.{}.mlp.up_proj",
    "blocks/down": "language_model.layers.{}.mlp.down_proj",
    "vision/norm": "vision_tower.pre_layrnorm",  # misspelled in the original
    "vision/blocks/norm_attention": "vision_tower.encoder.layers.{}.layer_norm1",
    "vision/blocks/query": "vision_tower.encoder.layers.{}.self_attn.q_proj",
    "vision/blocks/key": "vision_tower.encoder.layers.{}.self_attn.k_proj",
    "vision/blocks/value": "vision_tower.encoder.layers.{}.self_attn.v_proj",
    "vision/blocks/out": "vision_tower.encoder.layers.{}.self_attn.out_proj",
    "vision/blocks/norm_ffn": "vision_tower.encoder.layers.{}.layer_norm2",
    "vision/blocks/up": "vision_tower.encoder.layers.{}.mlp.fc1",
    "vision/blocks/down": "vision_tower.encoder.layers.{}.mlp.fc2",
    "projector/up": "multi_modal_projector.linear_1",
    "projector/down": "multi_modal_projector.linear_2",
}
LEAVES = {"kernel": "weight", "scale": "weight", "embedding": "weight", "bias": "bias"}
SINGLE_TENSORS = {
    "vision/patches": "vision_tower.embeddings.patch_embedding.weight",
    "vision/class_embedding": "vision_tower.embeddings.class_embedding",
    "vision/positions": "vision_tower.embeddings.position_embedding.weight",
    "newline": "image_newline",
}
ORIGINAL = r"(^|\.)mm_projector\.|(^|\.)vision_tower\.vision_tower\."
BLOCK_NUMBER = r"(?<=blocks/)(\d+)/"
"""The number of a block in a list of blocks."""
BUFFER = r"(position_ids|rotary_emb\.inv_freq)$"
VISION_LAYER = r"^vision_tower\.encoder\.layers\.(\d+)\."
VISION_END = r"^vision_tower\.post_layernorm\."


def canonical_key(key: str) -> str:
    """The canonical form of a key of any layout."""
    for pattern, replacement in TO_CANONICAL:
        key = re.sub(pattern, replacement, key)
    return key


def hub_key(key: str) -> str:
    """The key in the hub layout, given the canonical `key`."""
    for pattern, replacement in TO_HUB:
        if re.match(pattern, key):
            return re.sub(pattern, replacement, key)
    return key


def layout(keys: Iterable[str]) -> str:
    """The layout of the keys of a LLaVA: "hub", "in memory" or "saved by v5"."""
    keys = tuple(keys)
    if any(key.startswith("model.") for key in keys):
        return "in memory"
    return "hub" if any(key.startswith("vision_tower.vision_model.") for key in keys) else "saved by v5"


def is_original(key: str) -> bool:
    """Whether a key is of the layout of the original authors, which this port does not read."""
    return re.search(ORIGINAL, key) is not None


def is_buffer(key: str) -> bool:
    """Whether a tensor is not a parameter but a table that old versions saved beside the parameters."""
    return re.search(BUFFER, key) is not None


def is_stacked(name: str) -> bool:
    """Whether our parameter `name` has a leading layer axis, as that of a block in a list of blocks has not."""
    return "blocks/" in name and re.search(BLOCK_NUMBER, name) is None


def is_transposed(name: str) -> bool:
    """Whether torch stores our parameter `name` as (outputs, inputs)."""
    return name.endswith("/kernel")


def tensor_keys(name: str, shape: tuple[int, ...]) -> tuple[str, ...]:
    """The canonical keys of our parameter `name`: one, or one per layer for a stacked parameter."""
    numbers = range(shape[0]) if is_stacked(name) else [int(n) for n in re.findall(BLOCK_NUMBER, name)]
    name = re.sub(BLOCK_NUMBER, "", name.removeprefix("language/"))
    if name in SINGLE_TENSORS:
        return (SINGLE_TENSORS[name],)
    module, _, leaf = name.rpartition("/")
    key = f"{MODULES[module]}.{LEAVES[leaf]}"
    return tuple(key.format(number) for number in numbers) if "blocks/" in name else (key,)


def vision_layers(keys: Iterable[str]) -> int:
    """The number of vision blocks that the canonical `keys` have: one more than the last; 0 without any."""
    layers = (re.match(VISION_LAYER, key) for key in keys)
    return max((1 + int(layer.group(1)) for layer in layers if layer), default=0)


def unused_keys(keys: Iterable[str], *, depth: int, tie_embeddings: bool) -> set[str]:
    """Those of the canonical `keys` that are known but not needed.

    These are the vision blocks from `depth` on, the norm after them, and the output map if it is tied to the embedding.
    """

    def is_unused(key: str) -> bool:
        layer = re.match(VISION_LAYER, key)
        beyond = layer is not None and int(layer.group(1)) >= depth
        return beyond or bool(re.match(VISION_END, key)) or (tie_embeddings and key == "lm_head.weight")

    return {key for key in keys if is_unused(key)}
