"""Options of the command line: a frozen dataclass. Its docstrings are the text of `--help`."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from experiments import run
from pid.interface.ranges import Count

GroupName = Literal["evolve", "attention", "training", "sequence", "llava"]
TargetName = Literal[
    "v5e-1", "v5e-8", "v5e-16", "v5e-256", "v5p-1", "v5p-128", "v6e-1", "v6e-256", "h100-1", "h100-8"
]
GROUPS: tuple[GroupName, ...] = ("evolve", "attention", "training", "sequence", "llava")
MACHINES: tuple[TargetName, ...] = (
    *("v5e-1", "v5e-8", "v5e-16", "v5e-256", "v5p-1", "v5p-128", "v6e-1", "v6e-256", "h100-1", "h100-8"),
)
MAY_CHANGE_ON_RESUME = (*run.MAY_CHANGE_ON_RESUME, "only", "machines", "timeout", "jobs")
"""Fields that may change on resume: the folder, the choice of programs and machines, and how they are compiled."""


@dataclass(frozen=True)
class Config:
    """Compile programs for accelerators that are not attached, and compare what they cost with what they may cost."""

    only: tuple[GroupName, ...] = GROUPS
    """Groups of programs to compile."""
    machines: tuple[TargetName, ...] = MACHINES
    """Machines to compile for. Those whose compiler is not installed are left out, with a sentence."""
    quick: bool = False
    """Compile five programs for one chip."""
    match: str | None = None
    """Compile only programs whose name has this text, such as "T=8192". Default: all."""
    timeout: Count = 900
    """Seconds after which a compilation is ended and counts as failed."""
    jobs: Count = 2
    """Compilations that run at a time, each in a process of its own."""
    out: Path | None = None
    """Run folder. Default: the next free number under runs/aot/. Nothing is ever overwritten."""
    resume: bool = False
    """Continue the run in --out. Finished parts are not repeated."""

    def __post_init__(self) -> None:
        """Raise ValueError for contradictions, before anything is compiled."""
        for name, values in (("only", self.only), ("machines", self.machines)):
            if not values or len(set(values)) < len(values):
                raise ValueError(
                    f"{name} are one or more different names, got {' '.join(values) or 'none'}; change --{name}."
                )
        run.check_ranges(self)
        run.check_resume(resume=self.resume, out=self.out)

    def idle_options(self) -> dict[str, run.Idle]:
        """Return the options that have no effect, and why."""
        if not self.quick:
            return {}
        reason = run.Idle("the full set of programs", "--quick")
        return dict.fromkeys(("only", "machines", "match"), reason)


PRESETS = {"aot": ("", Config())}
CONTINUATION = run.Continuation(
    "aot", PRESETS, MAY_CHANGE_ON_RESUME, extend=run.extend_fields("only", "machines")
)
command_line = run.CommandLine("experiments.aot", str(Config.__doc__), PRESETS, continuation=CONTINUATION)
