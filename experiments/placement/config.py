"""Options of the program: a frozen dataclass whose field docstrings are the text of `--help`."""

import dataclasses
from pathlib import Path
from typing import Annotated, Literal

from experiments import run
from experiments.lra import Config as TaskConfig
from experiments.lra.benchmark_tasks import TASKS
from experiments.lra.suite import SuiteConfig
from experiments.placement.layer_kinds import BOUND, DIFFUSIONS, KINDS
from experiments.placement.variant_families import Variant, make_variants
from pdeformer.model import PLACEMENTS, POSITIONS_ONLY
from pid.interface.command_options import HIDDEN, MAY_BE_EMPTY, Choices
from pid.interface.ranges import Natural, Seed

MAY_CHANGE_ON_RESUME = (*run.MAY_CHANGE_ON_RESUME, "hosts", "data_dir", "manual_dir", "verify", "concurrency")
"""Fields that may change on resume: devices and data folders, but nothing that changes results beyond rounding."""
CONTROLS = ("convolution", "shift", "canon", POSITIONS_ONLY)
"""Controls of equal place."""


@dataclasses.dataclass(frozen=True)
class Mesh:
    """Devices along each axis of the mesh; -1 takes all that remain."""

    data: int = -1
    """Groups of devices that share the variants of a layer. -1 takes all that --mesh.model leaves."""
    model: int = 1
    """Devices that share the rows, heads and feed-forward units of one training. -1 takes all that --mesh.data
    leaves."""


