"""The prompt style that belongs to a model.

A model answers well in the prompt with which it was tuned. Its chat template tells the family of that prompt. Where
there is none, as in the first converted checkpoints, the tokens of the tokenizer or the kind of language model tell it:

    family    in the chat template     in the tokenizer         language model   style
    llama_3   <|start_header_id|>      <|start_header_id|>                       llama_3
    chatml    <|im_start|>             <|im_start|>                              chatml (LLaVA-1.6 with Yi)
    mistral   [INST]                                            Mistral          mistral
    vicuna    ASSISTANT                                         Llama            vicuna_v1 (or hf_15, hf_16_vicuna)

The template itself is not executed: that needs jinja2, and templates leave out the system line of the original code.
"""

from pathlib import Path
from typing import Any, NamedTuple

from pid.llava.model_folder.config_json import read_json_object
from pid.llava.preprocessing.prompts import AUTO, IMAGE, QUESTION, STYLES, style_text

FAMILIES = {
    "llama_3": ("llama_3",),
    "chatml": ("chatml",),
    "mistral": ("mistral",),
    "vicuna": ("vicuna_v1", "hf_15", "hf_16_vicuna"),
}
"""The names of `STYLES` that a family of models understands. The first is its default."""
MARKS = {
    "llama_3": "<|start_header_id|>",
    "chatml": "<|im_start|>",
    "mistral": "[INST]",
    "vicuna": "ASSISTANT",
}
"""A text in the chat templates of a family. The first family whose mark a template has is its own."""
TEXT_MODELS = {"llama": "vicuna", "mistral": "mistral"}
"""The family that the type of a language model suggests."""


class ModelFamily(NamedTuple):
    """The family of a model by its prompts, and what tells it."""

    name: str | None
    """One of `FAMILIES`. None is a family that this port does not know."""
    source: str
    """What tells the family: "chat template", "tokenizer" or "text model"; "default" where nothing does."""
    evidence: str
    """The text that tells it, for messages."""


class StyleChoice(NamedTuple):
    """The prompt style in use, and what chose it."""

    text: str
    """The prompt as a text with `<image>` and `{question}`."""
    source: str
    """"option", or the `source` of the family."""


def model_family(processor: Any, text_model: str | None = None) -> ModelFamily:
    """The family of the model of a processor of transformers.

    Args:
        processor: a processor of transformers, with its chat template if it has one.
        text_model: the `model_type` of the language model in config.json, or None.

    Returns:
        The family. Without any evidence it is "vicuna", whose source is "default".
    """
    template = _chat_template(processor)
    if template:
        return ModelFamily(_family_of(template), "chat template", template)
    vocabulary = processor.tokenizer.get_vocab()
    for name in ("llama_3", "chatml"):
        if MARKS[name] in vocabulary:
            return ModelFamily(name, "tokenizer", MARKS[name])
    if text_model is None:
        return ModelFamily("vicuna", "default", "")
    return ModelFamily(TEXT_MODELS.get(text_model), "text model", text_model)


def _family_of(template: str) -> str | None:
    """The family whose mark a chat template has."""
    return next((name for name, mark in MARKS.items() if mark in template), None)


def check_templates(folder: Path) -> None:
    """Raise ValueError if the files of a processor have chat templates of several families.

    That of the tokenizer may be of another: transformers reads it only where the processor has none.
    """
    templates = {
        name: read_json_object(folder / name).get("chat_template")
        for name in ("chat_template.json", "processor_config.json")
        if (folder / name).is_file()
    }
    if (file := folder / "chat_template.jinja").is_file():
        templates[file.name] = file.read_text(encoding="utf-8")
    families = {name: _family_of(text) for name, text in templates.items() if text and isinstance(text, str)}
    if len({*families.values()}) > 1:
        stated = " and ".join(f"{family or 'another'} in {name}" for name, family in families.items())
        raise ValueError(
            f"the chat templates of a model are of one family, got {stated} of {folder}; take all files from one "
            f"checkpoint, or pass the text of the prompt as the style."
        )


def choose_style(style: str, model: ModelFamily) -> StyleChoice:
    """The style in use: that of the model for "auto", else `style`.

    A text with `{question}` is used as it is, whatever the model.

    Raises:
        ValueError: the style is not valid, it is the name of a style of another family, or it is "auto" and the family
            is unknown.
    """
    fitting = FAMILIES.get(model.name or "", ())
    if style == AUTO:
        if not fitting:
            raise ValueError(
                f"the prompt style of a model is told by {' or '.join(MARKS.values())} in its chat template, or by its "
                f"language model, got {model.evidence[:200]!r}; pass the prompt as a style, a text with {IMAGE} and "
                f"{QUESTION}."
            )
        return StyleChoice(STYLES[fitting[0]], model.source)
    text = style_text(style)
    if style in STYLES and style not in fitting and model.source != "default":
        remedy = f"take {' or '.join((AUTO, *fitting))}, or " if fitting else ""
        raise ValueError(
            f"the prompt style belongs to the model, got {style} for one of the family {model.name or 'other'} by its "
            f"{model.source}; {remedy}pass its text {text!r} to use {style} all the same."
        )
    return StyleChoice(text, "option")


def _chat_template(processor: Any) -> str | None:
    """The chat template of the processor, else of its tokenizer: the order of transformers."""
    for owner in (processor, processor.tokenizer):
        template = getattr(owner, "chat_template", None)
        template = template.get("default") if isinstance(template, dict) else template
        if template:
            return template
    return None
