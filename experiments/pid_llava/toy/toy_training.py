"""Train the toy model on captions, then on answers. Writes one run folder, and one model folder per seed.

folder/…                files of `experiments.run`, with checkpoints
folder/models/seed0     config.json, model.safetensors (bfloat16), tokenizer and processor, made.json
"""

import dataclasses
import hashlib
import json
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx
from jax.sharding import Mesh

from experiments import run
from experiments.pid_llava.toy import curriculum
from experiments.pid_llava.toy.accuracy import BOTH_NEEDED, Accuracy, count_right, measure_folder
from experiments.pid_llava.toy.toy_model import build
from pdeformer import sharding
from pdeformer import train as trainer
from pid import llava, toyworld
from pid.interface.ranges import Count, Natural, Seed

VARIANT = "toy"
RENAMED = {"looks": "attribute-captions"}
"""Old -> new names of options."""
COMMAND = (
    "python -m experiments.pid_llava --train --seeds {seed} --attribute-captions {attribute_captions} "
    "--captions {captions} --steps {steps}"
)
SEED_STRIDE = 2**40  # between the batch seeds of two trainings, so that they share no examples
EXAMPLES: run.Arrays = {("batch",): 2000, ("validation",): 1000, ("test",): 1000}
"""Bytes of an example."""
FIRST = 256  # a test checks the number of right answers among the first examples


@dataclasses.dataclass(frozen=True)
class Train:
    """Train the toy model on captions, then on answers. The default takes 15 to 20 minutes per seed on two cores."""

    out: Path | None = None
    """Run folder. Default: the next free number under runs/pid_llava/. Nothing is ever overwritten."""
    resume: bool = False
    """Continue the run in --out. Finished parts are not repeated."""
    seeds: tuple[Seed, ...] = (0,)
    """Seeds of initial weights and examples. Each seed trains one model."""
    attribute_captions: Natural = 700
    """Number of first steps, which use only captions of attributes."""
    captions: Natural = 2_000
    """Number of all steps with captions. Those after --attribute-captions use captions of attributes and relations."""
    steps: Count = 5_500
    """Number of all steps. Those after --captions use answers."""
    batch: Count = 64
    """Examples per step."""
    optimizer: trainer.Optimizer = trainer.Optimizer(
        learning_rate=2e-3, warmup=100, weight_decay=0.01, b2=0.98, clip=1.0
    )
    """AdamW and its schedule."""
    cadence: run.LoopIntervals = run.LoopIntervals(log_every=20, eval_every=500, checkpoint_every=500)
    """How often to log, evaluate and save, in steps."""
    validation: Count = 1_000
    """Number of validation examples, which select the best weights. They are not used for training."""
    test: Count = 12_000
    """Number of examples of the test split, for the accuracies in made.json."""

    profile: bool = False
    """Write a trace of five steps of every training into the run folder, for xprof."""

    def __post_init__(self) -> None:
        """Raise ValueError for contradictions, before anything is generated."""
        if (
            not 0 <= self.attribute_captions <= self.captions <= self.steps
            or self.steps < 1
            or self.batch < 1
        ):
            raise ValueError(
                f"a training has steps ≥ captions ≥ attribute_captions ≥ 0, and at least one step and example, got "
                f"steps={self.steps}, captions={self.captions}, attribute_captions={self.attribute_captions}, "
                f"batch={self.batch}; change them."
            )
        run.check_seeds(self.seeds)
        run.check_resume(resume=self.resume, out=self.out)
        run.check_ranges(self)
        run.check_paths(self)
        if min(self.validation, self.test) < len(curriculum.CORNERS):
            raise ValueError(
                f"validation and test need some examples of every task, got {self.validation} and {self.test}; "
                f"raise them."
            )


PRESETS = {"train": ("", Train())}
CONTINUATION = run.Continuation(
    "pid_llava train",
    PRESETS,
    renamed={"looks": "attribute_captions"},
    extend=run.extend_fields("seeds"),
)
command_line = run.CommandLine(
    "experiments.pid_llava --train",
    str(Train.__doc__).partition("\n")[0],
    PRESETS,
    RENAMED,
    CONTINUATION,
)


@run.safe_output("the training is finished and all its files are written")
@run.stop_at_signals()
def train(config: Train) -> Path:
    """Train the model with every seed, write the model folders, and return the run folder.

    Finished trainings are not repeated. Writes `summary.json` with the accuracy of every seed and task.
    """
    run.check_memory(config, EXAMPLES)
    out = config.out or run.next_folder(Path("runs/pid_llava"), "train")
    with run.open_run(out, config, resume=config.resume, continuation=CONTINUATION) as folder:
        console = run.open_console()
        for note in folder.notes:
            console.print(note)
        rows = [train_one(config, seed, folder) for seed in config.seeds]
        folder.summarize({"program": "pid_llava train", "rows": rows})
    return folder.folder


