"""The four commands: list, prepare, verify, show."""

import abc
import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console

from experiments import run
from experiments.data.arrays import Split
from experiments.data.arrays.store import NO_LABEL
from experiments.data.data_catalog import CATALOG, FROM_FOLDER, DataConfig
from experiments.data.inventory.config import Config
from experiments.data.inventory.figures import draw_samples, label_text, sample_text
from experiments.data.inventory.known_statistics import LACKING, compare, known_statistics
from experiments.data.inventory.presets import CONTINUATION
from experiments.data.inventory.report import (
    instruction_lines,
    inventory_table,
    sample_table,
    verification_tables,
)
from experiments.run.figures import save
from experiments.run.report import Table, show

FIRST_CHARACTERS = 60


def main(config: Config) -> dict[str, Any]:
    """Run a command, and return its summary; that of `verify` has an entry `deviations`.

    Raises:
        FileNotFoundError: data to verify or show are not prepared, or published files are missing.
        ValueError: `prepare` has no names, or a prepared file is damaged.
    """
    config.check_names()
    if config.preset == "list":
        return list_data(config)
    if config.preset == "prepare":
        return prepare_data(config)
    config = dataclasses.replace(config, names=tuple(prepared_configs(config)))  # a resumed run has these
    study = (VerifyStudy if config.preset == "verify" else ShowStudy)(config)
    return run.run_study(study, config, out=config.out, resume=config.resume)


@run.safe_output("the list is complete")
def list_data(config: Config) -> dict[str, Any]:
    """Print the table of data sets, and return how many sources of them are prepared."""
    console = run.open_console()
    table = inventory_table(config.configs(), config.data_dir, config.manual_dir)
    show([table], console)
    for line in (
        "to get it: python -m experiments.data and these words",
        *instruction_lines(config.configs()),
    ):
        console.print(line, markup=False)
    prepared = [row[0] for row in table.rows if row[5] == "yes"]
    return {"program": "data", "sources": len(table.rows), "prepared": prepared}


@run.safe_output("the data are prepared")
@run.stop_at_signals("what is generated so far is continued by the same command")
def prepare_data(config: Config) -> dict[str, Any]:
    """Generate or read the data sets, and return the hashes of their splits."""
    if not config.data_dir.is_dir():
        run.check_folder(config.data_dir, "--data-dir")
    console = run.open_console()
    hashes: dict[str, dict[str, str]] = {}
    for name, (data, *_) in config.configs().items():
        splits = data.prepare(config.data_dir, manual_dir=config.manual_dir)
        hashes[name] = {split: arrays.sha256 for split, arrays in splits.items()}
        counts = " / ".join(f"{split} {len(arrays.labels):,}" for split, arrays in splits.items())
        console.print(f"{name}: {data.title}, {data.source}: {counts}, in {config.data_dir}", markup=False)
    return {"program": "data", "hashes": hashes}


def prepared_configs(config: Config) -> dict[str, DataConfig]:
    """Return the data sets to verify or show: the named ones, or all that are prepared and can be read.

    A prepared data set is read together with the files that it was made from, so without names those whose published
    files are not in the manual folder are left out.

    Raises:
        FileNotFoundError: a named data set is not prepared, or none is.
    """
    first: dict[str, DataConfig] = {}
    for name, sources in config.configs().items():
        prepared = [data for data in sources if data.is_prepared(config.data_dir, config.manual_dir)]
        if not config.names and config.manual_dir is None:
            prepared = [data for data in prepared if data.source not in FROM_FOLDER]
        if prepared:
            first[name] = prepared[0]
    missing = [name for name in config.names if name not in first]
    if missing or not first:
        names = " ".join(missing) or "mqar-quick"
        missing_in = f"of {' '.join(missing)} in {config.data_dir}" if missing else f"in {config.data_dir}"
        source = f" --source {config.source}" if config.source else ""
        raise FileNotFoundError(
            f"{config.preset} reads prepared data, got no arrays {missing_in}; "
            f"python -m experiments.data prepare {names}{source} does that."
        )
    return first


