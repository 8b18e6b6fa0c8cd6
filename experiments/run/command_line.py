"""Command lines with presets, old names of options, and checks that all programs share."""

import dataclasses
import sys
import warnings
from collections.abc import Callable, Mapping, Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import Any, Generic, TypeVar

import tyro

from experiments.run.console import safe_output

C = TypeVar("C")


@dataclasses.dataclass(frozen=True)
class CommandLine(Generic[C]):
    """A command line: a preset, then the options that differ from it. Calling it returns the configuration."""

    program: str
    """Name after `python -m`."""
    about: str
    """One sentence for `--help`."""
    presets: Mapping[str, tuple[str, C]]
    """Name -> (one line for `--help`, values). The first preset is the default."""
    renamed: Mapping[str, str] = dataclasses.field(default_factory=dict)
    """Old -> new names of options; see `rename_options`."""

    @safe_output()  # --help goes through a pipe, too
    def __call__(self, arguments: Sequence[str]) -> C:
        """Return the configuration that the arguments describe.

        Exits with code 2 and a message if an argument is invalid; for a misspelled name the message has a suggestion.
        """
        default = next(iter(self.presets))
        words = rename_options(arguments, self.renamed)
        if not words or (words[0].startswith("-") and words[0] not in ("-h", "--help")):
            words = [default, *words]
        first = words[0] if words[0].startswith("-") else words[0].replace("_", "-")
        if not first.startswith("-") and first not in self.presets:
            similar = get_close_matches(first, self.presets, n=1)
            hint = f"did you mean {similar[0]}?" if similar else "choose among them."
            print(f"a preset is one of {', '.join(self.presets)}, got {words[0]!r}; {hint}", file=sys.stderr)
            raise SystemExit(2)
        usage = (
            f"The first word may be a preset; the default is {default}. `PRESET --help` lists all options."
        )
        return tyro.extras.overridable_config_cli(
            dict(self.presets),
            args=[first, *words[1:]],
            prog=f"python -m {self.program}",
            description=f"{self.about} {usage}",
        )


def rename_options(arguments: Sequence[str], renamed: Mapping[str, str]) -> list[str]:
    """Replace old names of options by the new ones, with a hint on stderr for each.

    Args:
        arguments: arguments of a command line.
        renamed: old -> new. The entry `asking` -> `capture` renames `--asking`, `--asking.rows` and `--no-asking`;
            `only a` -> `only b` renames a value of the option `--only`.
    """
    words, option = [], ""
    for word in arguments:
        new = word
        if word.startswith("--"):
            name, equals, value = word[2:].replace("_", "-").partition("=")
            no, name = ("no-", name[3:]) if name.startswith("no-") else ("", name)
            first, dot, field = name.partition(".")
            option = renamed.get(first, first)
            new = f"--{no}{option}{dot}{field}{equals}{value}" if first in renamed else word
        elif (key := f"{option} {word}") in renamed:
            new = renamed[key].removeprefix(f"{option} ")
        if new != word:
            print(f"{word} is now called {new}; the next release removes the old name.", file=sys.stderr)
        words.append(new)
    return words


def check_seeds(seeds: Sequence[int]) -> None:
    """Raise ValueError unless the seeds are one or more different integers from 0 on."""
    if not seeds or min(seeds) < 0 or len(set(seeds)) < len(seeds):
        raise ValueError(f"seeds are one or more different numbers from 0 on, got {seeds}; change --seeds.")


def check_resume(*, resume: bool, out: Path | None) -> None:
    """Raise ValueError if `resume` is set without a run folder."""
    if resume and out is None:
        raise ValueError("--resume continues a run, got no --out; pass its folder as --out.")


def deprecated_names(module: str, renamed: Mapping[str, str]) -> Callable[[str], Any]:
    """Return a `__getattr__` for a module that resolves its old names, with a DeprecationWarning.

    Args:
        module: name of the module.
        renamed: old -> new names in it.
    """

    def module_getattr(name: str) -> Any:
        if name not in renamed:
            raise AttributeError(f"module {module!r} has no attribute {name!r}")
        message = f"{module}.{name} is now called {renamed[name]}; the next release removes the old name."
        warnings.warn(message, DeprecationWarning, stacklevel=2)
        return getattr(sys.modules[module], renamed[name])

    return module_getattr
