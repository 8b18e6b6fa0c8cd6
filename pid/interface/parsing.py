"""Arguments of a command line to a configuration."""

import dataclasses
import re
import sys
from collections.abc import Collection, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from pid.interface.command_options import Option, default_of, options_of
from pid.interface.local_paths import check_local
from pid.interface.spelling import Resolved, resolve
from pid.interface.values import TRUTH, read

C = TypeVar("C")
Values = dict[tuple[str, ...], Any]
"""Path of an option -> its value."""
NUMBER = re.compile(r"-(\d|\.\d|inf|nan)", re.IGNORECASE)


class Arguments(NamedTuple):
    """What the arguments mean."""

    values: Values
    """The values of the options."""
    words: list[str]
    """Words that belong to no option."""


def parse(arguments: Sequence[str], options: Sequence[Option], free: Collection[str] = ()) -> Arguments:
    """Read arguments.

    Args:
        arguments: the words.
        options: the options.
        free: words that may stand behind a flag without being its value, such as presets.

    Raises:
        ValueError: an option is unknown, or written twice, or its words are no value of it.
    """
    rest, result, flag = list(arguments), Arguments({}, []), ""
    while rest:
        word = rest.pop(0)
        if not is_option(word):
            if flag and word.replace("_", "-") not in free:
                remedy = f"--out {word} --{flag}" if flag == "resume" else f"--{flag} alone"
                raise ValueError(f"--{flag} takes no value, got {word!r}; write {remedy}.")
            result.words.append(word)
            continue
        name, equals, text = word.partition("=")
        resolved = resolve(name, options)
        option = resolved.option
        if not resolved.is_own_name:
            print(f"{name} is read as --{option.name}.", file=sys.stderr)
        words = [text] if equals else _take(resolved, rest)
        value = _value(name, resolved, words)
        _check_once(result.values, option, value)
        result.values[option.path] = value
        flag = option.name if option.is_flag else ""
    return result


def build(kind: type[C], arguments: Sequence[str], program: str) -> C:
    """Return a configuration; its positional fields are the words without a name.

    Args:
        kind: the dataclass.
        arguments: the words.
        program: how it is started, for the message.

    Raises:
        ValueError: a positional word is missing or there are others, or an option is invalid.
    """
    options = options_of(kind)
    parsed = parse(arguments, options)
    positional = [option for option in options if option.positional]
    if len(parsed.words) != len(positional):
        names = " ".join(option.path[-1].upper() for option in positional) or "no word without an option"
        got = " ".join(parsed.words) or "none"
        raise ValueError(
            f"{program.split()[-1].rpartition('.')[2]} takes {names}, got {got}; see {program} --help."
        )
    for option, word in zip(positional, parsed.words, strict=True):
        if option.kind is Path:
            check_local(word, option.path[-1].upper())
    words = {option.path: option.kind(word) for option, word in zip(positional, parsed.words, strict=True)}
    config: Any = replace(kind, parsed.values | words)
    return config


def is_option(word: str) -> bool:
    """Return whether a word is the name of an option; a negative number is not."""
    return word.startswith("-") and len(word) > 1 and not NUMBER.match(word)


def replace(config: C, values: Mapping[tuple[str, ...], Any]) -> C:
    """Return the configuration with other values, by their paths.

    Args:
        config: a frozen dataclass, or its class if required fields have no default.
        values: path -> value.
    """
    by_field: dict[str, dict[tuple[str, ...], Any]] = {}
    for (field, *inner), value in values.items():
        by_field.setdefault(field, {})[tuple(inner)] = value
    defaults = {field.name: default_of(field) for field in dataclasses.fields(config)}  # pyright: ignore
    start = defaults if isinstance(config, type) else vars(config)
    changes = {
        field: group[()] if () in group else _replace_group(field, start[field], group)
        for field, group in by_field.items()
    }
    make: Any = config if isinstance(config, type) else partial(dataclasses.replace, config)  # pyright: ignore
    return make(**changes)


def _replace_group(field: str, config: Any, values: Mapping[tuple[str, ...], Any]) -> Any:
    """Return a group with other values; an error names the group."""
    try:
        return replace(config, values)
    except ValueError as error:
        raise ValueError(f"--{field}.*: {error}") from error


def _take(resolved: Resolved, rest: list[str]) -> list[str]:
    """Remove the words of an option from `rest` and return them."""
    option, words = resolved.option, []
    if resolved.value is not None or option.is_flag:
        is_value = rest and resolved.value is None and rest[0].lower() in TRUTH
        return [rest.pop(0)] if is_value else words
    while rest and not is_option(rest[0]) and (option.length is None or len(words) < option.length):
        words.append(rest.pop(0))
    return words


def _value(name: str, resolved: Resolved, words: list[str]) -> Any:
    if resolved.value is not None and words:
        raise ValueError(f"{name} takes no value, got {words[0]!r}; write {name} alone.")
    if not words and resolved.option.is_flag:
        words = ["true"]
    return read(resolved.option, words if resolved.value is None else [resolved.value])


def _check_once(values: Values, option: Option, value: Any) -> None:
    """Raise ValueError if the option stands there already with another value, or with some of several values."""
    if option.path in values and (values[option.path] != value or option.length != 1):
        remedy = "write all its values behind one" if option.length != 1 else "keep one of them"
        raise ValueError(
            f"an option is written once, got --{option.name} with {values[option.path]} and with {value}; {remedy}."
        )
