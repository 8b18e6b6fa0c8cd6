"""Time the sections one after another, and write tables, the figure and `summary.json`."""

import math
import platform
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import jax
from matplotlib.figure import Figure
from rich.console import Console

from experiments import run
from experiments.bench.bench_arrays import arrays_of
from experiments.bench.broja_speed import decomposition_rows
from experiments.bench.config import CONTINUATION, Config
from experiments.bench.earlier_run import EarlierRun, read_earlier
from experiments.bench.evolved_attention import draw_evolved, evolved_rows
from experiments.bench.learning.input_speed import loader_rows
from experiments.bench.learning.training_speed import training_rows
from experiments.bench.llava_capture import llava_rows
from experiments.bench.machine import Machine, measure_machine
from experiments.bench.operators import attention_rows, backward_rows, taps_rows
from experiments.bench.timing import Paired, Row
from experiments.run.report import Layout, Table

MACHINE = "machine"
"""Name of the part that measures the peak rates."""
TEXT_FILES = ("config.json", "model.safetensors")
"""Files of a text-only model."""
SECTIONS: dict[str, tuple[str, Callable[[Config], Iterator[Row]]]] = {
    "evolved": ("attention evolved by diffusion, folded, against plain attention", evolved_rows),
    "attention": ("our attention against jax.nn.dot_product_attention", attention_rows),
    "taps": ("evolve in one pass against the scan of steps", taps_rows),
    "backward": ("gradient of evolve against autodiff through every step", backward_rows),
    "training": ("training step of the two-layer ListOps Transformer against plain Flax", training_rows),
    "loader": (
        "batches from memory maps, ms per 1000 examples; and input of training steps, ms per program",
        loader_rows,
    ),
    "pid": ("Gaussian BROJA, per system, one BLAS thread", decomposition_rows),
    "llava": ("LLaVA's language model: knockout windows in two phases, pooled states", llava_rows),
}


def main(config: Config) -> dict[str, Any]:
    """Time every section of `config.only`, show and save the results, and return the summary.

    Writes `summary.json` and `evolved.png` into the run folder. With `--resume`, finished sections are not repeated.

    Raises:
        FileNotFoundError: --llava.text is no folder of a model, or --compare no file; no run folder is created then.
        ValueError: --compare is no summary of this program.
    """
    earlier = None if config.compare is None else read_earlier(config.compare)
    for name in config.only:
        run.check_memory(config, arrays_of(name, config))
    text = config.llava.text
    missing = [name for name in TEXT_FILES if text is not None and not (text / name).is_file()]
    if missing:
        raise FileNotFoundError(
            f"a text model is a folder with {' and '.join(TEXT_FILES)}, got {text} without {', '.join(missing)}; check "
            f"--llava.text."
        )
    return run.run_study(BenchStudy(config, earlier), config, out=config.out, resume=config.resume)


class BenchStudy(run.Study[dict[str, run.Row]]):
    """The sections as a study; its results are the rows by name of section, with those of the machine first."""

    program = "bench"
    layout = Layout(justify="right")
    continuation = CONTINUATION

    def __init__(self, config: Config, earlier: EarlierRun | None = None) -> None:
        """Take the configuration, and the run to compare with."""
        self.config, self.stem, self.count = config, "bench", 1 + len(config.only)
        self.earlier = earlier
        self.device = jax.devices()[0].device_kind
        self.title = f"device {self.device}, {platform.machine()}, jax {jax.__version__}, medians over pairs"

    def measure(self, runner: run.Runner) -> dict[str, run.Row]:
        """Time the sections of `config.only`."""
        parts = [run.Part(name, partial(time_section, name, self.config)) for name in self.config.only]
        parts = [run.Part(MACHINE, time_machine), *parts]
        return dict(zip((MACHINE, *self.config.only), runner.rows(parts), strict=True))

    def tabulate(self, results: dict[str, run.Row]) -> list[Table]:
        """Return one table for each section."""
        machine = machine_of(results[MACHINE])
        return [
            section_table(name, rows_of(row), machine, self.earlier)
            for name, row in sections(results).items()
        ]

    def draw(self, results: dict[str, run.Row]) -> Iterator[tuple[str, Figure]]:
        """Yield the figure of the evolved section."""
        if "evolved" in results:
            yield "evolved", draw_evolved(rows_of(results["evolved"]))

    def summarize(self, results: dict[str, run.Row], tables: list[Table]) -> dict[str, Any]:
        """Return configuration, device and the rows of all sections."""
        del tables
        machine = machine_of(results[MACHINE])
        rows = [
            {"section": name, **row, "roofline_share": run.to_json(share(result, machine))}
            for name, section in sections(results).items()
            for row, (_, result) in zip(section["rows"], rows_of(section), strict=True)
        ]
        return {
            "config": run.to_json(self.config),
            "device": self.device,
            "machine": run.to_json(machine),
            "rows": rows,
        }

    def conclude(self, results: dict[str, run.Row], console: Console) -> None:
        """Print the rates of the machine, and with which run its rows are compared."""
        console.print(f"machine: {machine_of(results[MACHINE]).describe()}", markup=False)
        if self.earlier is not None:
            console.print(f"earlier: {self.config.compare}, device {self.earlier.device}", markup=False)


