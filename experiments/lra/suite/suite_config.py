"""Options of the suite, and the configuration of the run of each task."""

import dataclasses
from pathlib import Path
from typing import Annotated, Literal

from experiments import run
from experiments.lra.benchmark_tasks import BENCHMARK, TASKS
from experiments.lra.config import NONE, Config, Mesh
from experiments.lra.controls import CONTROLS
from experiments.lra.presets import CONFIGURATIONS
from pdeformer.layers import PDEAttentionConfig, StencilConfig
from pdeformer.model import PLACEMENTS
from pid.interface.command_options import HIDDEN, Choices
from pid.interface.ranges import Natural, Seed


@dataclasses.dataclass(frozen=True)
class SuiteConfig:
    """Train every task with its baseline and its variants, and print them as one table.

    The run folder has one more run folder for each task.

    Raises:
        ValueError: the options contradict each other, or do not fit a task.
    """

    preset: Annotated[str, HIDDEN] = "suite-quick"
    """Name of the preset with the defaults of the other options."""
    out: Path | None = None
    """Run folder. Default: the next free number under runs/lra/. Nothing is ever overwritten."""
    resume: bool = False
    """Continue the run in --out. Finished parts are not repeated."""
    tasks: Annotated[tuple[str, ...], Choices(tuple(TASKS))] = BENCHMARK
    """Tasks, in the order of the columns."""
    scale: Literal["quick", "lra", "two-layer", "amos"] = "quick"
    """Configuration of every task: quick is a miniature for two CPU cores, the others are published."""
    placement: Annotated[tuple[str, ...], Choices((NONE, *PLACEMENTS))] = ("after_embedding",)
    """Places of the diffusion layer: one variant per place, in addition to the baseline; none: no such variant."""
    stencil: StencilConfig = StencilConfig(kind="adaptive")
    """The diffusion layer of the variants."""
    attention: PDEAttentionConfig = PDEAttentionConfig()
    """The equation that evolves the attention of an additional variant; none: no such variant."""
    controls: Annotated[tuple[str, ...], Choices(tuple(CONTROLS))] = ("convolution",)
    """Controls: one more variant each, without a PDE."""
    windows: tuple[Natural, ...] = ()
    """Locality probe: one more variant for each number, whose tokens attend to so many tokens on either side."""
    seeds: tuple[Seed, ...] = (0,)
    """Seeds of every task and variant."""
    steps: Natural = 0
    """Training steps of every task; 0: as many as its configuration has."""
    dtype: Literal["float32", "bfloat16"] = "float32"
    """Type of the computation; parameters, statistics and logits stay float32."""
    device_data: bool = False
    """Keep the training data in device memory, and run the steps between two pauses as one program."""
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
        if not self.tasks or len(set(self.tasks)) < len(self.tasks):
            raise ValueError(
                f"a suite has one or more different tasks, got {' '.join(self.tasks) or 'none'}; change --tasks."
            )
        if self.scale not in CONFIGURATIONS:
            raise ValueError(
                f"a scale is one of {', '.join(CONFIGURATIONS)}, got {self.scale!r}; change --scale."
            )
        if missing := [task for task in self.tasks if task not in CONFIGURATIONS[self.scale]]:
            raise ValueError(
                f"tasks of the configuration {self.scale} are {', '.join(CONFIGURATIONS[self.scale])}, got "
                f"{', '.join(missing)}; change --tasks or --scale."
            )
        run.check_ranges(self)
        run.check_paths(self)
        run.check_resume(resume=self.resume, out=self.out)
        for task in self.tasks:
            self.task_config(task)

    def idle_options(self) -> dict[str, run.Idle]:
        """Return the options that have no effect, and why."""
        idle = self.task_config(self.tasks[0]).idle_options()
        idle = {name: reason for name, reason in idle.items() if name == "stencil"}
        if self.scale == "quick":
            idle["manual-dir"] = run.Idle("another --scale", "--scale quick")
        return idle

    def task_config(self, task: str) -> Config:
        """Return the configuration of the run of a task, without its folder.

        Raises:
            ValueError: an option does not fit the task.
        """
        config = CONFIGURATIONS[self.scale][task]
        changes = {
            name: getattr(self, name)
            for name in ("placement", "stencil", "attention", "controls", "windows", "seeds", "dtype")
        }
        if TASKS[task].head == "tokens":  # its model reads no later token
            changes["controls"] = tuple(name for name in self.controls if CONTROLS[name].is_causal)
        changes |= {"mesh": self.mesh, "hosts": self.hosts, "data_dir": self.data_dir, "verify": self.verify}
        changes |= {"steps": self.steps} if self.steps else {}
        changes |= {"device_data": self.device_data}
        if self.manual_dir is not None and self.scale != "quick":
            changes |= self._published(config, self.manual_dir)
        return dataclasses.replace(config, **changes)

    def _published(self, config: Config, release: Path) -> dict[str, object]:
        """Return the changes with which a task reads its part of the unpacked lra_release.gz."""
        if config.task == "listops":
            return {"source": "lra_release", "manual_dir": release / "listops-1000"}
        if config.task == "retrieval":
            return {"manual_dir": release}
        if config.task in ("pathfinder", "pathx"):
            data = dataclasses.replace(config.pathfinder, source="lra_release")
            return {"pathfinder": data, "manual_dir": release}
        return {}
