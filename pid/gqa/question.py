"""GQA questions: types, program, options, mentioned objects."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

REQUIRED = ("imageId", "question", "answer", "fullAnswer", "isBalanced", "types", "semantic")
TYPES = ("structural", "semantic", "detailed")
TEXTS = {"question": "question", "answer": "answer", "full_answer": "fullAnswer"}
SHORT = {"to the left of": "left", "to the right of": "right", "in front of": "front"}


class Mention(NamedTuple):
    """Words that name an object of the scene graph.

    Example:
        >>> from pid import gqa
        >>> gqa.Mention(text="question", words="2:4", object_id="496168").words
        '2:4'
    """

    text: str
    """Field of `Question` with these words: `question`, `answer` or `full_answer`."""

    words: str
    """Numbers of the words, from 0: `4`, or `2:4` for the third and the fourth."""

    object_id: str
    """Id of the object in the scene graph."""


class Question(NamedTuple):
    """One question about one image.

    Example:
        >>> from pid import gqa
        >>> gqa.Question._fields[:4]
        ('question_id', 'image_id', 'question', 'answer')
    """

    question_id: str
    """Id, a string: `0172560` and `172560` are two questions."""

    image_id: str
    """Id of the image, a string."""

    question: str
    """The question as text."""

    answer: str
    """The answer, in lower case."""

    full_answer: str
    """The answer as a sentence; '' if the source has none."""

    structural: str
    """Structural type: verify, query, choose, logical or compare."""

    semantic: str
    """Semantic type: obj, attr, cat, rel or global."""

    detailed: str
    """Detailed type, such as positionQuery."""

    operations: str
    """The program: `select: jar (496168)->choose: empty|full [0]`, with the inputs of a step in brackets."""

    is_balanced: bool | None
    """Whether the question is in the balanced set; None if the source does not say."""

    true_option: str
    """The answer of a choose question whose program has two options; else ''."""

    false_option: str
    """The other option. The order in the program reveals the answer; here it is always true, false."""

    mentions: tuple[Mention, ...]
    """Words that name objects of the scene graph."""


def parse(question_id: str, entry: Any) -> Question:
    """Make a question from an entry of a questions file.

    Raises:
        ValueError: a field is missing or of another kind; the message has the question's id.
    """
    if not isinstance(entry, Mapping):
        raise _malformed(question_id, f"an object, got {type(entry).__name__}")
    types: Any = entry.get("types")
    missing = [name for name in REQUIRED if name not in entry]
    missing += [f"types.{name}" for name in TYPES if isinstance(types, Mapping) and name not in types]
    if missing:
        raise _malformed(question_id, f"{', '.join(REQUIRED)}, got none of {', '.join(missing)}")
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
            is_balanced=_truth(entry["isBalanced"]),
            **answer_options(steps, answer)._asdict(),
            mentions=tuple(_mentions(entry.get("annotations", {}))),
        )
    except (TypeError, KeyError, AttributeError) as error:
        raise _malformed(question_id, f"fields as GQA writes them, got {error!r}") from None


def program(steps: Sequence[Mapping[str, Any]]) -> str:
    """Write the operations as one string, in the format of `semanticStr`."""
    texts = []
    for step in steps:
        dependencies = f" [{', '.join(map(str, step['dependencies']))}]" if step["dependencies"] else ""
        texts.append(f"{step['operation']}: {step['argument']}{dependencies}")
    return "->".join(texts)


class AnswerOptions(NamedTuple):
    """The answer of a choose question and the other option; '' and '' if they cannot be derived."""

    true_option: str
    false_option: str


def answer_options(steps: Sequence[Mapping[str, Any]], answer: str) -> AnswerOptions:
    """Derive the options from the last step, `choose color: red|blue` or `choose rel: cup,to the left of|behind,s`.

    Relations are shortened as in the answers. Both options are '' unless there are two and one of them is the answer.
    """
    if not steps or not steps[-1]["operation"].startswith("choose"):
        return AnswerOptions("", "")
    alternatives = [text for text in steps[-1]["argument"].split(",") if "|" in text]
    options = [SHORT.get(option, option) for option in "|".join(alternatives).split("|")]
    if len(options) != 2 or options.count(answer) != 1:
        return AnswerOptions("", "")
    return AnswerOptions(answer, options[1 - options.index(answer)])


def _mentions(annotations: Any) -> Iterator[Mention]:
    for text, name in TEXTS.items():
        for words, object_id in annotations.get(name, {}).items():
            yield Mention(text, words, _text(object_id))


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError(f"{value!r} for a text")
    return value


def _truth(value: Any) -> bool:
    if not isinstance(value, bool):
        raise TypeError(f"{value!r} for true or false")
    return value


def _malformed(question_id: str, rule: str) -> ValueError:
    return ValueError(
        f"a GQA question has {rule} in question {question_id}; take train, val or testdev of version 1.2 and download "
        "the file again."
    )
