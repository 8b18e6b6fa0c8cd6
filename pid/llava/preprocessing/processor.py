"""The processor of samples: tokenizer, image processor and prompt style.

Two stores of activations may be joined only if their processors were the same. `fingerprint` identifies a processor.
"""

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

from pid.llava.model_folder.config_json import CHECK_THE_PATH, path_remedy, to_folder
from pid.llava.model_folder.field_checks import require
from pid.llava.preprocessing.anyres import ImageSize, anyres_rows
from pid.llava.preprocessing.prompts import AUTO, STYLES, style_name, suffix_text
from pid.llava.preprocessing.sources.folder_facts import (
    ModelFacts,
    check_against_model,
    check_model_type,
    check_processor_files,
    fill_from_model,
    read_model_facts,
)
from pid.llava.preprocessing.sources.model_style import check_templates, choose_style, model_family
from pid.llava.preprocessing.sources.processor_parts import (
    ImageMode,
    check_parts,
    image_word,
    pad_token,
    pil_image_processor,
    read_hugging_face_processor,
    tile_side,
)

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
    style_source: str = "option"
    """What chose the style: "option" if it was passed, else "chat template", "tokenizer" or "text model" of the model,
    or "default" if none of them tells it."""

    @property
    def style_name(self) -> str:
        """The name of the style in `STYLES`, or "own text"."""
        return style_name(self.style)

    def image_tokens(self, size: ImageSize) -> int:
        """The number of tokens of an image of (height, width)."""
        if self.pinpoints is None:
            return self.side**2
        return len(anyres_rows(size, self.pinpoints, tile=self.tile, side=self.side))


def _wrap(
    theirs: Any, *, style: str, suffix: str, image_mode: ImageMode | None, model: ModelFacts | None
) -> Processor:
    if isinstance(theirs, str | Path | Processor):
        raise TypeError(
            f"a processor of transformers is wrapped, got {type(theirs).__name__}; read a folder by "
            f"llava.read_processor, and use a Processor as it is."
        )
    require("the processor", type(theirs).__name__, ("LlavaProcessor", "LlavaNextProcessor"))
    anyres = type(theirs).__name__ == "LlavaNextProcessor"
    allowed = tuple(mode for mode in get_args(ImageMode) if (mode == "anyres") == anyres)
    mode = allowed[0] if image_mode is None else image_mode
    require(f"image_mode for a {type(theirs).__name__}", mode, allowed)
    if model is not None:
        check_model_type(theirs, model)
        fill_from_model(theirs, model)
    check_parts(theirs)
    tokenizer, tile = theirs.tokenizer, tile_side(theirs, mode)
    images = pil_image_processor(theirs.image_processor, mode)
    pinpoints = tuple((height, width) for height, width in images.image_grid_pinpoints) if anyres else None
    image_token = tokenizer.convert_tokens_to_ids(image_word(theirs))
    if model is not None:
        check_against_model(
            model, tile=tile, pinpoints=pinpoints, image_token=image_token, tokenizer=tokenizer
        )
    chosen = choose_style(style, model_family(theirs, None if model is None else model.text_model))
    return Processor(
        tokenizer=tokenizer,
        images=images,
        image_mode=mode,
        pinpoints=pinpoints,
        tile=tile,
        side=tile // theirs.patch_size,
        image_token=image_token,
        pad_token=pad_token(tokenizer, model, image_token),
        style=chosen.text,
        suffix=suffix_text(suffix),
        style_source=chosen.source,
    )


def wrap_processor(
    theirs: Any, *, style: str = AUTO, suffix: str = "zhang", image_mode: ImageMode | None = None
) -> Processor:
    """Make a `Processor` from a LlavaProcessor or LlavaNextProcessor of transformers.

    Args:
        theirs: the processor of transformers, with a fast tokenizer.
        style: "auto" for the prompt style that the chat template or the tokenizer of the model tells ("vicuna_v1" if
            none does), or a prompt style by name or as a text, see `prompt`.
        suffix: answer suffix, by name or as a text, see `prompt`.
        image_mode: "pad" or "hf_crop" for LLaVA-1.5, "anyres" for LLaVA-1.6. None is "pad" or "anyres".

    Returns:
        The processor.

    Raises:
        ValueError: it is another processor, the tokenizer lacks `<image>` or offsets, tiles are not squares of whole
            patches, the image mode is of the other LLaVA version, style or suffix is not valid, or the style is the
            name of one of another model.

    Example::

        theirs = transformers.AutoProcessor.from_pretrained("llava-1.5-7b-hf")
        processor = llava.wrap_processor(theirs, style="hf_15")

    The example is not executed, because it needs the files of a model.
    """
    return _wrap(theirs, style=style, suffix=suffix, image_mode=image_mode, model=None)


def read_processor(
    path: str | Path,
    *,
    style: str = AUTO,
    suffix: str = "zhang",
    image_mode: ImageMode | None = None,
) -> Processor:
    """Read the `Processor` of a Hugging Face folder, without access to the network.

    If the folder has the config.json of the model too, it fills what the files of the processor lack, and files that
    disagree about image tokens or pixels are refused.

    Args:
        path: the folder, with the files of the tokenizer and of the image processor.
        style: "auto" for the prompt style of the model, which its chat template, its tokenizer or the kind of its
            language model tells, or a prompt style by name or as a text, see `prompt`.
        suffix: answer suffix, by name or as a text, see `prompt`.
        image_mode: "pad" or "hf_crop" for LLaVA-1.5, "anyres" for LLaVA-1.6. None is "pad" or "anyres".

    Returns:
        The processor.

    Raises:
        FileNotFoundError: the folder lacks the files of the tokenizer or of the image processor.
        ValueError: for the reasons of `wrap_processor`, a file is broken, or two files disagree.

    Example::

        processor = llava.read_processor("llava-1.5-7b-hf", suffix="zhang")
        processor.style_name                    # 'vicuna_v1'

    The example is not executed, because it needs the files of a model.
    """
    folder = to_folder(path)
    for component, names in FILES.items():
        if not any((folder / name).is_file() for name in names):
            remedy = path_remedy(folder)
            if remedy == CHECK_THE_PATH:
                remedy = "download the files of the model that end in .json, tokenizer.model too"
            raise FileNotFoundError(
                f"{component} is a file {' or '.join(names)}, found none in {folder}; {remedy}."
            )
    check_processor_files(folder)
    if style == AUTO or style in STYLES:
        check_templates(folder)
    model = read_model_facts(folder)
    theirs = read_hugging_face_processor(folder)
    return _wrap(theirs, style=style, suffix=suffix, image_mode=image_mode, model=model)


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
