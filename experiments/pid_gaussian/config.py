"""Options of the command line: frozen dataclasses. Their docstrings are the text of `--help`."""

import dataclasses
from pathlib import Path
from typing import Annotated, Literal, get_args

from experiments import run
from pid.estimators.config import Debias
from pid.flow.config import MIN_ROWS
from pid.interface.command_options import HIDDEN
from pid.interface.ranges import Count, Level, Range, Seed

StudyName = Literal["planted", "bias", "coverage", "flow", "trust", "speed"]
PLANTED_D = 4  # dimension of target, x and y each in the planted layers
Draws = Annotated[int, Range(2)]
"""A number of bootstrap draws."""
MAY_CHANGE_ON_RESUME = run.MAY_CHANGE_ON_RESUME
"""Fields that may change on resume."""


@dataclasses.dataclass(frozen=True)
class Planted:
    """The planted layers: information from vision decreases and from language increases with depth; d = 4."""

    layers: Count = 33
    """Number of layers, at depths from 0 to 1."""
    n: Count = 900
    """Number of samples. All layers share them, as the layers of one network do."""
    draws: Draws = 200
    """Number of bootstrap draws."""
    shuffles: Annotated[int, Range(2)] = 99
    """Number of permutations for the null distribution."""
    gaussianize: Literal["none", "copula"] = "copula"
    """Transformation of the marginals. The data are Gaussian already."""
    debias: Debias = "thinned"
    """Bias correction. The knockout always uses wishart."""
    networks: Count = 10
    """Independent sets of n samples for the coverage of the intervals. Figures and tables show the first set."""


@dataclasses.dataclass(frozen=True)
class Bias:
    """The bias that each correction leaves."""

    structured: tuple[Count, ...] = (12, 30, 60)
    """Dimensions d of target, x and y each in the structured system, 9 or more."""
    null: tuple[Count, ...] = (10, 20)
    """Dimensions d of target, x and y each in the system of independent variables."""
    n: Count = 900
    """Number of samples."""
    repeats: Count = 20
    """Number of data sets for each seed."""
    methods: tuple[Debias, ...] = ("wishart", "bootstrap", "thinned")
    """Bias corrections. The plug-in estimate is always included."""


@dataclasses.dataclass(frozen=True)
class Coverage:
    """How often intervals contain the truth, on the structured system."""

    d: Count = 12
    """Dimensions d of target, x and y each, 4 or more; below 9 the system has other gains."""
    n: Count = 900
    """Number of samples."""
    rows: Literal["independent", "student", "series"] = "independent"
    """Law of the samples: Gaussian, t with 5 degrees of freedom, or an autoregressive series, .9 (take d 4)."""
    gaussianize: Literal["none", "copula"] = "copula"
    """Transformation of the marginals."""
    repeats: Count = 100
    """Number of data sets for each seed."""
    at_once: Count = 25
    """Data sets that are estimated in one call and share the random numbers of their bootstrap draws."""
    draws: Draws = 200
    """Number of bootstrap draws."""
    level: Level = 0.9
    """Nominal coverage of the intervals."""
    methods: tuple[Debias, ...] = ("wishart", "thinned")
    """Bias corrections."""


@dataclasses.dataclass(frozen=True)
class Flow:
    """Gaussian data warped coordinate by coordinate, without and with a rotation."""

    n: Count = 10_000
    """Number of samples."""
    target: Count = 2
    """Dimension of the target."""
    source: Count = 16
    """Dimension of each source."""


@dataclasses.dataclass(frozen=True)
class Trust:
    """Verdicts in situations where an estimate is known to be right or to mislead."""

    repeats: Count = 20
    """Number of data sets of every situation, for each seed."""
    draws: Draws = 100
    """Number of bootstrap draws."""


@dataclasses.dataclass(frozen=True)
class Speed:
    """Decompositions and bootstrap draws per second, and a campaign of many layers and tasks."""

    dims: tuple[Count, ...] = (10, 20, 50, 100)
    """Dimensions d of target, x and y each."""
    batch: Count = 64
    """Number of covariances that one call decomposes."""
    n: Count = 900
    """Number of samples, more than three times every dimension."""
    draws: Draws = 200
    """Number of bootstrap draws."""
    layers: Count = 33
    """Number of layers in the campaign."""
    sets: Count = 12
    """Number of data sets in the campaign, one for each task and model."""
    d: Count = 20
    """Dimension of target, x and y each in the campaign."""


