"""The weight files of a model folder, with the facts that stand in two places compared.

    model.safetensors               all tensors
    model.safetensors.index.json    or: for each tensor its file, model-00001-of-00003.safetensors …

If both are there, Hugging Face reads the single file. They may stand side by side only if they hold the same tensors.
"""

from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np

from pid.llava.checkpoint.key_mapping import canonical_key
from pid.llava.checkpoint.safetensors_header import Header, read_header
from pid.llava.model_folder.config_json import read_json_object

SINGLE = "model.safetensors"
INDEX = "model.safetensors.index.json"
SHARDS = "model-*-of-*.safetensors"
CHUNK = 1 << 24  # bytes
BY_TRANSFORMERS = (
    "load it by transformers with torch and save it by save_pretrained, which writes safetensors"
)
MERGE = "merge it into its base model by merge_and_unload of peft and save that by save_pretrained"
AT_THE_HUB = "download the checkpoint that Hugging Face has converted, as safetensors"
OTHER_FORMATS = {
    SHARDS: ("shards without their index", f"download {INDEX} too"),
    "pytorch_model*.bin*": ("pickled weights of torch", BY_TRANSFORMERS),
    "adapter_model.*": ("an adapter (LoRA)", MERGE),
    "*.gguf": ("GGUF weights of llama.cpp", AT_THE_HUB),
    "*.msgpack": ("weights of the former Flax models", AT_THE_HUB),
    "*.h5": ("weights of TensorFlow", AT_THE_HUB),
    "mm_projector.bin": ("a projector in the layout of the original authors", AT_THE_HUB),
    "consolidated*": ("weights in the layout of their authors", AT_THE_HUB),
    "*.safetensors": ("safetensors by another name", f"rename it to {SINGLE} if it is the whole model"),
    "*.bin": ("pickled weights", BY_TRANSFORMERS),
    "*.pt": ("pickled weights of torch", BY_TRANSFORMERS),
    "*.pth": ("pickled weights of torch", BY_TRANSFORMERS),
}
"""Pattern of names → what such files are, and what to do, if there is no model.safetensors."""


def weight_files(folder: Path) -> list[Path]:
    """The weight files of a folder: the single file, or the shards that the index names.

    Raises:
        FileNotFoundError: names the files that are missing, and what is there instead.
        ValueError: there are adapters beside the weights, or the index and the shards disagree.
    """
    if (folder / "adapter_config.json").is_file():
        raise ValueError(
            f"a model folder has the weights of one model, got an adapter_config.json beside them in {folder}; "
            f"{MERGE}, or remove it to load the base model alone."
        )
    if (folder / SINGLE).is_file():
        return [folder / SINGLE]
    weight_map = _weight_map(folder)
    names = sorted(set(weight_map.values())) or [SINGLE]
    if missing := [name for name in names if not (folder / name).is_file()]:
        raise FileNotFoundError(
            f"a model folder has its weights as safetensors, found no {', '.join(missing)} in {folder}; "
            f"{_remedy(folder) if not weight_map or (folder / missing[0]).is_symlink() else 'download them all'}."
        )
    _check_index(folder, weight_map)
    return [folder / name for name in names]


def _remedy(folder: Path) -> str:
    """What to do about a folder without safetensors."""
    if dangling := sorted(file.name for file in folder.iterdir() if file.is_symlink() and not file.exists()):
        return f"{dangling[0]} is a link to a file that is not there: download it again, or copy what it points to"
    for pattern, (kind, remedy) in OTHER_FORMATS.items():
        if files := sorted(folder.glob(pattern)):
            return f"it has {files[0].name}, {kind}: {remedy}"
    return "download them all"


def _weight_map(folder: Path) -> dict[str, str]:
    """For each key of the index the name of its file; empty without an index."""
    index = folder / INDEX
    if not index.is_file():
        return {}
    weight_map = read_json_object(index).get("weight_map")
    if not isinstance(weight_map, dict) or not weight_map:
        raise ValueError(
            f"an index has a weight_map, the file of each tensor, got none in {index}; download it again."
        )
    if invalid := [
        name for name in weight_map.values() if not isinstance(name, str) or Path(name).name != name
    ]:
        raise ValueError(
            f"an index names files of its folder, got {invalid[0]!r} in {index}; download it again."
        )
    return weight_map


def _check_index(folder: Path, weight_map: Mapping[str, str]) -> None:
    """Raise ValueError unless index and shards agree on the place of every tensor, and no shard is left over."""
    names = set(weight_map.values())
    if surplus := sorted(file.name for file in folder.glob(SHARDS) if file.name not in names):
        raise ValueError(
            f"the shards of a model stand in its index, got {surplus[0]} besides in {folder}; delete it, or download "
            f"the {INDEX} that names it."
        )
    stored = {(key, name) for name in names for key in read_header(folder / name).byte_ranges}
    if differing := sorted(stored ^ set(weight_map.items())):
        key, name = differing[0]
        where = f"in {name}" if (key, name) in stored else f"not in {name}"
        raise ValueError(
            f"index and shards agree on the file of each tensor, got {key} {where}, where {INDEX} says "
            f"{weight_map.get(key, 'nothing')}, in {folder}; download index and shards together."
        )


def check_copies(folder: Path) -> None:
    """Compare shards with a single file beside them, byte by byte.

    Raises:
        ValueError: a tensor differs, or stands in only one of them.
    """
    named = {folder / name for name in _weight_map(folder).values()} - {folder / SINGLE}
    shards = sorted(file for file in named | set(folder.glob(SHARDS)) if file.is_file())
    if not (folder / SINGLE).is_file() or not shards:
        return
    single = _tensors(folder / SINGLE)
    copies = {key: place for shard in shards for key, place in _tensors(shard).items()}
    is_complete = all(file.is_file() for file in named)
    differing = copies.keys() - single.keys() if not is_complete else copies.keys() ^ single.keys()
    differing |= {key for key in copies.keys() & single.keys() if not _are_same(copies[key], single[key])}
    if differing:
        raise ValueError(
            f"a model folder has one set of weights, got {SINGLE} and {len(shards)} shards that differ in "
            f"{len(differing)} tensors, such as {min(differing)}, in {folder}; delete the ones that are out of date "
            f"(Hugging Face reads {SINGLE}), and {INDEX} with the shards."
        )


def _tensors(file: Path) -> dict[str, tuple[Path, Header, str]]:
    """The place of each tensor of a file: the file, its header and the key, by canonical key."""
    header = read_header(file)
    return {canonical_key(key): (file, header, key) for key in header.byte_ranges}


def _are_same(ours: tuple[Path, Header, str], theirs: tuple[Path, Header, str]) -> bool:
    """Whether two tensors have the same dtype, shape and bytes."""
    (_, our_header, our_key), (_, their_header, their_key) = ours, theirs
    if our_header.kinds[our_key] != their_header.kinds[their_key]:
        return False
    return all(np.array_equal(a, b) for a, b in zip(_chunks(*ours), _chunks(*theirs), strict=True))


def _chunks(file: Path, header: Header, key: str) -> Iterator[np.ndarray]:
    """Yield the bytes of a tensor in chunks."""
    first, last = header.byte_ranges[key]
    content = np.memmap(file, np.uint8, "r")[first:last]
    for start in range(0, last - first, CHUNK):
        yield content[start : start + CHUNK]
