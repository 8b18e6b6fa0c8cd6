"""The text around an image and a question.

A prompt is two chunks of text with `<image>` between them, and the question is a stretch of the second.

Tokens that stand between the image and the question (the newline of every style below) are TEXT. They see the image
and the question sees them, so they carry something of the image past a knockout of Image→Question: that knockout
alone does not make the question blind. `Knockout(layers, target=TokenType.TEXT)` beside it closes this way, and blinds
the answer suffix too. Or the question stands right behind the image, as in a style `"<image>{question} ..."`; so it
does in the toy world.
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
}
"""vicuna_v1 is that of the original code, for LLaVA-1.5 and LLaVA-1.6 with Vicuna [LLaVA-NeXT, conversation.py];
the others are those of Hugging Face's model cards."""

SUFFIXES = {
    "zhang": " \nAnswer the question using a single word or phrase.",
    "llava": "\nAnswer the question using a single word or phrase.",
    "none": "",
}
"""What asks for a short answer: zhang has a space before the newline [code of Zhang et al. 2025], llava has none
[evaluation of LLaVA-1.5]."""


@dataclass(frozen=True)
class Prompt:
    """A prompt as text."""

    before: str
    """What stands before the image."""
    after: str
    """What stands behind it, the question among it."""
    question: tuple[int, int]
    """The question is `after[start:stop]`."""

    @property
    def text(self) -> str:
        """The whole, with exactly one `<image>`."""
        return self.before + IMAGE + self.after


def template(style: str) -> str:
    """The text of a style: one of `STYLES`, or the text itself, with `<image>` and then `{question}`.

    Raises ValueError for an unknown name, or a text that lacks one of the two, has it twice or in the other order.
    """
    text = STYLES.get(style, style)
    counts = text.count(IMAGE), text.count(QUESTION)
    if counts != (1, 1) or text.index(QUESTION) < text.index(IMAGE):
        raise ValueError(
            f"a style is {', '.join(STYLES)} or a text with one {IMAGE} and behind it one {QUESTION}, got {style!r}."
        )
    return text


def suffix_text(suffix: str) -> str:
    """The text of a suffix: one of `SUFFIXES`, or the text itself, which begins with a space or a newline.

    Raises ValueError for any other text, for it would run into the question, and for one with `<image>` in it.
    """
    text = SUFFIXES.get(suffix, suffix)
    if text and not text[0].isspace() or IMAGE in text:
        raise ValueError(
            f"a suffix is {', '.join(SUFFIXES)} or a text that begins with a space or a newline and has no {IMAGE}, "
            f"got {suffix!r}."
        )
    return text


def prompt(question: str, *, style: str = "vicuna_v1", suffix: str = "zhang") -> Prompt:
    """The question in a style, an answer suffix behind it; both by name or as a text, see `template`.

    Raises:
        ValueError: a question that is empty or contains `<image>`; a style or suffix that is none.
    """
    if not question.strip() or IMAGE in question:
        raise ValueError(
            f"a question is a text without {IMAGE}, got {question!r}; the prompt has the image in its own place."
        )
    before, _, after = template(style).partition(IMAGE)
    lead, _, rest = after.partition(QUESTION)
    start = len(lead)
    return Prompt(before, lead + question + suffix_text(suffix) + rest, (start, start + len(question)))
