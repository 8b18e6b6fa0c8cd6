"""A tiny training program (`python -m tests.helpers.tiny_program`) for tests of run folders, resumption and hosts."""

import dataclasses
import functools
import json
import sys
import time
from collections.abc import Callable
from pathlib import Path

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
    pause: float = 0.0
    """Delay in seconds of each batch from the fifth on, so that a signal arrives during training."""
    coordinator: str = ""
    """Address of the first of two hosts; empty for one host."""
    host: int = 0
    """Index of this host, 0 or 1."""


MAY_CHANGE_ON_RESUME = (*run.MAY_CHANGE_ON_RESUME, "pause", "coordinator", "host")
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
    with run.open_run(out, config, resume=config.resume, may_change=may_change) as folder:
        return train_all(config, folder, spy)


def train_all(config: Config, folder: run.Run, spy: Callable[[int], None]) -> list[run.Result]:
    """Train every variant in the run folder."""
    mesh = sharding.make_mesh(config.mesh.data, config.mesh.model)

    def batch(step):
        spy(step)
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
                step_fn=programs.step,
                batch_fn=batch,
                evaluate_fn=lambda params, f=programs.evaluate: f(params, [put_rows(VALIDATION, mesh)]),
                test_fn=functools.partial(test, evaluate=programs.evaluate),
                tokens_per_step=16 * tiny.TOKENS,
                cadence=config.cadence,
            )
        )
    rows = [result._asdict() for result in results]
    folder.summarize({"program": "tiny", "rows": rows})
    return results


WEIGHTS = {"weights": np.ones(32, np.float32)}
VALIDATION, TEST = (tiny.batch_of(step, 32) | WEIGHTS for step in (10_000, 10_001))

if __name__ == "__main__":
    config = tyro.cli(Config)
    if config.coordinator:
        run.join_hosts(run.Hosts(coordinator=config.coordinator, count=2, index=config.host), config.out)
    main(config)
    sys.exit(0)