class DataStudy(run.Study[dict[str, run.Row]]):
    """A command with a run folder: one part for each data set."""

    program = "data"
    continuation = CONTINUATION

    def __init__(self, config: Config) -> None:
        """Take the configuration, and choose the data sets."""
        self.config, self.data = config, prepared_configs(config)
        self.stem, self.count = config.preset, len(self.data)
        self.title = f"{config.preset} {' '.join(self.data)}, data in {config.data_dir}"

    def measure(self, runner: run.Runner) -> dict[str, run.Row]:
        """Read every data set."""
        rows = runner.rows(self.part(name, data) for name, data in self.data.items())
        return dict(zip(self.data, rows, strict=True))

    def part(self, name: str, data: DataConfig) -> run.Part:
        """Return the part of a data set."""

        def measure(folder: Path, say: run.Say) -> run.Row:
            say("reading")
            splits = data.prepare(
                self.config.data_dir, manual_dir=self.config.manual_dir, verify=self.config.preset == "verify"
            )
            return self.row(name, data, splits, folder)

        return run.Part(name, measure)

    @abc.abstractmethod
    def row(self, name: str, data: DataConfig, splits: Mapping[str, Split], folder: Path) -> run.Row:
        """Return the result of a data set."""

    def summarize(self, results: dict[str, run.Row], tables: list[Table]) -> dict[str, Any]:
        """Return the rows by data set."""
        del tables
        return {"preset": self.config.preset, "data_sets": results}


class VerifyStudy(DataStudy):
    """SHA-256, counts and statistics."""

    def row(self, name: str, data: DataConfig, splits: Mapping[str, Split], folder: Path) -> run.Row:
        """Return counts and statistics; SHA-256 were compared when the splits were read."""
        del folder
        expected = {name: len(split.labels) for name, split in splits.items()} | data.sizes()
        statistics = compare(splits["train"], known_statistics(name, data))
        return {
            "title": data.title,
            "source": data.source,
            "splits": [describe(split, splits[split], size) for split, size in expected.items()],
            "statistics": [run.to_json(s._asdict() | {"agrees": s.agrees}) for s in statistics],
        }

    def tabulate(self, results: dict[str, run.Row]) -> list[Table]:
        """Return the table of splits and the table of statistics."""
        return verification_tables(results)

    def summarize(self, results: dict[str, run.Row], tables: list[Table]) -> dict[str, Any]:
        """Return the rows, and what deviates."""
        return super().summarize(results, tables) | {"deviations": deviations(results)}

    def conclude(self, results: dict[str, run.Row], console: Console) -> None:
        """Print what deviates."""
        for line in deviations(results):
            console.print(line, style="red", markup=False)


class ShowStudy(DataStudy):
    """Samples as pictures."""

    def row(self, name: str, data: DataConfig, splits: Mapping[str, Split], folder: Path) -> run.Row:
        """Draw the samples of a data set into the run folder."""
        split = splits[self.config.split]
        title = f"{name}: {data.title}, {data.source}, {self.config.split}"
        figure = draw_samples(split, CATALOG[name].kind, self.config.count, title)
        path = save(figure, folder, name)
        text = " ".join((label_text(split, 0), *sample_text(split, 0).split())).strip()
        is_image = CATALOG[name].kind == "image"
        return {
            "split": self.config.split,
            "samples": min(self.config.count, len(split.labels)),
            "picture": path.name,
            "first": label_text(split, 0) if is_image else _cut(text),
        }

    def tabulate(self, results: dict[str, run.Row]) -> list[Table]:
        """Return the pictures."""
        return [sample_table(results)]


def _cut(text: str) -> str:
    return text if len(text) <= FIRST_CHARACTERS else f"{text[:FIRST_CHARACTERS]} …"


def describe(name: str, split: Split, expected: int) -> run.Row:
    """Return sizes, lengths and label shares of a split.

    Args:
        name: name of the split.
        split: the split.
        expected: number of examples of its configuration.

    Returns:
        A row.
    """
    labels = split.labels[split.labels != NO_LABEL] if split.classes else np.zeros(0, np.int32)
    shares = np.bincount(labels, minlength=split.classes) / max(len(labels), 1)
    used = shares[shares > 0]
    return {
        "name": name,
        "examples": len(split.labels),
        "expected": expected,
        "shortest": int(np.min(split.lengths)),
        "mean_length": float(np.mean(split.lengths)),
        "longest": int(np.max(split.lengths)),
        "rarest": float(used.min(initial=1)),
        "most_frequent": float(used.max(initial=0)),
        "sha256": split.sha256,
    }


def deviations(results: Mapping[str, run.Row]) -> list[str]:
    """Return a sentence for every count and statistic that is not the known one."""
    counts = [
        f"{name} {split['name']} has {split['examples']:,} examples, expected {split['expected']:,}"
        for name, row in results.items()
        for split in row["splits"]
        if split["expected"] - split["examples"] not in (0, LACKING.get((name, str(row.get("source"))), 0))
    ]
    return counts + [
        f"{name}: {statistic['name']} is {statistic['here']:.4g}, known {statistic['known']:.4g}"
        for name, row in results.items()
        for statistic in row["statistics"]
        if not statistic["agrees"]
    ]
