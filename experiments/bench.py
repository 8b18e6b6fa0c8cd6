"""What our fast forms cost beside the plain ones: time and memory, as ratios taken within one process.

    python -m experiments.bench                      # every section, a few minutes on two cores
    python -m experiments.bench --only attention     # one section

Every pair of functions is compiled and warmed before it is timed; A and B then run in alternating order, because
identical code timed in one order reads 0.96 to 1.32. A ratio is the median over the pairs and says how many times
faster ours is. `temporaries` is XLA's own plan of the memory a program needs beside its arguments and results.
"""

import json
import platform
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from functools import partial
from itertools import count
from pathlib import Path
from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import tyro
from rich import box
from rich.console import Console
from rich.table import Table

from pdeformer import AdvectionDiffusion, Diffusion, evolve
from pdeformer.attention import dot_product_attention

Section = Literal["attention", "taps", "backward"]


@dataclass(frozen=True)
class AttentionSize:
    """The input of the attention section: query, key and value are (batch, tokens, heads, width) float32."""

    tokens: int = 2048
    heads: int = 4
    width: int = 64
    batch: int = 1


@dataclass(frozen=True)
class StateSize:
    """The input of the sections on `evolve`: a float32 state (batch, tokens, channels)."""

    tokens: int = 4096
    channels: int = 256
    batch: int = 8


@dataclass(frozen=True)
class Config:
    """Speed and memory of the fast forms against the plain ones, as ratios."""

    only: tuple[Section, ...] = ("attention", "taps", "backward")
    """Sections to run, one after another."""
    pairs: int = 20
    """Timed pairs for each row, in alternating order."""
    out: Path = Path("runs/bench")
    """Parent of the run folders; each run takes the next free number and overwrites nothing."""
    attention: AttentionSize = field(default_factory=AttentionSize)
    state: StateSize = field(default_factory=StateSize)

    def __post_init__(self):
        if self.pairs < 2 or self.pairs % 2:
            raise ValueError(
                f"pairs must be even so that both orders weigh the same, got {self.pairs}; try 20."
            )


class Paired(NamedTuple):
    """Medians over the pairs."""

    first_ms: float
    second_ms: float
    ratio: float  # second / first of the same pair: how many times faster the first is
    first_bytes: int  # temporaries
    second_bytes: int


class Row(NamedTuple):
    """One line of a section: ours against the plain form."""

    case: str
    result: Paired


def paired(first: Callable, second: Callable, *args, pairs: int = 20) -> Paired:
    """Compile both for `args`, warm them, and time them in the order A B, B A, A B, …"""
    programs = [jax.jit(f).lower(*args).compile() for f in (first, second)]
    for program in programs:
        jax.block_until_ready(program(*args))
    times = np.array([_time_pair(programs, args, swap=bool(i % 2)) for i in range(pairs)])
    ours, theirs = np.median(times, axis=0)
    ratio = np.median(times[:, 1] / times[:, 0])
    return Paired(float(ours), float(theirs), float(ratio), *(_temporaries(program) for program in programs))


def _time_pair(programs, args, *, swap: bool) -> tuple[float, float]:
    milliseconds = [0.0, 0.0]
    for i in (1, 0) if swap else (0, 1):
        start = time.perf_counter()
        jax.block_until_ready(programs[i](*args))
        milliseconds[i] = 1e3 * (time.perf_counter() - start)
    return milliseconds[0], milliseconds[1]


def _temporaries(program) -> int:
    return program.memory_analysis().temp_size_in_bytes


def attention_rows(config: Config) -> Iterator[Row]:
    """Chunked attention against `jax.nn.dot_product_attention` given the same mask, forward and with the backward."""
    size = config.attention
    shape = (size.batch, size.tokens, size.heads, size.width)
    arrays = [jax.random.normal(key, shape) for key in jax.random.split(jax.random.key(0), 4)]
    position = jnp.arange(size.tokens)
    padding = jnp.where(position < 0.9 * size.tokens, 1, 0)
    packed = 1 + 4 * position // size.tokens
    cases = (
        ("plain", False, None),
        ("causal", True, None),
        ("1/10 padding", False, padding),
        ("4 segments", False, packed),
    )
    for name, is_causal, ids in cases:
        if ids is not None:
            ids = jnp.broadcast_to(ids.astype(jnp.int32), shape[:2])
        for way, program in (("forward", _forward), ("fwd + bwd", _forward_backward)):
            ours, theirs = (
                partial(program, partial(dot_product_attention, is_causal=is_causal, method=method))
                for method in ("chunked", "xla")
            )
            yield Row(f"{name}, {way}", paired(ours, theirs, *arrays, ids, pairs=config.pairs))


def _forward(attend: Callable, query, key, value, weight, ids):
    del weight  # only the backward pass needs the cotangent
    return attend(query, key, value, segment_ids=ids)


