"""Options of the program: a frozen dataclass. Its docstrings are the text of `--help`."""

import dataclasses
from difflib import get_close_matches
from pathlib import Path
from typing import Annotated, Literal

from experiments import run
from experiments.data.data_catalog import CATALOG, DataConfig
from pid.interface.command_options import HIDDEN, Choices
from pid.interface.ranges import Count

COMMANDS = ("list", "prepare", "verify", "show")
WITH_FOLDER = ("verify", "show")
"""Commands that write a run folder."""
SOURCES = tuple(dict.fromkeys(source for data in CATALOG.values() for source in data.sources))
MAY_CHANGE_ON_RESUME = (*run.MAY_CHANGE_ON_RESUME, "data_dir", "manual_dir")
"""Fields that may change on resume: the folder of the run and those of the data."""


@dataclasses.dataclass(frozen=True)
class Config:
    """List, prepare, verify and show the data sets of the programs."""

    preset: Annotated[str, HIDDEN] = "list"
    """The command."""
    names: Annotated[tuple[str, ...], Choices(tuple(CATALOG))] = ()
    """Data sets, also without --names behind the command. Default: all for list; for verify and show all that are
    prepared, of those from published files the ones whose files are in --manual-dir."""
    source: Annotated[str | None, Choices(SOURCES)] = None
    """Source of the data sets. Default: the first one that the list has."""
    split: Literal["train", "val", "test"] = "train"
    """Split whose samples are shown."""
    count: Count = 9
    """Samples of each data set in its picture."""
    data_dir: Path = Path("data")
    """Folder of prepared data."""
    manual_dir: Path | None = None
    """Folder of published files, for sources that read them."""
    out: Path | None = None
    """Run folder. Default: the next free number under runs/data/. Nothing is ever overwritten."""
    resume: bool = False
    """Continue the run in --out. Finished parts are not repeated."""

    def __post_init__(self) -> None:
        """Check that the data sets exist, before anything is read or written."""
        if self.preset not in COMMANDS:
            raise ValueError(
                f"a command is one of {', '.join(COMMANDS)}, got {self.preset!r}; choose among them."
            )
        for name in self.names:
            if name not in CATALOG:
                similar = get_close_matches(name, CATALOG, n=1)
                hint = f"did you mean {similar[0]}?" if similar else "python -m experiments.data lists them."
                raise ValueError(f"a data set is one of {', '.join(CATALOG)}, got {name!r}; {hint}")
        if len(set(self.names)) < len(self.names):
            raise ValueError(f"every data set is named once, got {' '.join(self.names)}; change --names.")
        if self.count > 100:
            raise ValueError(f"a picture has at most 100 samples, got {self.count}; lower --count.")
        for name in self.names:
            if self.source not in (None, *CATALOG[name].sources):
                raise ValueError(
                    f"{name} has the sources {', '.join(CATALOG[name].sources)}, got {self.source!r}; "
                    f"use --source {CATALOG[name].sources[0]}."
                )
        run.check_ranges(self)
        run.check_paths(self)
        run.check_resume(resume=self.resume, out=self.out)

    def idle_options(self) -> dict[str, run.Idle]:
        """Return the options that have no effect, and why."""
        folder, picture = run.Idle("verify or show", self.preset), run.Idle("show", self.preset)
        idle = {} if self.preset in WITH_FOLDER else {"out": folder, "resume": folder}
        return idle if self.preset == "show" else idle | {"split": picture, "count": picture}

    def check_names(self) -> None:
        """Raise ValueError if the command needs names and has none; to generate everything takes hours."""
        if self.preset == "prepare" and not self.names:
            raise ValueError(
                "prepare needs data sets, got none; write for example python -m experiments.data prepare mqar-quick."
            )

    def configs(self) -> dict[str, tuple[DataConfig, ...]]:
        """Return the configurations of the data sets that are meant, by name: those of the source, or all."""
        names = self.names or tuple(CATALOG)
        chosen = {
            name: tuple(c for c in CATALOG[name].configs if self.source in (None, c.source)) for name in names
        }
        return {name: configs for name, configs in chosen.items() if configs}
