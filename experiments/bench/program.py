"""Run the sections, print their tables, write the summary and the figure."""

import json
import platform
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path

import jax
from rich import box
from rich.console import Console
from rich.table import Table

from experiments import run
from experiments.bench.broja_speed import decomposition_rows
from experiments.bench.config import Config
from experiments.bench.evolved_attention import evolved_rows, figure
from experiments.bench.llava_capture import llava_rows
from experiments.bench.operators import attention_rows, backward_rows, taps_rows
from experiments.bench.timing import Row

SECTIONS: dict[str, tuple[str, Callable[[Config], Iterator[Row]]]] = {
    "evolved": ("attention evolved by diffusion, folded, against plain attention", evolved_rows),
    "attention": ("chunked attention against jax.nn.dot_product_attention", attention_rows),
    "taps": ("evolve by taps against the scan of steps", taps_rows),
    "backward": ("gradient of evolve against autodiff through every step", backward_rows),
    "pid": ("Gaussian BROJA, per system, one BLAS thread", decomposition_rows),
    "llava": ("LLaVA's language model: knockout windows in two phases, pooled states", llava_rows),
}


def table(title: str, rows: list[Row]) -> Table:
    """A section as a table: ours, plain, how many times faster, temporaries in MiB and how many times smaller."""
    result = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD, pad_edge=False)
    result.add_column("case", no_wrap=True)
    for heading in ("ms", "plain ms", "faster", "MiB", "plain MiB", "smaller", "pairs"):
        result.add_column(heading, justify="right", no_wrap=True)
    for case, r in rows:
        smaller = f"{r.second_bytes / r.first_bytes:.2g}x" if r.first_bytes else "-"
        timed = (
            (f"{r.first_ms:.3g}", f"{r.second_ms:.3g}", f"{r.ratio:.3g}x") if r.pairs else ("not run",) * 3
        )
        planned = (f"{x / 2**20:.1f}" for x in (r.first_bytes, r.second_bytes))
        result.add_row(case, *timed, *planned, smaller, str(r.pairs))
    return result


def run_section(name: str, config: Config, console: Console) -> list[Row]:
    """Measure one section row by row, showing each as it comes, and print its table."""
    title, section = SECTIONS[name]
    rows = []
    with console.status(f"{name}: compiling and timing") as status:
        for row in section(config):
            rows.append(row)
            status.update(f"{name}: {len(rows)} done, last {row.case}: {row.result.ratio:.2f}x")
    console.print(table(title, rows))
    return rows


def main(config: Config) -> Path:
    """Run the sections, print their tables, write `summary.json`; returns the run folder."""
    console = Console()
    if not console.is_terminal:
        console = Console(width=120)  # a log file has no width of its own; 80 would cut the columns
    device = jax.devices()[0].device_kind
    console.print(f"device {device}, {platform.machine()}, jax {jax.__version__}, medians over pairs")
    rows = {name: run_section(name, config, console) for name in config.only}
    folder = run.next_folder(config.out, "bench")
    summary = {
        "program": "bench",
        "config": asdict(config),
        "device": device,
        "versions": {"jax": jax.__version__, "python": platform.python_version()},
        "rows": [
            {"section": name, "case": row.case, **row.result._asdict()}
            for name, section in rows.items()
            for row in section
        ],
    }
    if "evolved" in rows:
        figure(rows["evolved"]).savefig(folder / "evolved.png", dpi=150)
        console.print(f"wrote {folder / 'evolved.png'}")
    (folder / "summary.json").write_text(json.dumps(summary, indent=2, default=str) + "\n")
    console.print(f"wrote {folder / 'summary.json'}")
    return folder