def _forward_backward(attend: Callable, query, key, value, weight, ids):
    output, pull = jax.vjp(partial(attend, segment_ids=ids), query, key, value)
    return output, pull(weight)


def _state(config: Config) -> jax.Array:
    size = config.state
    return jax.random.normal(jax.random.key(0), (size.batch, size.tokens, size.channels))


def taps_rows(config: Config) -> Iterator[Row]:
    """One pass of 2n+1 taps against n scanned steps of the heat equation, with the coefficient known or traced."""
    u, alpha = _state(config), jnp.float32(0.2)
    for steps in (4, 8):
        taps, scan = (partial(evolve, steps=steps, method=method) for method in ("taps", "scan"))
        constant = paired(
            lambda u, taps=taps: taps(u, Diffusion(0.2)),
            lambda u, scan=scan: scan(u, Diffusion(0.2)),
            u,
            pairs=config.pairs,
        )
        yield Row(f"{steps} steps, constant", constant)
        traced = paired(
            lambda u, a, taps=taps: taps(u, Diffusion(a)),
            lambda u, a, scan=scan: scan(u, Diffusion(a)),
            u,
            alpha,
            pairs=config.pairs,
        )
        yield Row(f"{steps} steps, traced", traced)


def backward_rows(config: Config) -> Iterator[Row]:
    """Gradient in state and coefficients: our rules against plain autodiff through a scan of public steps."""
    u = _state(config)[:1]
    equations = {"diffusion": Diffusion(0.2), "advection": AdvectionDiffusion(0.1, 0.3)}
    for name, pde in equations.items():
        pde = jax.tree.map(jnp.float32, pde)
        for steps in (4, 32):

            def ours(pde, u, steps=steps):
                return jnp.sum(evolve(u, pde, steps=steps) ** 2)

            def plain(pde, u, steps=steps):
                return jnp.sum(jax.lax.scan(lambda x, _: (pde.step(x), None), u, length=steps)[0] ** 2)

            gradients = (jax.grad(f, (0, 1)) for f in (ours, plain))
            yield Row(f"{name}, {steps} steps", paired(*gradients, pde, u, pairs=config.pairs))


SECTIONS: dict[str, tuple[str, Callable[[Config], Iterator[Row]]]] = {
    "attention": ("chunked attention against jax.nn.dot_product_attention", attention_rows),
    "taps": ("evolve by taps against the scan of steps", taps_rows),
    "backward": ("gradient of evolve against autodiff through every step", backward_rows),
}


def table(title: str, rows: list[Row]) -> Table:
    """A section as a table: ours, plain, how many times faster, temporaries in MiB and how many times smaller."""
    result = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD, pad_edge=False)
    result.add_column("case", no_wrap=True)
    for heading in ("ms", "plain ms", "faster", "MiB", "plain MiB", "smaller"):
        result.add_column(heading, justify="right", no_wrap=True)
    for case, r in rows:
        smaller = r.second_bytes / r.first_bytes if r.first_bytes else float("inf")
        result.add_row(
            case,
            *(f"{x:.1f}" for x in (r.first_ms, r.second_ms)),
            f"{r.ratio:.2f}x",
            *(f"{x / 2**20:.1f}" for x in (r.first_bytes, r.second_bytes)),
            f"{smaller:.1f}x",
        )
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


def fresh_folder(parent: Path) -> Path:
    """Make and return the next free numbered folder in `parent`: 000, 001, …"""
    parent.mkdir(parents=True, exist_ok=True)
    for number in count():
        folder = parent / f"{number:03d}"
        try:
            folder.mkdir()
        except FileExistsError:
            continue
        return folder
    raise AssertionError("count() never ends")


def main(config: Config) -> Path:
    """Run the sections, print their tables, write `summary.json`; returns the run folder."""
    console = Console()
    if not console.is_terminal:
        console = Console(width=110)  # a log file has no width of its own; 80 would cut the columns
    device = jax.devices()[0].device_kind
    console.print(
        f"device {device}, {platform.machine()}, jax {jax.__version__}, median of {config.pairs} pairs"
    )
    rows = {name: run_section(name, config, console) for name in config.only}
    folder = fresh_folder(config.out)
    summary = {
        "program": "bench",
        "config": asdict(config) | {"out": str(config.out)},
        "device": device,
        "versions": {"jax": jax.__version__, "python": platform.python_version()},
        "rows": [
            {"section": name, "case": row.case, **row.result._asdict()}
            for name, section in rows.items()
            for row in section
        ],
    }
    (folder / "summary.json").write_text(json.dumps(summary, indent=2) + "\n")
    console.print(f"wrote {folder / 'summary.json'}")
    return folder


if __name__ == "__main__":
    main(tyro.cli(Config))
