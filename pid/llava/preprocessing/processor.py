"""All that turns a raw sample into tokens and pixels: tokenizer, image processor, prompt.

Two stores of activations may be joined only if these were the same, which `fingerprint` tells.
"""

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

from pid.llava.config import import_transformers, require
from pid.llava.preprocessing.anyres import Size, anyres_rows
from pid.llava.preprocessing.prompts import IMAGE, suffix_text, template

ImageMode = Literal["pad", "hf_crop", "anyres"]
"""How an image comes to the size of a tile. LLaVA-1.5: `pad` fills it up to a square with the mean colour, as the
original does; `hf_crop` resizes the shorter edge and cuts off what is too long, as Hugging Face does by default, and so
loses the sides. LLaVA-1.6: `anyres`, the whole image in one tile and its parts in others."""

FILES = {
    "a tokenizer": ("tokenizer.json", "tokenizer.model"),
    "an image processor": ("processor_config.json", "preprocessor_config.json"),
}


@dataclass(frozen=True)
class Processor:
    """How samples are encoded. Made by `read_processor` or `wrap_processor`."""

    tokenizer: Any
    """The tokenizer of transformers."""
    images: Any
    """The image processor of transformers, in its PIL form."""
    image_mode: ImageMode
    """How an image comes to the size of a tile."""
    pinpoints: tuple[Size, ...] | None
    """Resolutions (height, width) on offer to an image of LLaVA-1.6; None is LLaVA-1.5."""
    tile: int
    """Pixels along the side of a tile."""
    side: int
    """Patches along the side of a tile."""
    image_token: int
    """The id of `<image>`."""
    pad_token: int
    """The id that fills up short rows; no token of that padding is ever attended to."""
    style: str
    """The prompt as a text with `<image>` and `{question}`."""
    suffix: str
    """The text behind the question that asks for a short answer."""

    def image_tokens(self, size: Size) -> int:
        """How many tokens an image of (height, width) becomes."""
        if self.pinpoints is None:
            return self.side**2
        return len(anyres_rows(size, self.pinpoints, tile=self.tile, side=self.side))


def _image_processor(theirs: Any, image_mode: ImageMode) -> Any:
    transformers = import_transformers()
    family = {
        "pad": transformers.LlavaImageProcessorPil,
        "hf_crop": transformers.CLIPImageProcessorPil,
        "anyres": transformers.LlavaNextImageProcessorPil,
    }[image_mode]
    fields = {name: value for name, value in theirs.to_dict().items() if name != "do_pad"}
    return family.from_dict(fields if image_mode == "hf_crop" else fields | {"do_pad": True})


def wrap_processor(
    theirs: Any, *, style: str = "vicuna_v1", suffix: str = "zhang", image_mode: ImageMode | None = None
) -> Processor:
    """A `Processor` from a LlavaProcessor or LlavaNextProcessor of transformers.

    style and suffix as in `prompt`. image_mode: None is `pad` for LLaVA-1.5 and `anyres` for LLaVA-1.6.

    Raises:
        ValueError: another processor, a tokenizer without `<image>` or without offsets, tiles that are no squares of
            whole patches, an image mode of the other LLaVA, or a style or suffix that is none.
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
            f"the tokenizer of a LLaVA knows {IMAGE}, got one of {len(tokenizer)} tokens without it; take the "
            f"tokenizer of the LLaVA, not that of its language model."
        )
    if not tokenizer.is_fast:
        raise ValueError(
            f"a tokenizer tells the characters of each token, got a {type(tokenizer).__name__}, which does not; save "
            f"it as tokenizer.json."
        )
    crop, patch = theirs.image_processor.crop_size, theirs.patch_size
    height, width = crop["height"], crop["width"]
    if not patch or height != width or height % patch:
        raise ValueError(
            f"a tile is a square of whole patches, got {height} × {width} pixels and patch_size={patch}; put "
            f"patch_size into processor_config.json, and the image size of the model into its image processor."
        )
    images = _image_processor(theirs.image_processor, mode)
    points = tuple((high, wide) for high, wide in images.image_grid_pinpoints) if anyres else None
    padding = tokenizer.pad_token_id
    return Processor(
        tokenizer=tokenizer,
        images=images,
        image_mode=mode,
        pinpoints=points,
        tile=height,
        side=height // patch,
        image_token=tokenizer.convert_tokens_to_ids(IMAGE),
        pad_token=0 if padding is None else padding,
        style=template(style),
        suffix=suffix_text(suffix),
    )


def read_processor(
    path: str | Path,
    *,
    style: str = "vicuna_v1",
    suffix: str = "zhang",
    image_mode: ImageMode | None = None,
) -> Processor:
    """The `Processor` of a Hugging Face folder, without a look at the network; the arguments are as above.

    Raises:
        FileNotFoundError: the folder lacks the files of the tokenizer or of the image processor.
        ValueError: as `wrap_processor`.
    """
    folder = Path(path)
    for what, names in FILES.items():
        if not any((folder / name).is_file() for name in names):
            raise FileNotFoundError(
                f"{what} is a file {' or '.join(names)}, found none in {folder}; download the files of the model that "
                f"end in .json, tokenizer.model too."
            )
    theirs = import_transformers().AutoProcessor.from_pretrained(folder, local_files_only=True)
    return wrap_processor(theirs, style=style, suffix=suffix, image_mode=image_mode)


def fingerprint(processor: Processor) -> str:
    """sha256, in hexadecimal, of all that the rows depend on beside the samples.

    Tokenizer, image processor, mode, patches, and the texts of style and suffix (not their names). Not the flag
    `legacy` of a Llama's tokenizer, which changes no row here and is lost when transformers saves it.
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
