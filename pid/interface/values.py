"""Words of a command line to values. What cannot be read is refused in one sentence: rule, value, remedy."""

import dataclasses
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from pid.interface.command_options import NONE, Option
from pid.interface.local_paths import check_local
from pid.interface.ranges import MAX_INT, Range

TRUTH = {
    "true": True,
    "yes": True,
    "on": True,
    "1": True,
    "false": False,
    "no": False,
    "off": False,
    "0": False,
}
"""Words for the value of a flag."""
SYNONYMS = {"bf16": "bfloat16", "fp32": "float32", "f32": "float32", "float": "float32", "gpu": "cuda"}
"""Usual words for a choice."""
OTHERS = {"float16", "fp16", "half"}
"""Words that mean something else than the choice that resembles them."""
ONE = {int: "a whole number", float: "a number", bool: "true or false", str: "a text", Path: "a path"}
SEVERAL = {int: "whole numbers", float: "numbers", bool: "true or false", str: "texts", Path: "paths"}


def rule(option: Option) -> str:
    """Return which values an option takes, as words that follow "takes"."""
    if option.may_be_empty:
        return f"{NONE}, or {rule(dataclasses.replace(option, may_be_empty=False))}"
    if option.choices:
        words = ", ".join(map(str, option.choices))
        return f"one of {words}" if option.length == 1 else f"one or more of {words}"
    if option.length == 1:
        return ONE[option.kind]
    return f"{option.length or 'one or more'} {SEVERAL[option.kind]}"


def example(option: Option) -> str:
    """Return a remedy: how the option is written."""
    values = option.default if isinstance(option.default, tuple) else (option.default,)
    if option.choices:
        values = option.choices[:1] if option.length in (1, None) else option.choices[: option.length]
    usable = values and all(isinstance(x, option.kind) and not isinstance(x, Path) for x in values)
    placeholder = {int: "1", float: "0.1", Path: "PATH", str: "TEXT", bool: "true"}[option.kind]
    return f"write for example --{option.name} {' '.join(map(_word, values)) if usable else placeholder}"


def _word(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return f"{value:g}" if isinstance(value, float) else str(value) or "TEXT"


def read(option: Option, words: list[str]) -> Any:
    """Return the value of an option.

    Args:
        option: the option.
        words: the words after its name. Several values may also be separated by commas in one word.

    Raises:
        ValueError: the words are no value of the option.
    """
    if option.length == 1:
        if len(words) != 1:
            raise ValueError(f"--{option.name} takes {rule(option)}, got none; {example(option)}.")
        return _read_one(option, words[0])
    parts = words if option.kind is Path else [part for word in words for part in _parts(word)]
    if option.may_be_empty and parts == [NONE]:
        return ()
    if option.length not in (None, len(parts)) or not parts:
        raise ValueError(
            f"--{option.name} takes {rule(option)}, got {' '.join(parts) or 'none'}; {example(option)}."
        )
    return tuple(_read_one(option, part) for part in parts)


def _parts(word: str) -> list[str]:
    """Split `0,1,2`, `0 1 2` or `[0, 1, 2]`."""
    return word.strip("[]()").replace(",", " ").split()


def _read_one(option: Option, word: str) -> Any:
    if option.choices:
        return _read_choice(option, word)
    if option.is_optional and (
        word == "None" or word.lower() == "none" and option.kind in (int, float, bool)
    ):
        return None
    if option.kind in (str, Path):
        if not word:
            raise ValueError(f"--{option.name} takes {rule(option)}, got ''; {example(option)}.")
        if option.kind is Path:
            check_local(word, f"--{option.name}")
        return option.kind(word)
    try:
        value = {int: _read_int, float: float, bool: _read_bool}[option.kind](word)
    except (ValueError, KeyError):
        raise ValueError(f"--{option.name} takes {rule(option)}, got {word!r}; {example(option)}.") from None
    limits = option.range or (Range(-MAX_INT, MAX_INT) if option.kind is int else Range())
    if option.kind is not bool and value not in limits:
        raise ValueError(f"--{option.name} must be {limits.rule(value)}, got {word}; {example(option)}.")
    return value


def _read_int(word: str) -> int:
    """Return a whole number, also from 1e4 and 1_000."""
    try:
        return int(word)
    except ValueError:
        number = float(word)
        if not number.is_integer():
            raise
        return int(number)


def _read_bool(word: str) -> bool:
    return TRUTH[word.lower()]


def _read_choice(option: Option, word: str) -> Any:
    """Return a choice; case, dashes and underscores do not count."""
    by_key = {_key(str(choice)): choice for choice in reversed(option.choices)}
    if word in map(str, option.choices):
        return next(choice for choice in option.choices if str(choice) == word)
    key = _key(SYNONYMS.get(word.lower(), word))
    if key in by_key:
        return by_key[key]
    if option.is_optional and key == "none":
        return None
    similar = [] if key in OTHERS else get_close_matches(key, by_key, n=1)
    remedy = f"did you mean {by_key[similar[0]]}?" if similar else f"{example(option)}."
    raise ValueError(f"--{option.name} takes {rule(option)}, got {word!r}; {remedy}")


def _key(word: str) -> str:
    return word.lower().replace("-", "").replace("_", "")
