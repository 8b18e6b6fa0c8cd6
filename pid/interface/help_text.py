"""The text of `--help`: usage, presets and options, at most 80 columns wide."""

import dataclasses
import re
import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pid.interface.command_options import NONE, Option, groups_of, options_of

WIDTH = 80
PLACEHOLDER = {int: "N", float: "X", str: "TEXT", Path: "PATH"}
COMMON = {
    "-h, --help": "Print this text.",
    "--version": "Print the versions of pdeformer, JAX and Python.",
    "--traceback": "After an error, also print where it was raised.",
}
"""Options of every program."""


def help_text(
    usage: str,
    about: str,
    options: Sequence[Option],
    *,
    words: Mapping[str, str] | None = None,
    groups: Mapping[str, str] | None = None,
    title: str = "Presets",
    common: Mapping[str, str] | None = None,
) -> str:
    """Return the text.

    Args:
        usage: how the program is started.
        about: what it does.
        options: its options; those of a group stand together.
        words: what may stand first, with a description: presets or commands.
        groups: name of a group -> its description.
        title: heading of `words`.
        common: further options that several programs share, with a description.
    """
    lines = [_wrap(f"usage: {usage}", after=" " * 7), "", _wrap(clean(about))]
    if words:
        lines += ["", f"{title}:", *_entries(words)]
    by_group: dict[str, dict[str, str]] = {"": {}}
    for option in options:
        by_group.setdefault(".".join(option.path[:-1]), {})[heading(option)] = description(option)
    for group, entries in by_group.items():
        name = group.replace("_", "-")
        lines += ["", f"Options --{name}.*:" if group else "Options:"]
        if text := (groups or {}).get(group):
            lines += [_wrap(clean(text), before="  ")]
        lines += _entries(entries if group else entries | dict(common or {}) | COMMON)
    return "\n".join(lines)


def help_of(kind: type[Any], program: str, rest: str = "") -> str:
    """Return the text for a configuration whose positional fields stand first.

    Args:
        kind: the dataclass; its docstring says what the program does.
        program: how it is started.
        rest: what follows the options.
    """
    options = options_of(kind)
    names = "".join(f" {option.path[-1].upper()}" for option in options if option.positional)
    about = " ".join((kind.__doc__ or "").split())
    return help_text(f"{program}{names} [OPTIONS]{rest}", about, options, groups=groups_of(kind))


def heading(option: Option) -> str:
    """Return the name and a sketch of the values: `--steps N`."""
    if option.is_flag:
        group, dot, field = option.name.rpartition(".")
        return f"--{option.name}, --{group}{dot}no-{field}"
    word = PLACEHOLDER.get(option.kind, "X")
    if option.choices:
        sketch = f"{{{','.join(map(str, option.choices))}}}"
        word = sketch if len(sketch) < 40 else "NAME"
    values = f"{word} ..." if option.length is None else " ".join([word] * option.length)
    return option.path[-1].upper() if option.positional else f"--{option.name} {values}"


def description(option: Option) -> str:
    """Return the description with choices, range and default."""
    text = clean(option.description)
    heading_has_choices = "{" in heading(option)
    if option.choices and not heading_has_choices:
        text += f" One of: {', '.join(map(str, option.choices))}."
    if option.may_be_empty:
        text += f" {NONE}: without any."
        return f"{text} Default: {show(option.default) or NONE}."
    if option.default in (None, (), dataclasses.MISSING):
        return text
    return f"{text.partition(' Default: ')[0]} Default: {show(option.default)}."


def show(value: Any) -> str:
    """Return a default as a user would write it; of a file of this package only the name."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, tuple):
        return " ".join(map(show, value))
    if isinstance(value, Path):
        return value.name if value.is_absolute() else str(value)
    return f"{value:g}" if isinstance(value, float) else str(value)


def clean(text: str) -> str:
    """Return a description of a field as text for a terminal: no backticks, no None."""
    text = re.sub(r"`+([^`]*)`+", r"\1", text)
    return re.sub(
        r"\bNone\b", "Unset", re.sub(r"(?<=[a-z(,;] )None\b", "unset", text.replace("(None", "(unset"))
    )


def _entries(entries: Mapping[str, str]) -> list[str]:
    lines = []
    for name, text in entries.items():
        lines += [_wrap(name, before="  ", after="      "), _wrap(text, before=" " * 6)]
    return lines


def _wrap(text: str, *, before: str = "", after: str | None = None) -> str:
    rest = before if after is None else after
    return textwrap.fill(
        text,
        WIDTH,
        initial_indent=before,
        subsequent_indent=rest,
        break_on_hyphens=False,
    )


def is_help(arguments: Sequence[str]) -> bool:
    """Return whether the arguments ask for help, at any place."""
    return any(word in ("-h", "--help", "-help", "-?") for word in arguments) or arguments[:1] == ["help"]