@dataclasses.dataclass(frozen=True)
class Config:
    """Gaussian partial information decomposition of samples: truth against estimate, and your own activations."""

    preset: Annotated[str, HIDDEN] = "quick"
    """Name of the preset."""
    study: StudyName = "planted"
    """Study on generated data: planted layers, remaining bias, coverage of intervals, warped data, verdicts, or
    timings."""
    npz: Path | None = None
    """File (.npz, .safetensors) with your own arrays target, x and y, (n, d) or (layers, n, d), instead of a study."""
    config: Literal["recommended", "paper"] = "recommended"
    """Configuration of the estimate of --npz."""
    names: tuple[str, str] = ("vision", "language")
    """Names of the sources x and y in tables and figures."""
    out: Path | None = None
    """Run folder. Default: the next free number under runs/pid_gaussian/. Nothing is ever overwritten."""
    resume: bool = False
    """Continue the run in --out. Finished parts are not repeated."""
    seeds: tuple[Seed, ...] = (0,)
    """Seeds of the data and of all random numbers. A study runs once for each seed."""
    planted: Planted = Planted()
    """Study planted: layers in which information from vision decreases and from language increases with depth."""
    bias: Bias = Bias()
    """Study bias: the bias that each correction leaves."""
    coverage: Coverage = Coverage()
    """Study coverage: how often intervals contain the truth, on the structured system."""
    flow: Flow = Flow()
    """Study flow: Gaussian data warped coordinate by coordinate, without and with a rotation."""
    trust: Trust = Trust()
    """Study trust: verdicts in situations where an estimate is known to be right or to mislead."""
    speed: Speed = Speed()
    """Study speed: decompositions and bootstrap draws per second, and a campaign of many layers and tasks."""

    def __post_init__(self) -> None:
        """Raise ValueError for contradictions, before anything is measured."""
        run.check_seeds(self.seeds)
        run.check_resume(resume=self.resume, out=self.out)
        if self.npz is not None and self.study != "planted":
            raise ValueError(
                f"--npz takes the place of a study, got --study {self.study} too; drop one of them."
            )
        if self.npz is None and self.config != "recommended":
            raise ValueError(
                f"--config is the configuration of an estimate of --npz, got --config {self.config} without a file; "
                f"drop it, or add --npz."
            )
        if len(set(self.names)) < 2:
            raise ValueError(f"two sources have two names, got {' '.join(self.names)}; change --names.")
        run.check_ranges(self)
        run.check_paths(self)
        self._check_sizes()

    def idle_options(self) -> dict[str, run.Idle]:
        """Return the options and groups that have no effect, and why."""
        present = f"--study {self.study}" if self.npz is None else "--npz"
        idle = {
            study: run.Idle(f"--study {study}", present)
            for study in get_args(StudyName)
            if self.npz is not None or study != self.study
        }
        if self.npz is not None:
            idle["study"] = run.Idle("generated data", present)
        elif self.study != "planted":
            idle["names"] = run.Idle("--study planted or --npz", present)
        return idle

    def _check_sizes(self) -> None:
        if self.npz is not None and len(self.seeds) > 1:
            raise ValueError(f"--npz is estimated with one seed, got {self.seeds}; pass one.")
        if self.planted.layers < 3 or self.planted.networks < 1:
            raise ValueError(
                f"the planted model needs three layers or more and a network, got {self.planted.layers} and "
                f"{self.planted.networks}; raise --planted.layers or --planted.networks."
            )
        for name, d, least in (
            ("bias.structured", min(self.bias.structured, default=9), 9),
            ("coverage.d", self.coverage.d, 4),
        ):
            if d < least:
                raise ValueError(
                    f"the structured system needs {least} dimensions or more, got {d}; raise --{name}."
                )
        needed = {
            "planted.n": (self.planted.n, 3 * PLANTED_D + 2),
            "bias.n": (self.bias.n, 3 * max(*self.bias.structured, *self.bias.null) + 2),
            "coverage.n": (self.coverage.n, 3 * self.coverage.d + 2),
            "flow.n": (self.flow.n, self.flow.target + 2 * self.flow.source + 2),
        }
        for name, (n, least) in needed.items():
            if n < least:
                raise ValueError(
                    f"an estimate needs more samples than dimensions, here {least}, got {n}; raise --{name}."
                )
        least = max(MIN_ROWS, 10 * (self.flow.target + self.flow.source))
        if self.study == "flow" and self.flow.n < least:
            raise ValueError(
                f"a flow needs at least {MIN_ROWS} samples and 10 per dimension of a pair, here {least}, got "
                f"{self.flow.n}; raise --flow.n."
            )
        for name in ("bias.structured", "bias.null", "bias.methods", "coverage.methods", "speed.dims"):
            section, field = name.split(".")
            values = getattr(getattr(self, section), field)
            if not values or len(set(values)) < len(values):
                raise ValueError(
                    f"{name} are one or more different values, got {' '.join(map(str, values)) or 'none'}; change "
                    f"--{name}."
                )
        for name in ("bias", "coverage"):
            if (repeats := getattr(self, name).repeats) < 2:
                raise ValueError(
                    f"a spread needs two repeats or more, got {repeats}; raise --{name}.repeats."
                )
        if self.coverage.repeats % self.coverage.at_once:
            raise ValueError(
                f"coverage.repeats must be a multiple of coverage.at_once, got {self.coverage.repeats} and "
                f"{self.coverage.at_once}; change one of them."
            )
        if self.speed.n <= 3 * max(*self.speed.dims, self.speed.d):
            raise ValueError(
                f"speed.n must exceed three times every dimension, got {self.speed.n} for "
                f"{(*self.speed.dims, self.speed.d)}; raise --speed.n."
            )
