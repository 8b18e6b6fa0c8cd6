"""The text around an image and a question.

A prompt is two chunks of text with `<image>` between them. The question is a part of the second chunk. A prompt of text
alone has no `<image>`, and all of it is the second chunk.

Tokens between the image and the question (the newline of every style below) have type TEXT. They attend to the image,
and the question attends to them, so they carry image information past an Image→Question knockout: that knockout
alone does not remove the image from the question. One remedy is to add `Knockout(layers, target=TokenType.TEXT)`,
which also cuts the answer suffix from the image. The other is a style in which the question follows the image directly,
such as `"<image>{question} ..."`; the toy world uses it.
"""

from dataclasses import dataclass

IMAGE = "<image>"
QUESTION = "{question}"

_SYSTEM = (
    "A chat between a curious {who} and an artificial intelligence assistant. The assistant gives helpful, detailed, "
    "and polite answers to the {who}'s questions. "
)

STYLES = {
    "vicuna_v1": _SYSTEM.replace("{who}", "user") + "USER: <image>\n{question} ASSISTANT:",
    "hf_15": "USER: <image>\n{question} ASSISTANT:",
    "hf_16_vicuna": _SYSTEM.replace("{who}", "human") + "USER: <image>\n{question} ASSISTANT:",
    "mistral": "[INST] <image>\n{question} [/INST]",
    "llama_3": (
        "<|start_header_id|>system<|end_header_id|>\n\nYou are a helpful language and vision assistant. You are able "
        "to understand the visual content that the user provides, and assist the user with a variety of tasks using "
        "natural language.<|eot_id|><|start_header_id|>user<|end_header_id|>\n\n<image>\n{question}<|eot_id|>"
        "<|start_header_id|>assistant<|end_header_id|>\n\n"
    ),
    "chatml": (
        "<|im_start|>system\nAnswer the questions.<|im_end|><|im_start|>user\n<image>\n{question}<|im_end|>"
        "<|im_start|>assistant\n"
    ),
}
"""Prompt styles by name. vicuna_v1 is the style of the original code, for LLaVA-1.5 and for LLaVA-1.6 with Vicuna
[LLaVA-NeXT, conversation.py]. The others come from the model cards of Hugging Face: llama_3 is that of LLaVA-1.6 with
Llama 3 8B, chatml that of LLaVA-1.6 with Yi 34B."""

AUTO = "auto"
"""The style of the model, from its chat template or from its language model, see `model_family`."""

SUFFIXES = {
    "zhang": " \nAnswer the question using a single word or phrase.",
    "llava": "\nAnswer the question using a single word or phrase.",
    "none": "",
}
"""Texts that ask for a short answer, by name. zhang has a space before the newline [code of Zhang et al. 2025], llava
has none [evaluation of LLaVA-1.5]."""


@dataclass(frozen=True)
class Prompt:
    """A prompt as text, and the position of the question in it.

    Example:
        >>> from pid import llava
        >>> p = llava.Prompt(before="USER: ", after="What is it? ASSISTANT:", question=(0, 11))
        >>> p.text
        'USER: <image>What is it? ASSISTANT:'
    """

    before: str
    """The text before the image."""
    after: str
    """The text after the image. It contains the question."""
    question: tuple[int, int]
    """The question is `after[start:stop]`."""
    has_image: bool = True
    """Whether there is an image between the two texts. False is text alone."""

    @property
    def text(self) -> str:
        """The full text, with exactly one `<image>` if it has an image."""
        return self.before + IMAGE * self.has_image + self.after


def check_text(what: str, text: object) -> None:
    """Raise TypeError if it is no text, ValueError if UTF-8 cannot write it."""
    if not isinstance(text, str):
        remedy = "decode it" if isinstance(text, bytes) else "pass one"
        raise TypeError(f"{what} is a text, got {type(text).__name__}; {remedy}.")
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise ValueError(
            f"{what} is a text of whole characters, got {text[error.start]!r}, half of one, at {error.start}; "
            f"decode the source of the text as UTF-8."
        ) from error


def style_text(style: str) -> str:
    """The text of a style: one of `STYLES`, or the text itself, with `{question}` behind `<image>` or alone.

    Raises:
        TypeError: it is no text.
        ValueError: the name is unknown, or the text does not have `{question}` once, or has `<image>` twice or behind
            it.
    """
    check_text("a style", style)
    text = STYLES.get(style, style)
    images, questions = text.count(IMAGE), text.count(QUESTION)
    if questions != 1 or images > 1 or (images and text.index(QUESTION) < text.index(IMAGE)):
        raise ValueError(
            f"a style is {', '.join(STYLES)} or, for text alone, a text with one {QUESTION} and no {IMAGE}, else a "
            f"text with one {IMAGE} and behind it one {QUESTION}, got {style!r}; correct it."
        )
    return text


def style_name(text: str) -> str:
    """The name of a style in `STYLES` with this text, or "own text"."""
    return next((name for name, style in STYLES.items() if style == text), "own text")


def suffix_text(suffix: str) -> str:
    """The text of a suffix: one of `SUFFIXES`, or the text itself, which begins with a space or a newline.

    Raises:
        TypeError: it is no text.
        ValueError: the text does not begin with a space or a newline, or contains `<image>`.
    """
    check_text("a suffix", suffix)
    text = SUFFIXES.get(suffix, suffix)
    if text and not text[0].isspace() or IMAGE in text:
        raise ValueError(
            f"a suffix is {', '.join(SUFFIXES)} or a text that begins with a space or a newline and has no {IMAGE}, "
            f"got {suffix!r}; correct it."
        )
    return text


def prompt(question: str, *, style: str = "vicuna_v1", suffix: str = "zhang") -> Prompt:
    r"""Put a question and an answer suffix into a prompt style.

    Args:
        question: the question, without `<image>`.
        style: "vicuna_v1", "hf_15", "hf_16_vicuna", "mistral", "llama_3", "chatml", or a text with one `<image>` and
            after it one `{question}`. A text with `{question}` alone is a prompt without image.
        suffix: "zhang", "llava", "none", or a text that begins with a space or a newline.

    Returns:
        The prompt, with the position of the question in it.

    Raises:
        TypeError: the question is no text.
        ValueError: the question is empty or contains `<image>`, or style or suffix is not valid.

    Example:
        >>> from pid import llava
        >>> p = llava.prompt("What color is the kettle?", style="hf_15", suffix="none")
        >>> p.text
        'USER: <image>\nWhat color is the kettle? ASSISTANT:'
        >>> p.after[slice(*p.question)]
        'What color is the kettle?'

    Reference:
        Liu et al. 2023 (LLaVA-1.5), conversation.py; Zhang et al. 2025 for the suffix "zhang".
    """
    check_text("a question", question)
    if not question.strip() or IMAGE in question:
        raise ValueError(
            f"a question is a text without {IMAGE}, got {question!r}; the prompt style places the image."
        )
    before, image, after = style_text(style).rpartition(IMAGE)
    head, _, tail = after.partition(QUESTION)
    start = len(head)
    text = head + question + suffix_text(suffix) + tail
    return Prompt(before, text, (start, start + len(question)), bool(image))
