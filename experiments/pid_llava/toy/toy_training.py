"""The training of the toy model: captions, then answers; one run folder, one shipped folder for each seed.

folder/…                as `experiments.run` keeps it, with checkpoints to go on from
folder/models/seed0     config.json, model.safetensors (bfloat16), tokenizer and processor, made.json
"""

import dataclasses
import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import tyro
from flax import nnx
from jax.sharding import Mesh

from experiments import run
from experiments.pid_llava.toy import curriculum
from experiments.pid_llava.toy.accuracy import BOTH_NEEDED, Accuracy, of_folder, right_among
from experiments.pid_llava.toy.toy_model import build
from experiments.run.run_folder import write
from pdeformer import sharding
from pdeformer import train as trainer
from pid import llava, toyworld

VARIANT = "toy"
COMMAND = "python -m experiments.pid_llava --train --seeds {seed} --looks {looks} --captions {captions} --steps {steps}"
FAR = 2**40  # seeds of batches start here times the seed of the training, so no two trainings share examples
FIRST = 256  # examples that are few enough to be answered again by a test


@dataclasses.dataclass(frozen=True)
class Train:
    """Train the toy model on captions, then on answers. As it stands: 15 to 20 minutes on two cores for a seed."""

    out: Path | None = None
    """Run folder. Default: the next free number under runs/pid_llava/. Nothing is ever overwritten."""
    resume: bool = False
    """Go on with the run in --out, from its last checkpoint."""
    seeds: tuple[int, ...] = (0,)
    """Seeds. A seed decides initial weights and examples."""
    looks: int = 700
    """Steps of captions of looks alone, at the beginning."""
    captions: int = 2_000
    """Steps of captions in all; behind those of looks alone they are of both kinds."""
    steps: int = 5_500
    """Steps in all; behind the captions they are answers."""
    batch: int = 64
    """Examples per step."""
    optimizer: trainer.Optimizer = trainer.Optimizer(
        learning_rate=2e-3, warmup=100, weight_decay=0.01, b2=0.98, clip=1.0
    )
    """AdamW and its schedule."""
    cadence: run.LoopIntervals = run.LoopIntervals(log_every=20, eval_every=500, checkpoint_every=500)
    """How often to log, evaluate and save."""
    validation: int = 1_000
    """Examples from training scenes, not trained on, by which the best weights are chosen."""
    test: int = 12_000
    """Examples of the test split, for the accuracies in made.json."""

    def __post_init__(self) -> None:
        """Refuse contradictions before anything is drawn."""
        if not 0 <= self.looks <= self.captions <= self.steps or self.steps < 1 or self.batch < 1:
            raise ValueError(
                f"a training has steps ≥ captions ≥ looks ≥ 0, and at least one step and example, got "
                f"steps={self.steps}, captions={self.captions}, looks={self.looks}, batch={self.batch}; change them."
            )
        if not self.seeds or min(self.seeds) < 0 or len(set(self.seeds)) < len(self.seeds):
            raise ValueError(
                f"seeds are one or more different numbers from 0 on, got {self.seeds}; change --seeds."
            )
        if min(self.validation, self.test) < len(curriculum.CORNERS):
            raise ValueError(
                f"validation and test need some examples of every task, got {self.validation} and {self.test}; "
                f"raise them."
            )
        if self.resume and self.out is None:
            raise ValueError("--resume goes on with a run, got no --out; pass its folder as --out.")


def command_line(arguments: Sequence[str]) -> Train:
    """The training that the words behind `--train` ask for."""
    return tyro.cli(Train, args=list(arguments), prog="python -m experiments.pid_llava --train")


def train(config: Train) -> Path:
    """Train the model with every seed, write the folders to be shipped, and return the run folder.

    Trainings that have finished are not repeated. Writes `summary.json` with the accuracy of every seed and task.
    """
    folder = run.open_run(
        config.out or run.next_folder(Path("runs/pid_llava"), "train"), config, resume=config.resume
    )
    rows = [train_one(config, seed, folder) for seed in config.seeds]
    folder.summarize({"program": "pid_llava train", "rows": rows})
    return folder.folder


