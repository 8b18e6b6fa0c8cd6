"""What a program accepts when it continues a run: the saved configuration as a start, and more seeds and variants."""

import dataclasses
import shlex
from collections.abc import Callable, Collection, Mapping, Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import Any, Generic, NamedTuple, TypeVar

from experiments.run.folder import saved_config
from experiments.run.folder.atomic_files import check_file, check_subfolder, read_json
from experiments.run.folder.start_log import read_starts
from pid.interface.command_options import NONE

C = TypeVar("C")
X = TypeVar("X")
MAY_CHANGE_ON_RESUME = ("mesh", "out", "resume", "profile")
"""Top-level fields of a configuration that may change on resume: they do not change the results.

The `config.py` of a program may add others.
"""
LOCK = "lock"
REMAINS = (LOCK, "versions.json", "starts.jsonl")
"""Files that a start may leave if it ends before it has written its configuration."""
SUFFIXES = {".json", ".jsonl", ".png", ".csv", ".md"}
"""Suffixes of the files of a run, without those of its arrays."""
FOLDERS = (
    *("rows", "checkpoints", "hits", "stencils", "coefficients", "models", "profile"),
    *("nats", "sites", "groups"),
)
"""Folders in a run."""
OF_THIS_START = ("out", "resume", "hosts", "profile")
"""Fields that each start sets anew; the others start from the saved values."""


class Extension(NamedTuple, Generic[C]):
    """A configuration that asks for what is saved and for more."""

    config: C
    fields: Collection[str]
    """Top-level fields that may have more than the saved ones. The rows that exist keep their meaning."""


def union(saved: Sequence[X], more: Sequence[X]) -> tuple[X, ...]:
    """Return the saved items in their order, then the new ones in theirs; "none" only if there is no other item."""
    items = tuple(dict.fromkeys((*saved, *more)))
    return tuple(item for item in items if item != NONE) or items[:1]


def extend_fields(*names: str) -> Callable[[Any, Any], Extension[Any]]:
    """Return a function that adds the items of these fields to the saved ones."""

    def extend(saved: Any, config: Any) -> Extension[Any]:
        values = {name: union(getattr(saved, name), getattr(config, name)) for name in names}
        return Extension(dataclasses.replace(config, **values), names)

    return extend


@dataclasses.dataclass(frozen=True)
class Continuation(Generic[C]):
    """How a program continues a run."""

    program: str = ""
    """Name of the program, as in `summary.json`; "" skips the comparison of names."""
    presets: Mapping[str, tuple[str, C]] = dataclasses.field(default_factory=dict)
    """Name -> (one line for `--help`, values). Without presets, a saved configuration must have every field."""
    may_change: Sequence[str] = MAY_CHANGE_ON_RESUME
    """Top-level fields that may change on resume."""
    renamed: Mapping[str, str] = dataclasses.field(default_factory=dict)
    """Old -> new names of fields in configurations that an earlier release has saved."""
    extend: Callable[[C, C], Extension[C]] = extend_fields()
    """(saved, present) -> the present configuration with everything that the saved one asks for."""
    additive: Sequence[str] = ()
    """Top-level lists to which a command line adds what it names, before the options are checked together."""

    def read(self, folder: Path) -> tuple[C, list[str]]:
        """Return the saved configuration, and the names of saved fields that this release does not have.

        Raises:
            FileNotFoundError: there is no run.
            ValueError: it is a run of another program, or a file is damaged.
        """
        check_run(folder)
        self.check_program(folder)
        fields = saved_config.read_fields(folder, self.renamed)
        default = self.defaults(fields)
        self._check_fields(default, fields, folder)
        saved = saved_config.build(default, fields, folder / saved_config.NAME)
        return saved, saved_config.unknown_fields(default, fields)

    def defaults(self, fields: Mapping[str, Any]) -> C:
        """Return the preset of a saved configuration, whose values its missing fields take."""
        first, *_ = self.presets.values()
        return self.presets.get(str(fields.get("preset")), first)[1]

    def check_program(self, folder: Path) -> None:
        """Raise ValueError if another program has made the run."""
        if self.program and (other := program_of(folder)) not in ("", self.program):
            raise ValueError(
                f"--resume of {self.program} needs a run of {self.program}, got a run of {other} in {folder}; use "
                f"{resume_command(other, folder)}, or another --out."
            )

    def _check_fields(self, default: C, fields: Mapping[str, Any], folder: Path) -> None:
        """Raise ValueError if most fields are missing: a run of another program, which did not save its name."""
        names = [field.name for field in dataclasses.fields(default)]  # type: ignore[arg-type]  C is a dataclass
        if sum(name in fields for name in names) < len(names) / 2:
            raise ValueError(
                f"--resume of {self.program} needs a run of {self.program}, got a run of another program in {folder}, "
                f"with the options {', '.join(sorted(fields))}; use that program, or another --out."
            )

    def start(self, out: Path | None) -> "SavedStart[C] | None":
        """Return the start of a command line with --resume, None if --out is not the folder of a run.

        A folder without a run is refused later, by `open_run`.
        """
        if out is None or not (out / saved_config.NAME).exists():
            return None
        saved, _ = self.read(out.absolute())
        preset = self.defaults({"preset": getattr(saved, "preset", "")})
        values = {name: getattr(preset, name) for name in OF_THIS_START if hasattr(preset, name)}
        values |= {"out": out, "resume": True}
        return SavedStart(dataclasses.replace(saved, **values), self)  # type: ignore[type-var]  C is a dataclass


