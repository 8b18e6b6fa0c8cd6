"""Options of the suite, and the configuration of the run of each task."""

import dataclasses
from pathlib import Path
from typing import Annotated, Literal

from experiments import run
from experiments.lra.benchmark_tasks import BENCHMARK, TASKS
from experiments.lra.config import Config, SharedOptions
from experiments.lra.controls import CONTROLS
from experiments.lra.presets import CONFIGURATIONS
from pid.interface.command_options import HIDDEN, MAY_BE_EMPTY, Choices
from pid.interface.ranges import Natural


@dataclasses.dataclass(frozen=True)
class SuiteConfig(SharedOptions):
    """Train every task with its baseline and its variants, and print them as one table.

    The run folder has one more run folder for each task.

    Raises:
        ValueError: the options contradict each other, or do not fit a task.
    """

    preset: Annotated[str, HIDDEN] = "suite-quick"
    """Name of the preset with the defaults of the other options."""
    controls: Annotated[tuple[str, ...], Choices(tuple(CONTROLS)), MAY_BE_EMPTY] = ("convolution",)
    """Controls: one more variant each, without a PDE."""
    manual_dir: Path | None = None
    """Folder lra_release of the unpacked lra_release.gz; with it ListOps, Retrieval, Pathfinder and Path-X are read."""
    tasks: Annotated[tuple[str, ...], Choices(tuple(TASKS))] = BENCHMARK
    """Tasks, in the order of the columns."""
    scale: Literal["quick", "lra", "two-layer", "amos"] = "quick"
    """Configuration of every task: quick is a miniature for two CPU cores, the others are published."""
    steps: Natural = 0
    """Training steps of every task; 0: as many as its configuration has."""

    def __post_init__(self) -> None:
        """Check that the options fit together, and those of every task."""
        run.check_names("tasks", self.tasks, TASKS)
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
        of_suite = ("preset", "out", "resume", "manual_dir")
        changes = {
            field.name: getattr(self, field.name)
            for field in dataclasses.fields(SharedOptions)
            if field.name not in of_suite
        }
        if TASKS[task].head == "tokens":  # its model reads no later token
            changes["controls"] = tuple(name for name in self.controls if CONTROLS[name].is_causal)
        changes |= {"steps": self.steps} if self.steps else {}
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
