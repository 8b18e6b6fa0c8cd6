"""Facts about images and tokens that stand in several files of a model folder.

The model reads config.json, the image processor and the tokenizer read files of their own. What one file lacks is
filled from another. Files that disagree are refused: a folder of mixed files gives other activations without an error.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from pid.llava.model_folder.config_json import read_config_fields, read_json_object
from pid.llava.model_folder.field_checks import as_side, check_pinpoints, require
from pid.llava.model_folder.transformers_config import hugging_face_config
from pid.llava.preprocessing.anyres import ImageSize

CONFIG, PROCESSOR, IMAGES, TOKENIZER = (
    "config.json",
    "processor_config.json",
    "preprocessor_config.json",
    "tokenizer_config.json",
)
PIXEL_FIELDS = (
    "crop_size",
    "do_center_crop",
    "do_convert_rgb",
    "do_normalize",
    "do_pad",
    "do_rescale",
    "do_resize",
    "image_grid_pinpoints",
    "image_mean",
    "image_std",
    "resample",
    "rescale_factor",
    "size",
)
"""Fields of an image processor that determine the pixels."""
TOKEN_FIELDS = ("image_token", "patch_size", "vision_feature_select_strategy")
"""Fields of a processor that determine the image tokens."""


class ModelFacts(NamedTuple):
    """What config.json says about images and tokens, with the defaults of transformers."""

    patch_size: int
    image_size: int
    strategy: str
    """vision_feature_select_strategy."""
    pinpoints: tuple[ImageSize, ...] | None
    """image_grid_pinpoints of LLaVA-1.6."""
    image_token: int
    vocab_size: int
    """Rows of the embedding."""
    pad_token: int | None
    text_model: str
    """model_type of the language model."""
    images_file: str
    """The file of the image processor."""


def read_model_facts(folder: Path) -> ModelFacts | None:
    """Read the facts of config.json, or return None if the folder has none.

    Raises:
        ValueError: the file is broken, contradicts itself, or is that of another model or vision tower.
    """
    if not (folder / CONFIG).is_file():
        return None
    config = hugging_face_config(read_config_fields(folder))
    require("the vision tower", config.vision_config.model_type, ("clip_vision_model",))
    text = config.text_config
    pads = (getattr(part, "pad_token_id", None) for part in (config, text))
    patch_size, tile = (
        as_side(name, getattr(config.vision_config, name)) for name in ("patch_size", "image_size")
    )
    is_anyres = config.model_type == "llava_next"
    return ModelFacts(
        patch_size=patch_size,
        image_size=tile,
        strategy=config.vision_feature_select_strategy,
        pinpoints=check_pinpoints(config.image_grid_pinpoints, tile) if is_anyres else None,
        image_token=config.image_token_index,
        vocab_size=text.vocab_size,
        pad_token=next((pad for pad in pads if pad is not None), None),
        text_model=text.model_type,
        images_file=_images_file(folder),
    )


def _images_file(folder: Path) -> str:
    """The file from which transformers reads the image processor."""
    file = folder / PROCESSOR
    return PROCESSOR if file.is_file() and "image_processor" in read_json_object(file) else IMAGES


def check_processor_files(folder: Path) -> None:
    """Raise ValueError where the files of a processor disagree about pixels or image tokens."""
    files = {
        name: read_json_object(folder / name)
        for name in (PROCESSOR, IMAGES, TOKENIZER)
        if (folder / name).is_file()
    }
    processor, images = files.get(PROCESSOR, {}), files.get(IMAGES, {})
    nested = processor.get("image_processor") or {}
    for name in PIXEL_FIELDS:
        _agree(name, {PROCESSOR: nested.get(name), IMAGES: images.get(name)})
    for name in TOKEN_FIELDS:
        _agree(name, {file: fields.get(name) for file, fields in files.items()})


def check_model_type(theirs: Any, model: ModelFacts) -> None:
    """Raise ValueError unless a processor of transformers is one for the model of config.json."""
    kind = type(theirs).__name__
    if (kind == "LlavaNextProcessor") != (model.pinpoints is not None):
        model_type = "llava" if model.pinpoints is None else "llava_next"
        raise ValueError(
            f"processor and model are of one kind, got {kind!r} in {PROCESSOR} and model_type {model_type!r} in "
            f"{CONFIG}; take all files from one checkpoint."
        )


def fill_from_model(theirs: Any, model: ModelFacts) -> None:
    """Fill what a processor of transformers lacks, in place, from config.json.

    Processors that were saved before transformers 4.46 state neither patch size nor feature selection.

    Raises:
        ValueError: processor and config.json disagree.
    """
    for name, value in (("patch_size", model.patch_size), ("vision_feature_select_strategy", model.strategy)):
        stated = getattr(theirs, name, None)
        _agree(name, {PROCESSOR: stated, CONFIG: value})
        if stated is None:
            setattr(theirs, name, value)


def check_against_model(
    model: ModelFacts, *, tile: int, pinpoints: tuple[ImageSize, ...] | None, image_token: int, tokenizer: Any
) -> None:
    """Raise ValueError where a processor makes other tiles or tokens than the model of config.json takes."""
    _agree("the side of a tile (crop_size, image_size)", {model.images_file: tile, CONFIG: model.image_size})
    _agree("image_grid_pinpoints", {model.images_file: pinpoints, CONFIG: model.pinpoints})
    _agree(
        "the token id of <image> (image_token_index)",
        {"the tokenizer (tokenizer.json)": image_token, CONFIG: model.image_token},
    )
    token, highest = max(tokenizer.get_vocab().items(), key=lambda item: item[1])
    if highest >= model.vocab_size:
        raise ValueError(
            f"token ids are rows of the embedding, got {highest} for {token!r} in the tokenizer (tokenizer.json) and "
            f"vocab_size {model.vocab_size} in {CONFIG}; use the tokenizer of this model."
        )


def _agree(name: str, value_by_file: Mapping[str, Any]) -> None:
    """Raise ValueError unless all files that state a value state the same."""
    stated = {file: value for file, value in value_by_file.items() if value is not None}
    if len({_normal(name, value) for value in stated.values()}) > 1:
        values = " and ".join(f"{value!r} in {file}" for file, value in stated.items())
        raise ValueError(
            f"{name} must be the same in all files of a model, got {values}; take all files from one checkpoint, or "
            f"correct the wrong one."
        )


def _normal(name: str, value: Any) -> Any:
    """A value in a form in which equal ones compare equal: {"shortest_edge": 336} and 336 are the same size."""
    if isinstance(value, Mapping):
        parts = {key: part for key, part in value.items() if part is not None}
        square = len({*parts.values()}) == 1 and name == "crop_size"
        return (
            next(iter(parts.values()))
            if square or [*parts] == ["shortest_edge"]
            else tuple(sorted(parts.items()))
        )
    if isinstance(value, list | tuple):
        return tuple(_normal(name, part) for part in value)
    return value