def batch(config: Train, seed: int, step: int) -> curriculum.Batch:
    """The batch of a step, from 0 on: the same whenever it is asked for."""
    draw = seed * FAR + step
    if step < config.captions:
        kinds = curriculum.KINDS[:1] if step < config.looks else curriculum.KINDS
        return curriculum.captions(config.batch, seed=draw, kinds=kinds)
    return curriculum.answers(list(toyworld.generate(config.batch, seed=draw, world=curriculum.CORNERS)))


def train_one(config: Train, seed: int, folder: run.Run) -> dict[str, Any]:
    """Train one seed and write a folder of the weights that were best on validation; returns what made.json says.

    `test` is called with the last weights and then, if they are others, with the best: these stay in the folder.
    """
    mesh = sharding.make_mesh(1, 1)
    made = run.programs(build, config.optimizer, config.steps, mesh, curriculum.loss)
    validation = list(
        toyworld.generate(config.validation, seed=(seed + 1) * FAR - 1, world=curriculum.CORNERS)
    )
    shipped = folder.folder / "models" / f"seed{seed}"

    def test(params: Any) -> trainer.Evaluation:
        ship(nnx.merge(made.graphdef, params), shipped)
        examples = toyworld.generate(config.validation, seed=0, split="test", world=BOTH_NEEDED)
        return made.evaluate(params, placed(curriculum.in_batches(examples, config.batch), mesh))

    result = run.train(
        folder,
        variant=VARIANT,
        seed=seed,
        steps=config.steps,
        state=made.init(jax.random.key(seed)),
        step_fn=made.step,
        batch_fn=lambda step: sharding.put_batch(batch(config, seed, step), mesh),
        evaluate_fn=lambda params: made.evaluate(
            params, placed(curriculum.in_batches(validation, config.batch), mesh)
        ),
        test_fn=test,
        tokens_per_step=config.batch * toyworld.LENGTH,
        cadence=config.cadence,
    )
    return describe(config, result, shipped)


def placed(batches: Any, mesh: Mesh) -> Any:
    """The batches on the mesh, one at a time."""
    return (sharding.put_batch(rows, mesh) for rows in batches)


def ship(model: llava.Llava, folder: Path) -> None:
    """Write a model and its processor as a Hugging Face folder, rounded to bfloat16."""
    graphdef, params = nnx.split(model)
    llava.save(nnx.merge(graphdef, jax.tree.map(lambda x: x.astype(jnp.bfloat16), params)), folder)
    toyworld.hugging_face_processor().save_pretrained(folder)


def describe(config: Train, result: run.Result, folder: Path) -> dict[str, Any]:
    """Write made.json, how the weights were made and what they reach, unless it is there; returns what it says."""
    made = folder / "made.json"
    if made.exists():
        return json.loads(made.read_text())
    samples, speed = config.steps * config.batch, result.tokens_per_second / toyworld.LENGTH
    about = {
        "command": COMMAND.format(
            seed=result.seed, looks=config.looks, captions=config.captions, steps=config.steps
        ),
        "config": {name: getattr(config, name) for name in ("looks", "captions", "steps", "batch", "test")},
        "optimizer": dataclasses.asdict(config.optimizer),
        "seed": result.seed,
        "weights_of_step": result.best_step,
        "samples": samples,
        "samples_per_second": round(speed, 1),
        "seconds_at_this_rate": round(samples / speed) if speed else None,
        "parameters": result.parameters,
        "split": "test",
        "examples_seed": 0,
        "accuracy_both_needed": plain(of_folder(folder, count=config.test, world=BOTH_NEEDED)),
        "accuracy_world": plain(of_folder(folder, count=config.test)),
        "first": FIRST,
        "right_among_first": right_among(folder, FIRST),
        "sha256": hashlib.sha256((folder / "model.safetensors").read_bytes()).hexdigest(),
        "versions": run.versions(),
    }
    write(made, (json.dumps(about, indent=2) + "\n").encode())
    return about


def plain(found: dict[str, Accuracy]) -> dict[str, dict[str, float]]:
    """Accuracies as JSON holds them."""
    return {task: accuracy._asdict() for task, accuracy in found.items()}
