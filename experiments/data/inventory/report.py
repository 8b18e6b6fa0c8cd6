"""Tables of the program, from rows in the types of JSON."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from experiments.data.data_catalog import CATALOG, DataConfig
from experiments.data.inventory.known_statistics import MAX_Z
from experiments.run import Row
from experiments.run.report import Table
from experiments.run.report.tables import number, percent


def inventory_table(
    configs: Mapping[str, Sequence[DataConfig]], data_dir: Path, manual_dir: Path | None
) -> Table:
    """Return what there is, what of it is prepared, and how to get the rest.

    Args:
        configs: configurations by the name of the data set.
        data_dir: folder of prepared data.
        manual_dir: folder of published files.

    Returns:
        A row for every source of every data set.
    """
    rows = [
        _inventory_row(name, config, data_dir, manual_dir)
        for name, sources in configs.items()
        for config in sources
    ]
    columns = ("name", "data", "source", "train / val / test", "tokens", "prepared", "floor", "to get it")
    return Table(f"Data sets, prepared data in {data_dir}", columns, rows)


def _inventory_row(name: str, config: DataConfig, data_dir: Path, manual_dir: Path | None) -> tuple[str, ...]:
    is_prepared = config.is_prepared(data_dir, manual_dir)
    sizes = " / ".join(f"{size:,}" for size in config.sizes().values()) or "-"
    best = max(config.floors.items(), key=lambda floor: floor[1], default=None)
    floor = f"{percent(best[1])} {best[0].replace('_', ' ')}" if best else "-"
    is_default = config is CATALOG[name].configs[0]
    command = f"prepare {name}" if is_default else f"prepare {name} --source {config.source}"
    folder = " --manual-dir FOLDER" if config.source in CATALOG[name].instructions else ""
    return (
        name,
        config.title,
        config.source,
        sizes,
        f"{config.max_len:,}",
        "yes" if is_prepared else "no",
        floor,
        "" if is_prepared else f"{command}{folder}",
    )


def instruction_lines(configs: Mapping[str, Sequence[DataConfig]]) -> list[str]:
    """Return what a user does for the sources that need a folder, one line for each instruction."""
    names: dict[str, list[str]] = {}
    for name, sources in configs.items():
        for config in sources:
            if instruction := CATALOG[name].instructions.get(config.source):
                names.setdefault(instruction, []).append(f"{name} --source {config.source}")
    return [f"{', '.join(sources)}: {instruction}" for instruction, sources in names.items()]


def verification_tables(results: Mapping[str, Row]) -> list[Table]:
    """Return the table of splits and the table of statistics.

    Args:
        results: rows by the name of the data set, each with `splits` and `statistics`.

    Returns:
        Two tables.
    """
    splits = [
        (
            name,
            split["name"],
            f"{split['examples']:,}",
            f"{split['expected']:,}",
            f"{split['shortest']:,} / {split['mean_length']:,.0f} / {split['longest']:,}",
            f"{percent(split['rarest'])} / {percent(split['most_frequent'])}"
            if split["most_frequent"]
            else "-",
            split["sha256"][:16],
        )
        for name, row in results.items()
        for split in row["splits"]
    ]
    statistics = [
        (
            name,
            statistic["name"],
            number(statistic["known"]),
            number(statistic["here"]),
            number(statistic["z"], 1),
            "agrees" if statistic["agrees"] else "DEVIATES",
        )
        for name, row in results.items()
        for statistic in row["statistics"]
    ]
    columns = (
        "name",
        "split",
        "examples",
        "expected",
        "shortest / mean / longest",
        "label shares",
        "SHA-256",
    )
    title = f"Means over the split train; a deviation has more than {MAX_Z:g} standard errors"
    return [
        Table("Splits, read again and compared with their manifests", columns, splits),
        Table(title, ("name", "statistic", "known", "here", "z", ""), statistics),
    ]


def sample_table(results: Mapping[str, Row]) -> Table:
    """Return the pictures and the first sample of every data set.

    Args:
        results: rows by the name of the data set, each with `split`, `picture`, `samples` and `first`.

    Returns:
        The table.
    """
    rows = [
        (name, row["split"], str(row["samples"]), row["picture"], row["first"])
        for name, row in results.items()
    ]
    return Table("Samples", ("name", "split", "samples", "picture", "first sample"), rows)