@dataclasses.dataclass(frozen=True)
class Config:
    """Train a Transformer with a layer at one place after another, and compare the accuracies with the baseline.

    The run folder has one more run folder for each task.

    Raises:
        ValueError: the options contradict each other, or do not fit a task.
    """

    preset: Annotated[str, HIDDEN] = "quick"
    """Name of the preset with the defaults of the other options."""
    out: Path | None = None
    """Run folder. Default: the next free number under runs/placement/. Nothing is ever overwritten."""
    resume: bool = False
    """Continue the run in --out. Finished parts are not repeated."""
    tasks: Annotated[tuple[str, ...], Choices(tuple(TASKS))] = ("listops",)
    """Tasks of `experiments.lra`, one after another."""
    scale: Literal["quick", "lra", "two-layer", "amos"] = "quick"
    """Configuration of every task: quick is a miniature for two CPU cores, the others are published."""
    layers: Annotated[tuple[str, ...], Choices(DIFFUSIONS)] = DIFFUSIONS
    """Diffusion layers at every place. heat: one fixed diffusivity; adaptive: a learned symmetric stencil per channel;
    multiscale: learned weights of several edge lengths."""
    places: Annotated[tuple[str, ...], Choices(PLACEMENTS)] = PLACEMENTS
    """Places of the layers."""
    alphas: tuple[float, ...] = (0.25,)
    """Diffusivities of heat, each at every place; a step is stable up to 1/2, and larger ones are not held back."""
    starts: tuple[float, ...] = (0.10,)
    """Initial smoothing of the learned layers, each at every place. From 1/2 on only the unconstrained convolution
    can have it."""
    controls: Annotated[tuple[str, ...], Choices(CONTROLS), MAY_BE_EMPTY] = ("convolution",)
    """Controls. convolution: an unconstrained kernel of three taps at every place; shift: a learned mixture with the
    token before, at every place; canon: a causal convolution of four taps before and inside attention and before and
    inside the feed-forward sublayer; positions_only: the first of --layers on the position code alone."""
    narrow: Annotated[tuple[str, ...], Choices(tuple(TASKS)), MAY_BE_EMPTY] = ()
    """Tasks with fewer variants, for long sequences: the first of --layers and the convolution."""
    seeds: tuple[Seed, ...] = (0,)
    """Seeds. A seed determines initial weights, batches and dropout; every variant trains with every seed."""
    steps: tuple[Natural, ...] = (0,)
    """Training steps: one number for all tasks, or one for each; 0: as many as the configuration has."""
    batch: tuple[Natural, ...] = (0,)
    """Examples per step: one number for all tasks, or one for each; 0: as many as the configuration has."""
    concurrency: Natural = 0
    """Trainings that a device computes at the same time; the others of the same step follow one after another. 0: all
    on an accelerator, and one on a CPU, where that is faster. Lower it if the memory of a device is too small."""
    rows: Natural = 16
    """Validation rows on which the states at every site are measured; 0: no measurement."""
    cadence: run.LoopIntervals = run.LoopIntervals(log_every=10, eval_every=50, checkpoint_every=100)
    """How often to log, evaluate and save."""
    dtype: Literal["float32", "bfloat16"] = "float32"
    """Type of the computation; parameters, statistics and logits stay float32."""
    data_dir: Path = Path("data")
    """Folder of prepared data. Later runs read it again."""
    manual_dir: Path | None = None
    """Folder lra_release of the unpacked lra_release.gz; with it ListOps, Retrieval, Pathfinder and Path-X are read."""
    verify: bool = False
    """Read all prepared data and compare its SHA-256, although its files have not changed since the last time."""
    mesh: Mesh = Mesh()
    """Devices of the mesh."""
    hosts: run.Hosts = run.Hosts()
    """Training on several hosts."""

    def __post_init__(self) -> None:
        """Check that the options fit together, and those of every task."""
        run.check_names("tasks", self.tasks, TASKS)
        run.check_names("places", self.places, PLACEMENTS)
        run.check_names("layers", self.layers, DIFFUSIONS)
        run.check_names("controls", self.controls, CONTROLS, may_be_empty=True)
        run.check_names("narrow", self.narrow, TASKS, may_be_empty=True)
        if other := [task for task in self.narrow if task not in self.tasks]:
            raise ValueError(
                f"narrow tasks are among the tasks {' '.join(self.tasks)}, got {' '.join(other)}; change --narrow."
            )
        self._check_smoothing()
        run.check_seeds(self.seeds)
        run.check_ranges(self)
        run.check_paths(self)
        run.check_resume(resume=self.resume, out=self.out)
        for option, values in (("steps", self.steps), ("batch", self.batch)):
            if len(values) not in (1, len(self.tasks)):
                raise ValueError(
                    f"{option} are one number for all tasks or one for each, got {len(values)} for {len(self.tasks)} "
                    f"tasks; change --{option}."
                )
        for task in self.tasks:
            self.task_config(task)

    def _check_smoothing(self) -> None:
        for option, limit in (("alphas", KINDS["heat"].limit), ("starts", KINDS["convolution"].limit)):
            values = getattr(self, option)
            if not values or len(set(values)) < len(values) or not all(0 < x < limit for x in values):
                raise ValueError(
                    f"{option} are one or more different numbers above 0 and below {limit:g}, got "
                    f"{' '.join(map(str, values)) or 'none'}; change --{option}."
                )
        learned = [name for name in self.layers if name != "heat"]
        if learned and min(self.starts) >= BOUND:
            raise ValueError(
                f"the weights of {' and '.join(learned)} begin with a sum below 1/2, got --starts "
                f"{' '.join(map(str, self.starts))}; add a smaller one, or leave them out of --layers."
            )

    def idle_options(self) -> dict[str, run.Idle]:
        """Return the options that have no effect, and why."""
        present = f"--layers {' '.join(self.layers)}"
        idle: dict[str, run.Idle] = {}
        if "heat" not in self.layers:
            idle["alphas"] = run.Idle("--layers heat", present)
        if self.layers == ("heat",) and not {"convolution", "shift"} & set(self.controls):
            idle["starts"] = run.Idle("--layers adaptive or multiscale", present)
        if self.scale == "quick":
            idle["manual-dir"] = run.Idle("another --scale", "--scale quick")
        return idle

    def task_config(self, task: str) -> TaskConfig:
        """Return the configuration of a task as `experiments.lra` has it, without its folder.

        Raises:
            ValueError: an option does not fit the task.
        """
        suite = SuiteConfig(
            tasks=(task,),
            scale=self.scale,
            controls=(),
            seeds=self.seeds,
            steps=self._of_task(self.steps, task),
            dtype=self.dtype,
            data_dir=self.data_dir,
            manual_dir=self.manual_dir,
            verify=self.verify,
        )
        config = suite.task_config(task)
        batch = self._of_task(self.batch, task) or config.batch
        return dataclasses.replace(config, batch=batch, cadence=self.cadence)

    def variants(self, task: str) -> list[Variant]:
        """Return the variants of a task, the baseline first."""
        starts = {
            kind: tuple(x for x in self.starts if x < KINDS[kind].limit)
            for kind in KINDS
            if kind not in ("heat", "canon")
        }
        is_narrow = task in self.narrow
        controls = tuple(name for name in self.controls if name == "convolution" or not is_narrow)
        return make_variants(
            layers=self.layers[:1] if is_narrow else self.layers,
            places=self.places,
            alphas=starts | {"heat": self.alphas},
            controls=controls,
            causal=TASKS[task].head == "tokens",
        )

    def _of_task(self, values: tuple[int, ...], task: str) -> int:
        return values[0] if len(values) == 1 else values[self.tasks.index(task)]
