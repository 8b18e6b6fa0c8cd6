"""A command line that begins with a preset."""

import sys
from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from typing import TypeVar

import tyro

C = TypeVar("C")


def from_presets(
    presets: Mapping[str, tuple[str, C]], arguments: Sequence[str], *, program: str, about: str
) -> C:
    """The configuration of a command line: a preset, then fields that differ from it.

    presets: name → (one line for `--help`, values); the first is taken where the line names none. program: what stands
    behind `python -m`. about: a sentence for `--help`.

    Exits with code 2 and a message, and a suggestion for a misspelt name, if it cannot be read.
    """
    default = next(iter(presets))
    arguments = list(arguments)
    if not arguments or (arguments[0].startswith("-") and arguments[0] not in ("-h", "--help")):
        arguments = [default, *arguments]
    first = arguments[0] if arguments[0].startswith("-") else arguments[0].replace("_", "-")
    if not first.startswith("-") and first not in presets:
        near = get_close_matches(first, presets, n=1)
        hint = f"did you mean {near[0]}?" if near else "choose among them."
        print(f"a preset is one of {', '.join(presets)}, got {arguments[0]!r}; {hint}", file=sys.stderr)
        raise SystemExit(2)
    return tyro.extras.overridable_config_cli(
        dict(presets),
        args=[first, *arguments[1:]],
        prog=f"python -m {program}",
        description=f"{about} Begin with a preset; without one it is {default}. `PRESET --help` lists the options.",
    )
