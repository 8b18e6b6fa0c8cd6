"""The parts of a processor of transformers: tokenizer, image processor and tile, checked."""

from pathlib import Path
from typing import Any, Literal

from pid.llava.model_folder.field_checks import require
from pid.llava.model_folder.transformers_config import import_transformers
from pid.llava.preprocessing.prompts import IMAGE
from pid.llava.preprocessing.sources.folder_facts import CONFIG, ModelFacts

ImageMode = Literal["pad", "hf_crop", "anyres"]
"""How an image is brought to the size of a tile. LLaVA-1.5: `pad` pads the image to a square with the mean color, as
the original code does; `hf_crop` resizes the shorter edge and crops the longer one, as Hugging Face does by default,
and so loses the sides. LLaVA-1.6: `anyres` puts the whole image into one tile and its parts into others."""

SERVED = ("CLIPImageProcessor", "LlavaImageProcessor", "LlavaNextImageProcessor")


def check_parts(theirs: Any) -> None:
    """Raise ValueError unless a processor of transformers has the parts of a LLaVA."""
    kind = type(theirs.image_processor).__name__.removesuffix("Pil").removesuffix("Fast")
    require("the image processor", kind, SERVED)
    tokenizer, word = theirs.tokenizer, image_word(theirs)
    if word not in tokenizer.get_vocab():
        raise ValueError(
            f"the tokenizer of a LLaVA knows {word}, got one of {len(tokenizer)} tokens without it; use the "
            f"tokenizer of the LLaVA, not that of its language model."
        )
    if not tokenizer.is_fast:
        raise ValueError(
            f"a tokenizer must report the characters of each token, got a {type(tokenizer).__name__}, which does not; "
            f"save it as tokenizer.json."
        )
    if theirs.patch_size is None or theirs.vision_feature_select_strategy is None:
        raise ValueError(
            f"a processor states patch_size and vision_feature_select_strategy, got {theirs.patch_size} and "
            f"{theirs.vision_feature_select_strategy}; put them into processor_config.json, or the {CONFIG} of the "
            f"model into the folder."
        )
    require("vision_feature_select_strategy", theirs.vision_feature_select_strategy, ("default",))


def image_word(theirs: Any) -> str:
    """The text of the token that stands for the image."""
    return getattr(theirs, "image_token", None) or IMAGE


def tile_side(theirs: Any, mode: ImageMode) -> int:
    """The pixels along the side of a tile: of the crop, or of the size if the processor crops nothing."""
    images, patch = theirs.image_processor, theirs.patch_size
    crop, size = images.crop_size, images.size or {}
    height, width = _field(size, "height"), _field(size, "width")
    if crop and (images.do_center_crop or mode == "anyres"):
        height, width = _field(crop, "height"), _field(crop, "width")
    elif mode != "hf_crop" and not height:  # the shorter edge of a square picture
        height = width = _field(size, "shortest_edge")
    if not height or not patch or height != width or height % patch:
        raise ValueError(
            f"a tile is a square of whole patches, got {height} × {width} pixels and patch_size={patch}; put "
            f"patch_size into processor_config.json, and the image size of the model into its image processor."
        )
    return height


def _field(size: Any, name: str) -> int | None:
    return size.get(name) if isinstance(size, dict) else getattr(size, name, None)


def pil_image_processor(original: Any, image_mode: ImageMode) -> Any:
    """The PIL version of an image processor, for an image mode."""
    transformers = import_transformers()
    family = {
        "pad": transformers.LlavaImageProcessorPil,
        "hf_crop": transformers.CLIPImageProcessorPil,
        "anyres": transformers.LlavaNextImageProcessorPil,
    }[image_mode]
    fields = {name: value for name, value in original.to_dict().items() if name != "do_pad"}
    return family.from_dict(fields if image_mode == "hf_crop" else fields | {"do_pad": True})


def pad_token(tokenizer: Any, model: ModelFacts | None, image_token: int) -> int:
    """The padding id of the tokenizer, else of config.json, else 0, but not that of the image.

    No padding is ever attended to.
    """
    candidates = (tokenizer.pad_token_id, None if model is None else model.pad_token)
    fitting = [token for token in candidates if token is not None and token >= 0 and token != image_token]
    return fitting[0] if fitting else int(image_token == 0)


def read_hugging_face_processor(folder: Path) -> Any:
    """Read the processor of transformers, without access to the network.

    Raises:
        ValueError: transformers cannot read it.
    """
    try:
        return import_transformers().AutoProcessor.from_pretrained(folder, local_files_only=True)
    except Exception as error:  # tokenizers raises bare Exceptions, transformers many types
        raise ValueError(
            f"a processor is one that transformers reads, got {type(error).__name__}: {error} in {folder}; download "
            f"the files of the model that end in .json again, tokenizer.model too."
        ) from error
