"""The config.json of a model folder, and what to do with a path that is no folder of Hugging Face.

Every refusal names what the path is instead: a name on the hub, a file, adapters, another layout, a Git LFS pointer.
"""

import json
import re
from collections.abc import Mapping
from os import PathLike
from pathlib import Path
from typing import Any

from pid.interface.local_paths import check_local

CHECK_THE_PATH = "check the path"
HUB_NAME = r"[\w.-]+/[\w.-]+"
LFS = b"version https://git-lfs"
ORIGINAL_TYPES = tuple(f"llava_{text}" for text in ("llama", "mistral", "mpt", "qwen", "gemma", "mixtral"))
ORIGINAL_REMEDY = (
    "this is the layout of the original authors; take the checkpoint that Hugging Face has converted, such as "
    "llava-hf/llava-1.5-7b-hf, or convert this one by convert_llava_weights_to_hf.py of transformers 4"
)


def is_lfs_pointer(file: Path) -> bool:
    """Whether a file is a pointer of Git LFS, which stands for a file that was not downloaded."""
    with file.open("rb") as stream:
        return stream.read(len(LFS)) == LFS


def read_json_object(file: Path) -> dict[str, Any]:
    """Read a file of a model folder that holds a JSON object.

    Raises:
        ValueError: the file is a pointer of Git LFS, or not a JSON object.
    """
    if is_lfs_pointer(file):
        raise ValueError(
            f"a file of a model must be whole, got {file}, which is a Git LFS pointer; run git lfs pull in its folder."
        )
    try:
        fields = json.loads(file.read_bytes())
    except ValueError as error:
        raise ValueError(f"{file.name} must be JSON, got {file}: {error}; download it again.") from error
    if not isinstance(fields, dict):
        raise ValueError(
            f"{file.name} is a JSON object, got {type(fields).__name__} in {file}; download it again."
        )
    return fields


def check_not_quantized(fields: Mapping[str, Any], where: object) -> None:
    """Raise ValueError if the fields of a config.json say that the weights are quantized."""
    parts = (fields, fields.get("text_config") or {})
    if quantization := next((q for part in parts if (q := part.get("quantization_config"))), None):
        method = (
            quantization.get("quant_method", "unknown") if isinstance(quantization, dict) else quantization
        )
        raise ValueError(
            f"weights are floating, got a quantization_config of the method {method!r} in the config.json of {where}; "
            f"use a checkpoint that is not quantized."
        )


def is_original_layout(fields: Mapping[str, Any]) -> bool:
    """Whether the fields of a config.json are those of the original authors' code."""
    return fields.get("model_type") in ORIGINAL_TYPES or "mm_vision_tower" in fields


def to_folder(path: object) -> Path:
    """The path of a model folder.

    Raises:
        TypeError: it is no path.
        ValueError: it is the address of an object store.
    """
    if not isinstance(path, str | PathLike):
        raise TypeError(f"a model folder is a path, got {type(path).__name__}; pass the path of the folder.")
    folder: Path = Path(path)
    check_local(folder, "a model folder")
    return folder


def read_config_fields(path: str | Path) -> dict[str, Any]:
    """The content of the config.json of a model folder.

    Raises:
        FileNotFoundError: there is no config.json; the message says what the path is instead.
        ValueError: the config.json is damaged, or is in the layout of the original authors.
    """
    file = to_folder(path) / "config.json"
    if not file.is_file():
        raise FileNotFoundError(
            f"a model folder has a config.json, found none at {file}; {path_remedy(Path(path))}."
        )
    fields = read_json_object(file)
    if is_original_layout(fields):
        raise ValueError(
            f"a model folder has the layout of Hugging Face, got model_type {fields.get('model_type')!r}"
            f"{' with mm_vision_tower' * ('mm_vision_tower' in fields)} in {file}; {ORIGINAL_REMEDY}."
        )
    return fields


def path_remedy(path: Path) -> str:
    """What to do about a path that is no model folder: `CHECK_THE_PATH`, or more if the path tells it."""
    if path.is_file():
        return "the path is a file: pass the folder that holds it"
    if not path.exists():
        if re.fullmatch(HUB_NAME, str(path)):
            return (
                f"there is no such folder, and a name on the hub is downloaded first: hf download {path} "
                f"--local-dir FOLDER"
            )
        return "there is no such folder: check the path"
    names = {entry.name for entry in path.iterdir()}
    if not names:
        return "the folder is empty: download the model into it"
    if "adapter_config.json" in names:
        return (
            "these are adapters (LoRA): merge them into their base model by merge_and_unload of peft, save it by "
            "save_pretrained, and pass that folder"
        )
    if path.resolve().name == "snapshots":
        return (
            f"these are the revisions in the hub's cache: pass the folder of one, such as {path / min(names)}"
        )
    if (path / "config.json").is_symlink():
        return "its config.json is a link to a file that is not there: download it again, or copy what it points to"
    if "snapshots" in names:
        return f"this is a folder of the hub's cache: pass the folder of a revision in {path / 'snapshots'}"
    if gguf := sorted(name for name in names if name.endswith(".gguf")):
        return f"it has {gguf[0]}, GGUF weights of llama.cpp: download the checkpoint as safetensors, with config.json"
    if weights := sorted(
        name for name in names if name.endswith((".safetensors", ".bin", ".msgpack", ".pth"))
    ):
        return f"it has {weights[0]} alone: download the config.json of that model too"
    return CHECK_THE_PATH
