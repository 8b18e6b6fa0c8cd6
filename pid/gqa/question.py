"""What a GQA question is."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

NEEDED = ("imageId", "question", "answer", "fullAnswer", "isBalanced", "types", "semantic")
TYPES = ("structural", "semantic", "detailed")
TEXTS = {"question": "question", "answer": "answer", "full_answer": "fullAnswer"}
SHORT = {"to the left of": "left", "to the right of": "right", "in front of": "front"}


class Mention(NamedTuple):
    """Words that name an object of the scene graph."""

    text: str
    """`question`, `answer` or `full_answer`."""
    words: str
    """Which words of it, counted from 0: `4`, or `2:4` for the third and the fourth."""
    object_id: str


class Question(NamedTuple):
    """One question about one image. Ids are strings: `0172560` and `172560` are two questions."""

    question_id: str
    image_id: str
    question: str
    answer: str
    full_answer: str
    """The answer as a sentence; '' if the source has none."""
    structural: str
    """verify, query, choose, logical or compare."""
    semantic: str
    """obj, attr, cat, rel or global."""
    detailed: str
    operations: str
    """The program: `select: jar (496168)->choose: empty|full [0]`, in brackets the steps that a step takes."""
    is_balanced: bool | None
    """Whether it is in the balanced set; None if the source does not tell."""
    true_option: str
    """Of a choose question whose program has two options, the answer; else ''."""
    false_option: str
    """The other option. The order of the two in the program gives the answer away; here it is always true, false."""
    mentions: tuple[Mention, ...]


def parse(question_id: str, entry: Any) -> Question:
    """A question as a questions file has it.

    Raises ValueError with the question's id if a field is missing or of another kind.
    """
    if not isinstance(entry, Mapping):
        raise _malformed(question_id, f"an object, got {type(entry).__name__}")
    types: Any = entry.get("types")
    lacking = [name for name in NEEDED if name not in entry]
    lacking += [f"types.{name}" for name in TYPES if isinstance(types, Mapping) and name not in types]
    if lacking:
        raise _malformed(question_id, f"{', '.join(NEEDED)}, got none of {', '.join(lacking)}")
    try:
        steps = entry["semantic"]
        answer = _text(entry["answer"])
        structural, semantic, detailed = (_text(types[name]) for name in TYPES)
        return Question(
            question_id=question_id,
            image_id=_text(entry["imageId"]),
            question=_text(entry["question"]),
            answer=answer,
            full_answer=_text(entry["fullAnswer"]),
            structural=structural,
            semantic=semantic,
            detailed=detailed,
            operations=program(steps),
            is_balanced=bool(entry["isBalanced"]),
            **options(steps, answer)._asdict(),
            mentions=tuple(_mentions(entry.get("annotations", {}))),
        )
    except (TypeError, KeyError, AttributeError) as error:
        raise _malformed(question_id, f"fields as GQA writes them, got {error!r}") from None


def program(steps: Sequence[Mapping[str, Any]]) -> str:
    """The operations as one string, as `semanticStr` has them."""
    written = []
    for step in steps:
        takes = f" [{', '.join(map(str, step['dependencies']))}]" if step["dependencies"] else ""
        written.append(f"{step['operation']}: {step['argument']}{takes}")
    return "->".join(written)


class Options(NamedTuple):
    """The answer of a choose question and what else could be chosen; '' and '' if they cannot be derived."""

    true_option: str
    false_option: str


def options(steps: Sequence[Mapping[str, Any]], answer: str) -> Options:
    """Derive the options from the last step, `choose color: red|blue` or `choose rel: cup,to the left of|behind,s`.

    Relations are shortened as in the answers. Unless the answer is exactly one of exactly two, there are none.
    """
    if not steps or not steps[-1]["operation"].startswith("choose"):
        return Options("", "")
    parts = [part for part in steps[-1]["argument"].split(",") if "|" in part]
    found = [SHORT.get(option, option) for option in "|".join(parts).split("|")]
    if len(found) != 2 or found.count(answer) != 1:
        return Options("", "")
    return Options(answer, found[1 - found.index(answer)])


def _mentions(annotations: Any) -> Iterator[Mention]:
    for text, name in TEXTS.items():
        for words, object_id in annotations.get(name, {}).items():
            yield Mention(text, words, _text(object_id))


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError(f"{value!r} for a text")
    return value


def _malformed(question_id: str, rule: str) -> ValueError:
    return ValueError(
        f"a GQA question has {rule} in question {question_id}; take train, val or testdev of version 1.2 and download "
        "the file again."
    )
