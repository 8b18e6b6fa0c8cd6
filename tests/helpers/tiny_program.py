"""A tiny training program (`python -m tests.helpers.tiny_program`) for tests of run folders, resumption and hosts."""

import dataclasses
import functools
import hashlib
import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import jax
import numpy as np
import tyro

from experiments import run
from pdeformer import sharding, train
from tests.helpers import tiny


@dataclasses.dataclass(frozen=True)
class Mesh:
    """Devices along each axis."""

    data: int = 1
    model: int = 1
    fsdp: bool = False


@dataclasses.dataclass(frozen=True)
class Config:
    """Options of the program."""

    out: Path
    resume: bool = False
    mesh: Mesh = Mesh()
    variants: tuple[str, ...] = ("plain",)
    steps: int = 12
    optimizer: train.Optimizer = train.Optimizer(learning_rate=1e-2, warmup=2)
    cadence: run.LoopIntervals = run.LoopIntervals(log_every=2, eval_every=4, checkpoint_every=3, keep=2)
    profile: bool = False
    pause: float = 0.0
    """Delay in seconds of each batch from the fifth on, so that a signal arrives during training."""
    coordinator: str = ""
    """Address of the first of several hosts; empty for one host."""
    host: int = 0
    """Index of this host."""
    count: int = 2
    """Number of hosts."""
    stay_in: Literal["", "data", "compile", "checkpoint"] = ""
    """Where the program stays for a while, after it has written a file beside the run folder."""

    @property
    def hosts(self) -> run.Hosts:
        """How this process joins the others."""
        several = {"coordinator": self.coordinator, "count": self.count, "index": self.host}
        return run.Hosts(**several) if self.coordinator else run.Hosts()


MAY_CHANGE_ON_RESUME = (*run.MAY_CHANGE_ON_RESUME, "pause", "coordinator", "host", "count", "stay_in")
LOSSES: dict[str, train.LossFunction] = {
    "plain": train.classification_loss,
    "steady": lambda model, batch, key: train.classification_loss(model, batch, None),
}


def put_rows(batch, mesh):
    """Put the rows of this host on the mesh."""
    size = len(batch["labels"])
    own = sharding.host_rows(size, mesh)
    return sharding.put_batch(jax.tree.map(lambda x: x[own], batch), mesh, rows=size)


def main(config: Config, spy: Callable[[int], None] = lambda step: None) -> list[run.Result]:
    """Train every variant; `spy` is called with the step before each batch is made."""
    out, may_change = config.out, MAY_CHANGE_ON_RESUME
    run.join_hosts(config.hosts, config.out)
    with run.open_run(out, config, resume=config.resume, may_change=may_change) as folder:
        return train_all(config, folder, spy)


def train_all(config: Config, folder: run.Run, spy: Callable[[int], None]) -> list[run.Result]:
    """Train every variant in the run folder."""
    mesh = sharding.make_mesh(config.mesh.data, config.mesh.model)
    if config.coordinator:
        run.introduce_process(mesh.shape)

    def batch(step):
        spy(step)
        if config.stay_in == "data" and step == 0:
            mark(config)
            time.sleep(60)
        time.sleep(config.pause if step >= 4 else 0)
        return put_rows(tiny.batch_of(step), mesh)

    results = []
    for variant in config.variants:
        hits = []

        def test(params, evaluate, variant=variant, hits=hits):
            """Evaluate, and save which examples are right before the row of the training is."""
            evaluation = evaluate(params, [put_rows(TEST, mesh)], hits)
            if run.is_first():
                content = json.dumps(run.to_json(hits)).encode()
                run.write_atomically(folder.folder / f"hits-{variant}.json", content)
            return evaluation

        programs = run.make_programs(
            tiny.build, config.optimizer, config.steps, mesh, LOSSES[variant], fsdp=config.mesh.fsdp
        )
        results.append(
            run.train(
                folder,
                variant=variant,
                seed=0,
                steps=config.steps,
                state=programs.init(jax.random.key(0)),
                step_fn=SlowCompilation(config, programs.step)
                if config.stay_in == "compile"
                else programs.step,
                batch_fn=batch,
                evaluate_fn=lambda params, f=programs.evaluate: f(params, [put_rows(VALIDATION, mesh)]),
                test_fn=functools.partial(test, evaluate=programs.evaluate),
                tokens_per_step=16 * tiny.TOKENS,
                cadence=config.cadence,
                profile=config.profile,
            )
        )
    rows = [result._asdict() for result in results]
    folder.summarize({"program": "tiny", "rows": rows})
    return results


def mark(config: Config) -> None:
    """Say that the program is where it stays for a while."""
    (config.out.parent / f"{config.stay_in}-{config.host}").touch()


class SlowCompilation:
    """A step whose compilation does not return to Python for a minute."""

    def __init__(self, config: Config, step: Any) -> None:
        self.config, self.step = config, step

    def lower(self, *arguments: Any) -> Any:
        mark(self.config)
        hashlib.pbkdf2_hmac("sha256", b"", b"", 100_000_000)
        return self.step.lower(*arguments)


def wait_slowly(wait: Callable[[Any], None], config: Config) -> Callable[[Any], None]:
    """Return `Checkpoints.wait` with a delay."""

    def slow(checkpoints: Any) -> None:
        mark(config)
        time.sleep(1)
        wait(checkpoints)

    return slow


class Reader:
    """The command line of this program."""

    def read(self, words: list[str]) -> Config:
        config = tyro.cli(Config, args=words)
        if config.stay_in == "checkpoint":
            setattr(run.Checkpoints, "wait", wait_slowly(run.Checkpoints.wait, config))  # noqa: B010
        return config


WEIGHTS = {"weights": np.ones(32, np.float32)}
VALIDATION, TEST = (tiny.batch_of(step, 32) | WEIGHTS for step in (10_000, 10_001))

if __name__ == "__main__":
    reader: Any = Reader()
    run.run_program(reader, run.stop_at_signals()(main), sys.argv[1:])
