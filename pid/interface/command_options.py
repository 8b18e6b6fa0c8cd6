"""The options of a configuration, read from the fields of frozen dataclasses: one option for each field.

A field whose value is a dataclass is a group: its fields are `--group.field`.
"""

import ast
import dataclasses
import functools
import inspect
import textwrap
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple, Union, get_args, get_origin, get_type_hints

from pid.interface.ranges import MAX_INT, Range

HIDDEN = "hidden"
"""Annotation of a field that is no option."""
POSITIONAL = "positional"
"""Annotation of a field whose value stands without a name."""
MAY_BE_EMPTY = "may be empty"
"""Annotation of a field with several values that the word none empties."""
NONE = "none"
"""The word for no value, or for a value that switches variants off."""


class Choices(NamedTuple):
    """Annotation of a text field that has only these values."""

    words: tuple[str, ...]


@dataclasses.dataclass(frozen=True)
class Option:
    """One option of a command line."""

    path: tuple[str, ...]
    """Names of the fields that lead to the value."""
    default: Any
    """Value without the option; `dataclasses.MISSING` if it is required."""
    owner: type
    """The class that has the field."""
    kind: type = str
    """int, float, bool, str or Path; of each value if there are several."""
    choices: tuple[Any, ...] = ()
    """The only values; empty if there are others."""
    range: Range | None = None
    """Range of the numbers."""
    is_optional: bool = False
    """Whether the value may be None."""
    length: int | None = 1
    """Number of values; None is any number."""
    positional: bool = False
    """Whether the value stands without a name."""
    may_be_empty: bool = False
    """Whether the word none stands for no value."""

    @property
    def name(self) -> str:
        """The name without the dashes in front."""
        return ".".join(self.path).replace("_", "-")

    @property
    def description(self) -> str:
        """The text below the field."""
        return descriptions(self.owner).get(self.path[-1], "")

    @property
    def is_flag(self) -> bool:
        """Whether the option needs no value."""
        return self.kind is bool and not self.choices

    def numbers(self, config: Any) -> list[float | int]:
        """Return the numbers of this option in a configuration."""
        value = functools.reduce(getattr, self.path, config)
        values = value if isinstance(value, tuple | list) else (value,)
        return [x for x in values if isinstance(x, int | float) and not isinstance(x, bool)]


def options_of(config: Any) -> list[Option]:
    """Return the options of a configuration, or of a class with defaults, in the order of the fields."""
    return list(_walk(config, ()))


def groups_of(config: Any) -> dict[str, str]:
    """Return the description of every group of options, by its name."""
    cls, texts = config if isinstance(config, type) else type(config), {}
    for field in dataclasses.fields(cls):
        value = default_of(field) if config is cls else getattr(config, field.name)
        if dataclasses.is_dataclass(value) and not isinstance(value, type):
            texts[field.name] = descriptions(cls).get(field.name, "")
            texts |= {f"{field.name}.{name}": text for name, text in groups_of(value).items()}
    return texts


def check_ranges(config: Any) -> None:
    """Raise ValueError for the first number that is not in the range of its field, with the name of its option."""
    for option in options_of(config):
        limits = option.range or (Range(-MAX_INT, MAX_INT) if option.kind is int else Range())
        for number in option.numbers(config):
            if number not in limits:
                raise ValueError(
                    f"{option.name} must be {limits.rule(number)}, got {number}; change --{option.name}."
                )


def _walk(config: Any, path: tuple[str, ...]) -> Iterator[Option]:
    cls = config if isinstance(config, type) else type(config)
    hints = get_type_hints(cls, include_extras=True)
    for field in dataclasses.fields(cls):
        value = default_of(field) if config is cls else getattr(config, field.name)
        kind, *metadata = _split(hints[field.name])
        if HIDDEN in metadata or not field.init:
            continue
        if dataclasses.is_dataclass(value):
            yield from _walk(value, (*path, field.name))
            continue
        yield Option((*path, field.name), value, cls, **_type_of(kind, metadata))


def default_of(field: "dataclasses.Field[Any]") -> Any:
    """Return the default of a field, `dataclasses.MISSING` if it has none."""
    if field.default_factory is not dataclasses.MISSING:
        return field.default_factory()
    return field.default


def _split(hint: Any) -> tuple[Any, ...]:
    """Return a type and its annotations."""
    return (hint.__origin__, *hint.__metadata__) if get_origin(hint) is Annotated else (hint,)


def _type_of(hint: Any, metadata: list[Any]) -> dict[str, Any]:
    """Return the fields of `Option` that follow from a type."""
    hint, *more = _split(hint)
    metadata = [*metadata, *more]
    result: dict[str, Any] = {"positional": True} if POSITIONAL in metadata else {}
    result |= {"may_be_empty": True} if MAY_BE_EMPTY in metadata else {}
    for note in metadata:
        if isinstance(note, Choices):
            result["choices"] = note.words
        if isinstance(note, Range):
            result["range"] = note
    if get_origin(hint) is tuple:
        inner, *others = get_args(hint)
        length = None if others == [Ellipsis] else 1 + len(others)
        return _type_of(inner, []) | result | {"length": length}
    if get_origin(hint) is Literal:
        words = tuple(word for word in get_args(hint) if word is not None)
        return {"choices": words, "kind": type(words[0]), "is_optional": None in get_args(hint)} | result
    if get_origin(hint) in (Union, types.UnionType):
        members = [member for member in get_args(hint) if member is not type(None)]
        optional = {"is_optional": True} if type(None) in get_args(hint) else {}
        first = next((member for member in members if get_origin(member) is Literal), members[0])
        return _type_of(first, []) | result | optional
    return {"kind": hint if hint in (int, float, bool, Path) else str} | result


@functools.cache
def descriptions(cls: type) -> dict[str, str]:
    """Return the text below each field of a dataclass, bases included."""
    texts: dict[str, str] = {}
    for base in reversed(cls.__mro__):
        if not dataclasses.is_dataclass(base):
            continue
        body: Any = ast.parse(textwrap.dedent(inspect.getsource(base))).body[0]
        for node, following in zip(body.body, body.body[1:], strict=False):
            match node, following:
                case ast.AnnAssign(target=ast.Name(name)), ast.Expr(ast.Constant(str(text))):
                    texts[name] = " ".join(text.split())
    return texts