def batch(config: Train, seed: int, step: int) -> curriculum.Batch:
    """Return the batch of a step (0-based). It depends only on the arguments."""
    batch_seed = seed * SEED_STRIDE + step
    if step < config.captions:
        kinds = curriculum.KINDS[:1] if step < config.attribute_captions else curriculum.KINDS
        return curriculum.captions(config.batch, seed=batch_seed, kinds=kinds)
    return curriculum.answers(
        list(toyworld.generate(config.batch, seed=batch_seed, world=curriculum.CORNERS))
    )


def train_one(config: Train, seed: int, folder: run.Run) -> dict[str, Any]:
    """Train one seed, write a folder with the weights that are best on validation, and return its made.json.

    `run.train` calls `test` with the last weights and then, if they differ, with the best weights, which overwrite the
    model folder.
    """
    mesh = sharding.make_mesh(1, 1)
    programs = run.make_programs(build, config.optimizer, config.steps, mesh, curriculum.loss)
    validation = list(
        toyworld.generate(config.validation, seed=(seed + 1) * SEED_STRIDE - 1, world=curriculum.CORNERS)
    )
    model_folder = folder.folder / "models" / f"seed{seed}"

    def test(params: Any) -> trainer.Evaluation:
        write_model(nnx.merge(programs.graphdef, params), model_folder)
        examples = toyworld.generate(config.validation, seed=0, split="test", world=BOTH_NEEDED)
        return programs.evaluate(params, put_batches(curriculum.in_batches(examples, config.batch), mesh))

    result = run.train(
        folder,
        variant=VARIANT,
        seed=seed,
        steps=config.steps,
        state=programs.init(jax.random.key(seed)),
        step_fn=programs.step,
        batch_fn=lambda step: sharding.put_batch(batch(config, seed, step), mesh),
        evaluate_fn=lambda params: programs.evaluate(
            params, put_batches(curriculum.in_batches(validation, config.batch), mesh)
        ),
        test_fn=test,
        tokens_per_step=config.batch * toyworld.LENGTH,
        cadence=config.cadence,
        profile=config.profile,
    )
    return describe(config, result, model_folder)


def put_batches(batches: Any, mesh: Mesh) -> Any:
    """Put the batches on the mesh, one at a time."""
    return (sharding.put_batch(rows, mesh) for rows in batches)


def write_model(model: llava.Llava, folder: Path) -> None:
    """Write a model and its processor as a Hugging Face folder, rounded to bfloat16."""
    graphdef, params = nnx.split(model)
    llava.save(nnx.merge(graphdef, jax.tree.map(lambda x: x.astype(jnp.bfloat16), params)), folder)
    toyworld.hugging_face_processor().save_pretrained(folder)


def describe(config: Train, result: run.Result, folder: Path) -> dict[str, Any]:
    """Write made.json (command, sizes, accuracies) unless it exists, and return its content."""
    path = folder / "made.json"
    if path.exists():
        return run.read_json(path, "delete it, and --resume writes it again")
    samples, speed = config.steps * config.batch, result.tokens_per_second / toyworld.LENGTH
    description = {
        "command": COMMAND.format(
            seed=result.seed,
            attribute_captions=config.attribute_captions,
            captions=config.captions,
            steps=config.steps,
        ),
        "config": {
            name: getattr(config, name)
            for name in ("attribute_captions", "captions", "steps", "batch", "test")
        },
        "optimizer": dataclasses.asdict(config.optimizer),
        "seed": result.seed,
        "weights_of_step": result.best_step,
        "samples": samples,
        "samples_per_second": round(speed, 1),
        "seconds_at_this_rate": round(samples / speed) if speed else None,
        "parameters": result.parameters,
        "split": "test",
        "examples_seed": 0,
        "accuracy_both_needed": accuracy_rows(measure_folder(folder, count=config.test, world=BOTH_NEEDED)),
        "accuracy_world": accuracy_rows(measure_folder(folder, count=config.test)),
        "first": FIRST,
        "right_among_first": count_right(folder, FIRST),
        "sha256": hashlib.sha256((folder / "model.safetensors").read_bytes()).hexdigest(),
        "versions": run.versions(),
    }
    run.write_atomically(path, (json.dumps(description, indent=2) + "\n").encode())
    return description


def accuracy_rows(accuracies: dict[str, Accuracy]) -> dict[str, dict[str, float]]:
    """Convert accuracies to the types of JSON, without rounding."""
    return {task: accuracy._asdict() for task, accuracy in accuracies.items()}
