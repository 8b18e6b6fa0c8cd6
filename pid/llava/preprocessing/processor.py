"""The processor of samples: tokenizer, image processor and prompt style.

Two stores of activations may be joined only if their processors were the same. `fingerprint` identifies a processor.
"""

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

from pid.llava.config import import_transformers, require
from pid.llava.preprocessing.anyres import ImageSize, anyres_rows
from pid.llava.preprocessing.prompts import IMAGE, style_text, suffix_text

ImageMode = Literal["pad", "hf_crop", "anyres"]
"""How an image is brought to the size of a tile. LLaVA-1.5: `pad` pads the image to a square with the mean color, as
the original code does; `hf_crop` resizes the shorter edge and crops the longer one, as Hugging Face does by default,
and so loses the sides. LLaVA-1.6: `anyres` puts the whole image into one tile and its parts into others."""

FILES = {
    "a tokenizer": ("tokenizer.json", "tokenizer.model"),
    "an image processor": ("processor_config.json", "preprocessor_config.json"),
}


@dataclass(frozen=True)
class Processor:
    """The tokenizer, image processor and prompt style that encode samples.

    `read_processor` reads it from a folder, and `wrap_processor` converts a processor of transformers.

    Example::

        processor = llava.read_processor("llava-1.5-7b-hf")
        processor.image_tokens((480, 640))      # 576

    The example is not executed, because it needs the files of a model.
    """

    tokenizer: Any
    """The tokenizer of transformers."""
    images: Any
    """The image processor of transformers, in its PIL version."""
    image_mode: ImageMode
    """How an image is brought to the size of a tile: "pad", "hf_crop" or "anyres"."""
    pinpoints: tuple[ImageSize, ...] | None
    """LLaVA-1.6: the resolutions (height, width) to which an image may be scaled. None is LLaVA-1.5."""
    tile: int
    """Pixels along the side of a tile."""
    side: int
    """Patches along the side of a tile."""
    image_token: int
    """The token id of `<image>`."""
    pad_token: int
    """The token id that pads short prompts. Padding is never attended to."""
    style: str
    """The prompt as a text with `<image>` and `{question}`."""
    suffix: str
    """The text after the question that asks for a short answer."""

    def image_tokens(self, size: ImageSize) -> int:
        """The number of tokens of an image of (height, width)."""
        if self.pinpoints is None:
            return self.side**2
        return len(anyres_rows(size, self.pinpoints, tile=self.tile, side=self.side))


def _image_processor(original: Any, image_mode: ImageMode) -> Any:
    transformers = import_transformers()
    family = {
        "pad": transformers.LlavaImageProcessorPil,
        "hf_crop": transformers.CLIPImageProcessorPil,
        "anyres": transformers.LlavaNextImageProcessorPil,
    }[image_mode]
    fields = {name: value for name, value in original.to_dict().items() if name != "do_pad"}
    return family.from_dict(fields if image_mode == "hf_crop" else fields | {"do_pad": True})


