"""Command lines with presets, old names of options, and checks that all programs share."""

import dataclasses
import sys
import tempfile
import warnings
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import Any, Generic, NamedTuple, TypeVar

from experiments.run.compilation_cache import OPTION as NO_CACHE
from experiments.run.console import safe_output
from experiments.run.folder.continuation import Continuation, SavedStart, check_run, is_blank
from experiments.run.folder.folder_lock import check_unlocked
from pid.interface.command_options import NONE, Option, groups_of, options_of
from pid.interface.help_text import help_text, is_help
from pid.interface.parsing import Arguments, parse, replace
from pid.interface.ranges import MAX_INT
from pid.interface.refusals import explain
from pid.interface.values import read

C = TypeVar("C")


class Idle(NamedTuple):
    """Why an option, or a group of options, has no effect."""

    needed: str
    """What gives it an effect, as it is written on the command line."""
    present: str
    """What the command line has instead."""


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
    continuation: Continuation[C] | None = None
    """What --resume accepts. With it, `--out DIR --resume` starts from the saved configuration of the run in DIR."""
    words: str = ""
    """Name of the option whose values are the words behind the preset. Without it such words are refused."""

    @safe_output()  # --help goes through a pipe, too
    def __call__(self, arguments: Sequence[str]) -> C:
        """Return the configuration that the arguments describe.

        Exits with code 2 and a sentence if an argument is invalid; for a misspelled name the sentence has a suggestion.
        """
        try:
            return self.read(arguments)
        except ValueError as error:
            code, sentence = explain(error)
            if not sentence:
                raise
            print(sentence, file=sys.stderr)
            raise SystemExit(code) from None

    def read(self, arguments: Sequence[str]) -> C:
        """Return the configuration that the arguments describe.

        Raises:
            SystemExit: the arguments ask for help, which is printed.
            ValueError: an argument is invalid, or the configuration contradicts itself.
        """
        words = rename_options(arguments, self.renamed)
        if is_help(words):
            print(self.help(self._preset(words[:1]) if self._is_preset(words[0]) else self.default))
            raise SystemExit(0)
        parsed = self._place_words(
            parse(
                words, options_of(self.presets[self.default][1]), free=(*self.presets, *self._word_choices())
            )
        )
        _, start = self.presets[self._preset(parsed.words)]
        saved = self._saved(parsed)
        config = (
            replace(start, parsed.values)
            if saved is None
            else saved.finish(replace(saved.config, saved.merge(parsed.values)))
        )
        check_effects(parsed.values, config)
        return config

    def _word_option(self) -> Option | None:
        options = options_of(self.presets[self.default][1])
        return next((option for option in options if option.name == self.words), None)

    def _word_choices(self) -> tuple[str, ...]:
        option = self._word_option()
        return () if option is None else option.choices

    def _place_words(self, parsed: Arguments) -> Arguments:
        """Return the arguments with the words behind the preset as values of their option.

        Raises:
            ValueError: the option is written as well, or a word is none of its values.
        """
        option = self._word_option()
        if option is None or len(parsed.words) < 2 or not self._is_preset(parsed.words[0]):
            return parsed
        preset, *words = parsed.words
        if option.path in parsed.values:
            raise ValueError(
                f"{self.words} are written once, got {' '.join(words)} and --{self.words}; drop one of them."
            )
        return Arguments(parsed.values | {option.path: read(option, words)}, [preset])

    def _saved(self, parsed: Arguments) -> SavedStart[C] | None:
        """Return the saved configuration of the run to resume, None without one."""
        if self.continuation is None or not parsed.values.get(("resume",)):
            return None
        saved = self.continuation.start(parsed.values.get(("out",)))
        if saved is not None and parsed.words:
            saved.check_preset(parsed.words[0])
        return saved

    @property
    def default(self) -> str:
        """Name of the default preset."""
        return next(iter(self.presets))

    def help(self, preset: str) -> str:
        """Return the text of `--help`, with the values of a preset as defaults."""
        line, config = self.presets[preset]
        word = "" if len(self.presets) == 1 else " [PRESET]"
        word += f" [{self.words.upper()}]" if self.words else ""
        about = (
            f"{self.about} {line}"
            if len(self.presets) == 1
            else (
                f"{self.about} A preset sets all options; those that follow it change single ones. Below are the "
                f"defaults of the preset {preset}."
            )
        )
        return help_text(
            f"python -m {self.program}{word} [OPTIONS]",
            " ".join(about.split()),
            options_of(config),
            words={} if len(self.presets) == 1 else {name: text for name, (text, _) in self.presets.items()},
            groups=groups_of(config),
            common={
                NO_CACHE: "Do not read or store compiled programs; see JAX_COMPILATION_CACHE_DIR in BUILD.md."
            },
        )

    def _is_preset(self, word: str) -> bool:
        return word.replace("_", "-") in self.presets

    def _preset(self, words: Sequence[str]) -> str:
        """Return the preset that the words without an option name. Raises ValueError for any other word."""
        names = [word.replace("_", "-") for word in words]
        if not names:
            return self.default
        if len(self.presets) == 1:
            raise ValueError(
                f"every value follows its option, got {words[0]!r} alone; --help lists the options."
            )
        for word, name in zip(words, names, strict=True):
            if name not in self.presets:
                similar = get_close_matches(name, self.presets, n=1)
                hint = f"did you mean {similar[0]}?" if similar else "choose among them."
                raise ValueError(f"a preset is one of {', '.join(self.presets)}, got {word!r}; {hint}")
        if len(names) > 1:
            raise ValueError(f"a run has one preset, got {' '.join(words)}; keep one of them.")
        return names[0]


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


