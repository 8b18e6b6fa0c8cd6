"""Write the files of llava_golden.py: tiny random LLaVA checkpoints and the results of Hugging Face's eager torch.

    python -m tests.helpers.llava_reference tests/golden        (needs torch, transformers, safetensors)

Every weight is random, and the sizes are chosen for small files. Weights are large (0.25) and embeddings small (0.01
for words, 0.003 for patches), so that every mistake has a visible effect: at the usual 0.02 a block hardly changes its
input. Weights are float16 as on the hub, and the computation is float32.
"""

# pyright: reportMissingImports=false
import sys
import zlib
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from transformers import (
    CLIPVisionConfig,
    LlamaConfig,
    LlavaConfig,
    LlavaForConditionalGeneration,
    LlavaNextConfig,
    LlavaNextForConditionalGeneration,
    LlavaNextModel,
    MistralConfig,
)
from transformers.models.llava_next.modeling_llava_next import image_size_to_num_patches

from pid.llava.parity.torch_reference import load_reference, record_states

IMAGE_ID, PAD_ID, VOCABULARY, TOKENS = 39, 38, 40, 96
SIDE, PATCH = 28, 7
PINPOINTS = [[28, 56], [56, 28], [56, 56]]
SIZES = [[41, 60], [50, 20]]  # (height, width) of the two images
PAD, TEXT, IMAGE, QUESTION, LAST = range(5)
WINDOW = (1, 2)

VISION: dict[str, Any] = {
    "hidden_size": 16,
    "intermediate_size": 32,
    "num_hidden_layers": 3,
    "num_attention_heads": 2,
    "image_size": SIDE,
    "patch_size": PATCH,
    "projection_dim": 16,
}
TEXT_SIZES: dict[str, Any] = {
    "vocab_size": VOCABULARY,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 4,
    "num_attention_heads": 4,
    "rms_norm_eps": 1e-5,
    "max_position_embeddings": 512,
}


def text_config(kind):
    if kind == "llama":
        return LlamaConfig(**TEXT_SIZES)
    rope = {"rope_type": "default", "rope_theta": 1e6}
    return MistralConfig(**TEXT_SIZES, num_key_value_heads=2, sliding_window=None, rope_parameters=rope)