def wrap_processor(
    theirs: Any, *, style: str = "vicuna_v1", suffix: str = "zhang", image_mode: ImageMode | None = None
) -> Processor:
    """Make a `Processor` from a LlavaProcessor or LlavaNextProcessor of transformers.

    Args:
        theirs: the processor of transformers, with a fast tokenizer.
        style: prompt style, by name or as a text, see `prompt`.
        suffix: answer suffix, by name or as a text, see `prompt`.
        image_mode: "pad" or "hf_crop" for LLaVA-1.5, "anyres" for LLaVA-1.6. None is "pad" or "anyres".

    Returns:
        The processor.

    Raises:
        ValueError: it is another processor, the tokenizer lacks `<image>` or offsets, tiles are not squares of whole
            patches, the image mode is of the other LLaVA version, or style or suffix is not valid.

    Example::

        theirs = transformers.AutoProcessor.from_pretrained("llava-1.5-7b-hf")
        processor = llava.wrap_processor(theirs, style="hf_15")

    The example is not executed, because it needs the files of a model.
    """
    require("the processor", type(theirs).__name__, ("LlavaProcessor", "LlavaNextProcessor"))
    anyres = type(theirs).__name__ == "LlavaNextProcessor"
    allowed = tuple(mode for mode in get_args(ImageMode) if (mode == "anyres") == anyres)
    mode = allowed[0] if image_mode is None else image_mode
    require(f"image_mode for a {type(theirs).__name__}", mode, allowed)
    require("vision_feature_select_strategy", theirs.vision_feature_select_strategy, ("default",))
    tokenizer = theirs.tokenizer
    if IMAGE not in tokenizer.get_vocab():
        raise ValueError(
            f"the tokenizer of a LLaVA knows {IMAGE}, got one of {len(tokenizer)} tokens without it; use the "
            f"tokenizer of the LLaVA, not that of its language model."
        )
    if not tokenizer.is_fast:
        raise ValueError(
            f"a tokenizer must report the characters of each token, got a {type(tokenizer).__name__}, which does not; "
            f"save it as tokenizer.json."
        )
    crop, patch = theirs.image_processor.crop_size, theirs.patch_size
    height, width = crop["height"], crop["width"]
    if not patch or height != width or height % patch:
        raise ValueError(
            f"a tile is a square of whole patches, got {height} × {width} pixels and patch_size={patch}; put "
            f"patch_size into processor_config.json, and the image size of the model into its image processor."
        )
    images = _image_processor(theirs.image_processor, mode)
    pinpoints = tuple((height, width) for height, width in images.image_grid_pinpoints) if anyres else None
    pad_token = tokenizer.pad_token_id
    return Processor(
        tokenizer=tokenizer,
        images=images,
        image_mode=mode,
        pinpoints=pinpoints,
        tile=height,
        side=height // patch,
        image_token=tokenizer.convert_tokens_to_ids(IMAGE),
        pad_token=0 if pad_token is None else pad_token,
        style=style_text(style),
        suffix=suffix_text(suffix),
    )


def read_processor(
    path: str | Path,
    *,
    style: str = "vicuna_v1",
    suffix: str = "zhang",
    image_mode: ImageMode | None = None,
) -> Processor:
    """Read the `Processor` of a Hugging Face folder, without access to the network.

    Args:
        path: the folder, with the files of the tokenizer and of the image processor.
        style: prompt style, by name or as a text, see `prompt`.
        suffix: answer suffix, by name or as a text, see `prompt`.
        image_mode: "pad" or "hf_crop" for LLaVA-1.5, "anyres" for LLaVA-1.6. None is "pad" or "anyres".

    Returns:
        The processor.

    Raises:
        FileNotFoundError: the folder lacks the files of the tokenizer or of the image processor.
        ValueError: for the reasons of `wrap_processor`.

    Example::

        processor = llava.read_processor("llava-1.5-7b-hf", style="vicuna_v1", suffix="zhang")

    The example is not executed, because it needs the files of a model.
    """
    folder = Path(path)
    for component, names in FILES.items():
        if not any((folder / name).is_file() for name in names):
            raise FileNotFoundError(
                f"{component} is a file {' or '.join(names)}, found none in {folder}; download the files of the "
                f"model that end in .json, tokenizer.model too."
            )
    theirs = import_transformers().AutoProcessor.from_pretrained(folder, local_files_only=True)
    return wrap_processor(theirs, style=style, suffix=suffix, image_mode=image_mode)


def fingerprint(processor: Processor) -> str:
    """The SHA-256 of everything that encoded prompts depend on besides the samples.

    It covers the tokenizer, the image processor, the image mode, the patches, and the texts of style and suffix (not
    their names). The flag `legacy` of a Llama tokenizer is left out: it changes no encoded prompt here, and
    transformers loses it when it saves the tokenizer.

    Args:
        processor: the processor.

    Returns:
        64 hexadecimal digits.

    Example::

        llava.fingerprint(llava.read_processor("llava-1.5-7b-hf"))[:8]

    The example is not executed, because it needs the files of a model.
    """
    text = processor.tokenizer.backend_tokenizer.to_str()
    tokenizer = json.loads(text.replace('"prepend_scheme":"first"', '"prepend_scheme":"always"'))
    facts = {
        "tokenizer": {
            name: value for name, value in tokenizer.items() if name not in ("padding", "truncation")
        },
        "special": processor.tokenizer.special_tokens_map,
        "images": {"mode": processor.image_mode, "side": processor.side} | processor.images.to_dict(),
        "style": processor.style,
        "suffix": processor.suffix,
    }
    return hashlib.sha256(json.dumps(facts, sort_keys=True, default=str).encode()).hexdigest()