def idle_in_sections(used_by: Mapping[str, Sequence[str]], only: Sequence[str]) -> dict[str, Idle]:
    """Return the options and groups that none of the sections of --only uses.

    Args:
        used_by: option or group -> the sections that use it.
        only: the sections that run.
    """
    present = f"--only {' '.join(only)}"
    return {
        name.replace("_", "-"): Idle(" or ".join(f"--only {section}" for section in sections), present)
        for name, sections in used_by.items()
        if not set(sections) & set(only)
    }


def check_effects(options: Iterable[Sequence[str]], config: Any) -> None:
    """Raise ValueError for the first option of a command line that has no effect.

    Args:
        options: paths of the options that the command line has.
        config: the configuration. Its method `idle_options` returns the names of options and groups without effect,
            each with an `Idle`; without the method every option has an effect.
    """
    idle = config.idle_options() if hasattr(config, "idle_options") else {}
    for path in options:
        name = ".".join(path).replace("_", "-")
        groups = (name[:end] for end in (*(i for i, c in enumerate(name) if c == "."), len(name)))
        for reason in (idle[group] for group in groups if group in idle):
            raise ValueError(
                f"--{name} has an effect only with {reason.needed}, got {reason.present}; drop it, or use "
                f"{reason.needed}."
            )


def check_seeds(seeds: Sequence[int]) -> None:
    """Raise ValueError unless the seeds are one or more different integers from 0 to 2³¹ - 1."""
    if not seeds or min(seeds) < 0 or len(set(seeds)) < len(seeds) or max(seeds) > MAX_INT:
        raise ValueError(
            f"seeds are one or more different numbers from 0 on, up to {MAX_INT}, got {seeds}; change --seeds."
        )


def check_names(
    option: str, names: Sequence[str], choices: Collection[str] = (), *, may_be_empty: bool = False
) -> None:
    """Check a list of names, whether it comes from a command line, a saved configuration or Python.

    Args:
        option: name of the option, without the dashes.
        names: its values.
        choices: the names that it may have; if "none" is one of them, it stands alone. Without choices any name is
            right.
        may_be_empty: whether the option may have no name.

    Raises:
        ValueError: a name is unknown or repeated, "none" stands beside others, or there is no name.
    """
    if not names and not may_be_empty:
        raise ValueError(
            f"--{option} needs one or more of {', '.join(choices)}, got none; name one of them behind --{option}."
        )
    for name in names:
        if choices and name not in choices:
            similar = get_close_matches(name, choices, n=1)
            hint = f"did you mean {similar[0]!r}?" if similar else "choose among them."
            raise ValueError(f"--{option} has values among {', '.join(choices)}, got {name!r}; {hint}")
    written = " ".join(names)
    if len(set(names)) < len(names):
        raise ValueError(f"values of --{option} are different, got {written}; drop the repeated ones.")
    if NONE in choices and NONE in names and len(names) > 1:
        raise ValueError(
            f"of the values of --{option} {NONE} stands alone, got {written}; drop {NONE}, or the others."
        )


def check_resume(*, resume: bool, out: Path | None) -> None:
    """Raise ValueError if `resume` is set without a run folder."""
    if resume and out is None:
        raise ValueError("--resume continues a run, got no --out; pass its folder as --out.")


def check_out(*, resume: bool, out: Path | None) -> None:
    """Check the run folder of a command line.

    Raises:
        FileExistsError: it has files and is not resumed, or is a file.
        FileNotFoundError: it is resumed and does not exist, or has no run.
        PermissionError: it cannot be created.
    """
    if out is None:
        return
    if out.exists() and not out.is_dir():
        raise FileExistsError(f"a run needs a folder, got {out} which is a file; use another --out.")
    check_folder(out, "--out")
    if resume:
        check_run(out.absolute())
    elif out.is_dir() and not is_blank(out):
        check_unlocked(out.absolute())
        raise FileExistsError(
            f"a run needs a folder of its own, got {out} which has files; use --resume to continue its run, or another "
            f"--out."
        )


def check_folder(folder: Path, option: str) -> None:
    """Raise PermissionError unless the folder of an option can be created, or written if it exists."""
    parent = next(path for path in (folder.absolute(), *folder.absolute().parents) if path.exists())
    try:
        with tempfile.TemporaryDirectory(dir=parent):
            pass
    except OSError as error:
        raise PermissionError(
            f"{option} is a folder to write to, got {folder}, but {parent} refuses it ({error.strerror}); choose "
            f"another {option}."
        ) from None


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
