"""The prompt style that belongs to a model.

A model answers well in the prompt with which it was tuned. Its chat template gives that prompt. Where there is none, as
in the first converted checkpoints, the tokens of the tokenizer or the kind of language model tell the family:

    family    what tells it                        style
    vicuna    USER: … ASSISTANT:, else a Llama     vicuna_v1, as the original code has it (also hf_15, hf_16_vicuna)
    mistral   [INST], else a Mistral               that of the chat template, else mistral
    llama_3   <|start_header_id|>                  that of the chat template, else llama_3
    chatml    <|im_start|> (Yi, Qwen)              that of the chat template, else chatml
    (other)   another chat template                that of the chat template
"""

from typing import Any, NamedTuple

from pid.llava.preprocessing.prompts import AUTO, IMAGE, QUESTION, STYLES, style_name, style_text

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
"""A text that the prompts of a family have. The first family whose mark a prompt has is its own."""
TEXT_MODELS = {"llama": "vicuna", "mistral": "mistral", "qwen2": "chatml"}
"""The family that the type of a language model suggests."""


class ModelStyle(NamedTuple):
    """The prompt style of a model, and where it comes from."""

    text: str
    """The prompt as a text with `<image>` and `{question}`."""
    family: str | None
    """Family of the model: vicuna, mistral, llama_3 or chatml. None is another or unknown one."""
    source: str
    """What tells the style: "chat template", "tokenizer", "text model", "default" or "option"."""


def model_style(processor: Any, text_model: str | None = None) -> ModelStyle:
    """The prompt style that belongs to the model of a processor of transformers.

    Args:
        processor: a processor of transformers, with its chat template if it has one.
        text_model: the `model_type` of the language model in config.json, or None.

    Returns:
        The style. Without any evidence it is "vicuna_v1", whose source is "default".
    """
    template = _chat_template(processor)
    if template is not None:
        rendered = _rendered(processor, template)
        family = _family(template if rendered is None else rendered)
        if rendered is not None and not (family == "vicuna" and _is_published(rendered)):
            return ModelStyle(rendered, family, "chat template")
        if family is not None:
            return ModelStyle(STYLES[FAMILIES[family][0]], family, "chat template")
    vocabulary = processor.tokenizer.get_vocab()
    family = next((name for name in ("llama_3", "chatml") if MARKS[name] in vocabulary), None)
    if family is not None:
        return ModelStyle(STYLES[FAMILIES[family][0]], family, "tokenizer")
    family = TEXT_MODELS.get(text_model or "")
    source = "default" if family is None else "text model"
    return ModelStyle(STYLES[FAMILIES[family or "vicuna"][0]], family, source)


def choose_style(style: str, model: ModelStyle) -> ModelStyle:
    """The style that is used: that of the model for "auto", else `style`.

    A text with `{question}` is used as it is, whatever the model.

    Raises:
        ValueError: the style is not valid, or it is the name of a style of another family.
    """
    if style == AUTO:
        return model
    text = style_text(style)
    unknown = model.source == "default"
    if (
        style in STYLES
        and not unknown
        and text != model.text
        and style not in FAMILIES.get(model.family or "", ())
    ):
        raise ValueError(
            f"the prompt style belongs to the model, got {style} for one of the style {_label(model)}; "
            f"leave it at {AUTO}, or, to use {style} all the same, pass its text {text!r}."
        )
    return ModelStyle(text, model.family, "option")


def _label(model: ModelStyle) -> str:
    name = style_name(model.text)
    return f"{name if name in STYLES else repr(model.text)}, by its {model.source}"


def _family(text: str) -> str | None:
    return next((family for family, mark in MARKS.items() if mark in text), None)


def _is_published(text: str) -> bool:
    """Whether a prompt is that of the published models with Vicuna: with their system line, or with none."""
    return text.startswith("USER:") or text.startswith("A chat between a curious")


def _chat_template(processor: Any) -> str | None:
    """The chat template of the processor, else of its tokenizer: the order of transformers."""
    for owner in (processor, processor.tokenizer):
        template = getattr(owner, "chat_template", None)
        template = template.get("default") if isinstance(template, dict) else template
        if template:
            return template
    return None


def _rendered(processor: Any, template: str) -> str | None:
    """The style that a chat template gives to a question about an image, or None if it gives none."""
    parts: list[Any] = [{"type": "image"}, {"type": "text", "text": QUESTION}]
    for content in (parts, f"{IMAGE}\n{QUESTION}"):  # templates of text models take a text
        messages = [{"role": "user", "content": content}]
        try:
            text = processor.tokenizer.apply_chat_template(
                messages, chat_template=template, tokenize=False, add_generation_prompt=True
            )
            text = style_text(_without_bos(processor.tokenizer, text.replace(_image_token(processor), IMAGE)))
        except Exception:  # a template is a program: it may raise anything, and jinja2 may be missing
            continue
        if IMAGE in text:
            return text
    return None


def _image_token(processor: Any) -> str:
    return getattr(processor, "image_token", None) or IMAGE


def _without_bos(tokenizer: Any, text: str) -> str:
    """Drop the text of the first special token where the tokenizer adds that token itself."""
    adds_bos = tokenizer.bos_token is not None and tokenizer("")["input_ids"][:1] == [tokenizer.bos_token_id]
    return text.removeprefix(tokenizer.bos_token) if adds_bos else text