def build(family, kind, seed):
    common: dict[str, Any] = {
        "vision_config": CLIPVisionConfig(**VISION),
        "text_config": text_config(kind),
        "image_token_index": IMAGE_ID,
        "image_seq_length": (SIDE // PATCH) ** 2,
    }
    if family == "llava":
        model = LlavaForConditionalGeneration(LlavaConfig(**common))
    else:
        model = LlavaNextForConditionalGeneration(LlavaNextConfig(**common, image_grid_pinpoints=PINPOINTS))
    random = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, weight in model.named_parameters():
            noise = torch.randn(weight.shape, generator=random)
            if "embed_tokens" in name:
                weight.copy_(0.01 * noise)
            elif "patch_embedding" in name or "class_embedding" in name or "position_embedding" in name:
                weight.copy_(0.003 * noise)
            elif "norm" in name and name.endswith("weight"):
                weight.copy_(1 + 0.1 * noise)
            else:
                weight.copy_(0.25 * noise)
    return model


def samples(counts, tiles, seed):
    """Two prompts of different length, padded on the right, with random pixels."""
    random = np.random.default_rng(seed)
    ids, types = np.full((2, TOKENS), PAD_ID), np.zeros((2, TOKENS), int)
    for row, (count, question) in enumerate(zip(counts, (6, 3), strict=True)):
        kinds = [TEXT] * 3 + [IMAGE] * count + [TEXT] + [QUESTION] * question + [TEXT] * 2 + [LAST]
        types[row, : len(kinds)] = kinds
        words = random.integers(1, PAD_ID, len(kinds))
        ids[row, : len(kinds)] = np.where(np.array(kinds) == IMAGE, IMAGE_ID, words)
    longest = int((types > 0).sum(1).max())
    pixels = random.standard_normal((2, *(() if tiles is None else (tiles,)), 3, SIDE, SIDE))
    return ids[:, :longest], types[:, :longest], pixels.astype(np.float16)


def anyres_map(config, size):
    """The order in which Hugging Face packs the features of one image, as row numbers; -1 is the newline."""
    vision = config.vision_config
    tiles = image_size_to_num_patches(list(size), config.image_grid_pinpoints, vision.image_size)
    patches = (vision.image_size // vision.patch_size) ** 2
    rows = torch.arange(tiles * patches, dtype=torch.float32).reshape(tiles, patches, 1)
    pack: Any = LlavaNextModel.pack_image_features
    packed, _ = pack(SimpleNamespace(config=config), [rows], [list(size)], "default", torch.tensor([-1.0]))
    return packed[0][:, 0].numpy().astype(np.int32)


def golden_of_sizes():
    """Lengths and checksums of the token maps of LLaVA-1.6 for common, tiny and extreme image sizes."""
    random = np.random.default_rng(0)
    sizes = [
        (672, 672),
        (375, 500),
        (500, 375),
        (240, 320),
        (320, 240),
        (336, 336),
        (480, 640),
        (1, 1),
        (1, 50),
    ]
    sizes += [(50, 1), (1000, 10), (10, 1000), (2000, 3000), (337, 335), (333, 1000), (1008, 336)]
    sizes += [tuple(int(side) for side in random.integers(20, 1500, 2)) for _ in range(44)]
    config = LlavaNextConfig()
    maps = [anyres_map(config, size) for size in sizes]
    checksums = [zlib.crc32(rows.astype("<i4").tobytes()) for rows in maps]
    return {
        "sizes": np.array(sizes, np.int32),
        "counts": np.array([len(rows) for rows in maps], np.int32),
        "checksums": np.array(checksums, np.int64),
    }


def golden_of_model(folder, family, kind, seed):
    name = f"llava_{family.removeprefix('llava').strip('_') or '15'}_{kind}"
    build(family, kind, seed).half().save_pretrained(
        folder / name, max_shard_size="40KB" if name == "llava_next_mistral" else "1GB"
    )
    (folder / name / "generation_config.json").unlink(missing_ok=True)
    model = load_reference(folder / name)

    if family == "llava":
        maps, counts, tiles = {}, [(SIDE // PATCH) ** 2] * 2, None
    else:
        rows = [anyres_map(model.config, size) for size in SIZES]
        counts, tiles = [len(row) for row in rows], 5
        maps = {"image_sizes": np.array(SIZES, np.int32), "rows0": rows[0], "rows1": rows[1]}
    ids, types, pixels = samples(counts, tiles, seed)
    inputs = {
        "input_ids": torch.tensor(ids),
        "attention_mask": torch.tensor(types > 0).long(),
        "pixel_values": torch.tensor(pixels.astype(np.float32)),
    }
    if maps:
        inputs["image_sizes"] = torch.tensor(SIZES)

    blocked = torch.tensor((types == QUESTION)[:, :, None] & (types == IMAGE)[:, None, :])
    decoder = model.model.language_model
    baseline = record_states(model, decoder, inputs)
    window = record_states(model, decoder, inputs, blocked, WINDOW)
    everywhere = record_states(model, decoder, inputs, blocked, range(TEXT_SIZES["num_hidden_layers"]))
    tile = inputs["pixel_values"].reshape(-1, 3, SIDE, SIDE)[:1]
    with torch.no_grad():
        clip = model.model.vision_tower(tile, output_hidden_states=True).hidden_states[:-1]
    arrays = {
        "input_ids": ids.astype(np.int32),
        "token_types": types.astype(np.int32),
        "pixel_values": pixels,
        "clip": torch.stack(clip)[:, 0].numpy(),
        **baseline,
        **{f"window_{key}": value for key, value in window.items() if key != "final"},
        **{f"everywhere_{key}": value for key, value in everywhere.items() if key != "final"},
        **maps,
    }
    np.savez_compressed(folder / f"{name}.npz", **arrays)
    change = np.abs(window["logits"] - baseline["logits"])[types > 0].max()
    scale = np.abs(baseline["residual"]).max(axis=(1, 2, 3))
    print(name, ids.shape, "scale by layer", scale.round(3), "knockouts change logits by", change)


def main(folder):
    folder.mkdir(parents=True, exist_ok=True)
    np.savez_compressed(folder / "llava_anyres.npz", **golden_of_sizes())
    for seed, (family, kind) in enumerate(
        (family, kind) for family in ("llava", "llava_next") for kind in ("llama", "mistral")
    ):
        golden_of_model(folder, family, kind, seed)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
