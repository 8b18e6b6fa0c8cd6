"""Time the sections one after another, and write tables, the figure and `summary.json`."""

import math
import platform
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import jax
from matplotlib.figure import Figure

from experiments import run
from experiments.bench.bench_arrays import arrays_of
from experiments.bench.broja_speed import decomposition_rows
from experiments.bench.config import CONTINUATION, Config
from experiments.bench.evolved_attention import draw_evolved, evolved_rows
from experiments.bench.llava_capture import llava_rows
from experiments.bench.operators import attention_rows, backward_rows, taps_rows
from experiments.bench.timing import Paired, Row
from experiments.run.report import Layout, Table

TEXT_FILES = ("config.json", "model.safetensors")
"""Files of a text-only model."""
SECTIONS: dict[str, tuple[str, Callable[[Config], Iterator[Row]]]] = {
    "evolved": ("attention evolved by diffusion, folded, against plain attention", evolved_rows),
    "attention": ("chunked attention against jax.nn.dot_product_attention", attention_rows),
    "taps": ("evolve by taps against the scan of steps", taps_rows),
    "backward": ("gradient of evolve against autodiff through every step", backward_rows),
    "pid": ("Gaussian BROJA, per system, one BLAS thread", decomposition_rows),
    "llava": ("LLaVA's language model: knockout windows in two phases, pooled states", llava_rows),
}


def main(config: Config) -> dict[str, Any]:
    """Time every section of `config.only`, show and save the results, and return the summary.

    Writes `summary.json` and `evolved.png` into the run folder. With `--resume`, finished sections are not repeated.

    Raises:
        FileNotFoundError: --llava.text is no folder of a model; no run folder is created then.
    """
    for name in config.only:
        run.check_memory(config, arrays_of(name, config))
    text = config.llava.text
    missing = [name for name in TEXT_FILES if text is not None and not (text / name).is_file()]
    if missing:
        raise FileNotFoundError(
            f"a text model is a folder with {' and '.join(TEXT_FILES)}, got {text} without {', '.join(missing)}; check "
            f"--llava.text."
        )
    return run.run_study(BenchStudy(config), config, out=config.out, resume=config.resume)


class BenchStudy(run.Study[dict[str, run.Row]]):
    """The sections as a study; its results are the rows by name of section."""

    program = "bench"
    layout = Layout(justify="right")
    continuation = CONTINUATION

    def __init__(self, config: Config) -> None:
        """Take the configuration."""
        self.config, self.stem, self.count = config, "bench", len(config.only)
        self.device = jax.devices()[0].device_kind
        self.title = f"device {self.device}, {platform.machine()}, jax {jax.__version__}, medians over pairs"

    def measure(self, runner: run.Runner) -> dict[str, run.Row]:
        """Time the sections of `config.only`."""
        parts = [run.Part(name, partial(time_section, name, self.config)) for name in self.config.only]
        return dict(zip(self.config.only, runner.rows(parts), strict=True))

    def tabulate(self, results: dict[str, run.Row]) -> list[Table]:
        """Return one table for each section."""
        return [section_table(SECTIONS[name][0], rows_of(row)) for name, row in results.items()]

    def draw(self, results: dict[str, run.Row]) -> Iterator[tuple[str, Figure]]:
        """Yield the figure of the evolved section."""
        if "evolved" in results:
            yield "evolved", draw_evolved(rows_of(results["evolved"]))

    def summarize(self, results: dict[str, run.Row], tables: list[Table]) -> dict[str, Any]:
        """Return configuration, device and the rows of all sections."""
        del tables
        rows = [{"section": name, **row} for name, section in results.items() for row in section["rows"]]
        return {"config": run.to_json(self.config), "device": self.device, "rows": rows}


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


def section_table(title: str, rows: list[Row]) -> Table:
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
        cells.append((case, *times, *memory, smaller, str(r.pairs)))
    columns = ("case", "ms", "plain ms", "faster, 95 % interval", "MiB", "plain MiB", "smaller", "pairs")
    return Table(title, columns, cells)


def _interval(r: Paired) -> str:
    return "[-]" if math.isnan(r.ratio_low) else f"[{r.ratio_low:.3g}, {r.ratio_high:.3g}]"