def time_machine(folder: Path, say: run.Say) -> run.Row:
    """Measure the peak rates of the device."""
    del folder, say
    return run.to_json(measure_machine())


def machine_of(row: run.Row) -> Machine:
    """Convert the row of the machine from JSON."""
    return Machine(row["bandwidth"], row["rates"])


def sections(results: dict[str, run.Row]) -> dict[str, run.Row]:
    """Return the results without those of the machine."""
    return {name: row for name, row in results.items() if name != MACHINE}


def share(result: Paired, machine: Machine) -> float:
    """Return the share of the roofline that our implementation reaches; NaN where it is not one compiled program."""
    if result.first_flops is None or not result.pairs:
        return math.nan
    return 1e3 * machine.least_seconds(result.first_flops, result.first_least_bytes) / result.first_ms


def time_section(name: str, config: Config, folder: Path, say: run.Say) -> run.Row:
    """Time one section row by row."""
    del folder
    rows = []
    for row in SECTIONS[name][1](config):
        rows.append({"case": row.case, **row.result._asdict()})
        say(f"{len(rows)} done, last {row.case}: {row.result.ratio:.2f}x")
    return {"rows": rows}


def rows_of(section: run.Row) -> list[Row]:
    """Convert the rows of a section from JSON to `Row`."""
    return [
        Row(row["case"], Paired(**{name: row[name] for name in Paired._fields if name in row}))
        for row in section["rows"]
    ]


def section_table(
    section: str, rows: list[Row], machine: Machine, earlier: EarlierRun | None = None
) -> Table:
    """Return times of our and of the plain implementation, and their temporaries in MiB, with the ratios."""
    cells = []
    for case, r in rows:
        smaller = f"{r.second_bytes / r.first_bytes:.2g}x" if r.first_bytes else "-"
        times = (
            (f"{r.first_ms:.3g}", f"{r.second_ms:.3g}", f"{r.ratio:.3g}x {_interval(r)}")
            if r.pairs
            else ("not run",) * 3
        )
        memory = (f"{x / 2**20:.1f}" for x in (r.first_bytes, r.second_bytes))
        reached = share(r, machine)
        roofline = "-" if math.isnan(reached) else f"{100 * reached:.0f} %"
        row = [case, *times, roofline, *memory, smaller, str(r.pairs)]
        if earlier is not None:
            ratio = earlier.ratio(section, case, r.first_ms)
            row.append("-" if ratio is None else f"{ratio:.3g}x")
        cells.append(tuple(row))
    columns = (
        "case",
        "ms",
        "plain ms",
        "faster, 95 % interval",
        "roofline",
        "MiB",
        "plain MiB",
        "smaller",
        "pairs",
    )
    return Table(SECTIONS[section][0], (*columns, *([] if earlier is None else ["earlier / now"])), cells)


def _interval(r: Paired) -> str:
    return "[-]" if math.isnan(r.ratio_low) else f"[{r.ratio_low:.3g}, {r.ratio_high:.3g}]"