class SavedStart(NamedTuple, Generic[C]):
    """The saved configuration as the start of a command line."""

    config: C
    continuation: Continuation[C]

    def check_preset(self, word: str) -> None:
        """Raise ValueError if the command line names another preset than the run has."""
        preset = getattr(self.config, "preset", word)
        if word.replace("_", "-") != preset:
            raise ValueError(
                f"--resume continues the preset of the run, saved {preset}, now {word}; leave the preset out, or use "
                f"another --out."
            )

    def merge(self, values: Mapping[tuple[str, ...], Any]) -> dict[tuple[str, ...], Any]:
        """Return the values of a command line, those of additive lists after the saved ones."""
        merged = dict(values)
        for name in self.continuation.additive:
            if (name,) in merged:
                merged[name,] = union(getattr(self.config, name), merged[name,])
        return merged

    def finish(self, config: C) -> C:
        """Add what the run has already, which a command line does not repeat."""
        return self.continuation.extend(self.config, config).config


def resume_command(program: str, folder: Path) -> str:
    """Return the full command that continues a run, from any directory."""
    words = f"experiments.{program}".replace(" train", " --train").split()
    return shlex.join(["python", "-m", *words, "--out", str(folder), "--resume"])


def check_run(folder: Path) -> None:
    """Raise an error unless the folder has a run.

    Raises:
        FileExistsError: an entry of the run is of another kind than a run writes, or must not be written.
        FileNotFoundError: the folder does not exist or is empty. The message names similar run folders beside it.
        ValueError: the folder has files of something else.
    """
    check_entries(folder)
    if (folder / saved_config.NAME).exists():
        return
    if folder.is_dir() and not is_blank(folder):
        inside = [str(path.parent) for path in sorted(folder.glob(f"*/{saved_config.NAME}"))[-3:]]
        remedy = f"use {' or '.join(inside)}, or another --out" if inside else "check --out, or use another"
        raise ValueError(f"--resume needs a run folder, got {folder} without config.json; {remedy}.")
    state = (
        "which is empty"
        if folder.is_dir()
        else "which is a file"
        if folder.exists()
        else "which does not exist"
    )
    raise FileNotFoundError(
        f"--resume needs a run folder, got {folder}, {state}; {_suggestion(folder)}, or leave --resume out to start a "
        f"new run."
    )


def check_entries(folder: Path) -> None:
    """Raise FileExistsError if an entry of the folder is of another kind than in a run, before anything is computed."""
    if not folder.is_dir():
        return
    for path in (*folder.iterdir(), *folder.glob("rows/*")):
        if path.name == LOCK or path.suffix in SUFFIXES:
            check_file(path)
    for path in (folder, *(folder / name for name in FOLDERS), *folder.glob("checkpoints/*-[0-9]*")):
        check_subfolder(path)
    for path in folder.glob("checkpoints/*/[0-9]*"):
        if path.is_symlink():
            raise FileExistsError(
                f"{path} must be a folder, got a link; put the folder itself there, or link to the whole run."
            )


def is_blank(folder: Path) -> bool:
    """Return whether a folder has no files, or only those of a start that ended before it wrote its configuration."""
    return all(path.name in REMAINS or path.name.endswith(".part") for path in folder.iterdir())


def _suggestion(folder: Path) -> str:
    beside = {path.parent.name: path.parent for path in folder.parent.glob(f"*/{saved_config.NAME}")}
    names = get_close_matches(folder.name, beside, n=3) or sorted(beside)[-3:]
    return f"use {' or '.join(str(beside[name]) for name in names)}" if names else "check --out"


def program_of(folder: Path) -> str:
    """Return the program that made the run, "" if it does not say."""
    for start in read_starts(folder)[:1]:
        if program := start.get("program"):
            return program
    path = folder / "summary.json"
    summary = read_json(path, "delete it, --resume writes it again") if path.exists() else {}
    return summary.get("program", "") if isinstance(summary, dict) else ""
