"""Options of the command line: frozen dataclasses whose field docstrings are its `--help`."""

import dataclasses
from pathlib import Path
from typing import Literal

import tyro

from experiments import run
from pid.estimators.config import Debias

StudyName = Literal["planted", "bias", "coverage", "flow", "speed"]
MAY_CHANGE_ON_RESUME = run.MAY_CHANGE_ON_RESUME
"""Fields that may change on resume."""


@dataclasses.dataclass(frozen=True)
class Planted:
    """The planted layers: vision fades, language takes over; d = 4."""

    layers: int = 33
    """Layers, at depths from 0 to 1."""
    n: int = 900
    """Samples. All layers share them, as the layers of one network do."""
    draws: int = 200
    """Bootstrap draws."""
    shuffles: int = 20
    """Shuffles of the null."""
    gaussianize: Literal["none", "copula"] = "copula"
    """Transformation of the marginals. The data are Gaussian."""
    debias: Debias = "thinned"
    """Bias correction. The knockout always uses wishart."""
    networks: int = 10
    """Independent sets of n samples whose intervals are counted. Figures and tables show the first."""


@dataclasses.dataclass(frozen=True)
class Bias:
    """The bias that each correction leaves."""

    structured: tuple[int, ...] = (12, 30, 60)
    """Dimensions d = dm = dx = dy of the structured system, 9 or more."""
    null: tuple[int, ...] = (10, 20)
    """Dimensions of independent variables."""
    n: int = 900
    """Samples."""
    repeats: int = 20
    """Data sets for each seed."""
    methods: tuple[Debias, ...] = ("wishart", "bootstrap", "thinned")
    """Corrections, beside the plug-in."""


@dataclasses.dataclass(frozen=True)
class Coverage:
    """How often intervals contain the truth, on the structured system."""

    d: int = 12
    """Dimensions d = dm = dx = dy, 9 or more."""
    n: int = 900
    """Samples."""
    repeats: int = 100
    """Data sets for each seed."""
    at_once: int = 25
    """Data sets that are measured together and share the random numbers of their draws."""
    draws: int = 200
    """Bootstrap draws."""
    level: float = 0.9
    """Nominal coverage."""
    methods: tuple[Debias, ...] = ("wishart", "thinned")
    """Corrections."""


@dataclasses.dataclass(frozen=True)
class Flow:
    """Gaussian data warped coordinate by coordinate, and then rotated."""

    n: int = 10_000
    """Samples."""
    target: int = 2
    """Dimensions of the target."""
    source: int = 16
    """Dimensions of each source."""


@dataclasses.dataclass(frozen=True)
class Speed:
    """Decompositions and draws per second, and a campaign of many layers and tasks."""

    dims: tuple[int, ...] = (10, 20, 50, 100)
    """Dimensions d = dm = dx = dy."""
    batch: int = 64
    """Covariances that one call decomposes."""
    n: int = 900
    """Samples; they must exceed 3 d."""
    draws: int = 200
    """Bootstrap draws."""
    layers: int = 33
    """Layers of the campaign."""
    sets: int = 12
    """Tasks times models of the campaign."""
    d: int = 20
    """Dimensions of each variable in the campaign."""


@dataclasses.dataclass(frozen=True)
class Config:
    """Gaussian partial information decomposition of samples: truth against estimate, and your own activations."""

    preset: tyro.conf.Suppress[str] = "quick"
    """Name of the preset these values began with."""
    study: StudyName = "planted"
    """The study, on generated data."""
    npz: Path | None = None
    """Your own arrays target, x and y, (n, d) or (layers, n, d), in an .npz or .safetensors, instead of a study."""
    config: Literal["recommended", "paper"] = "recommended"
    """Configuration of the estimate of --npz."""
    names: tuple[str, str] = ("vision", "language")
    """Names of the sources x and y in tables and figures."""
    out: Path | None = None
    """Run folder. Default: the next free number under runs/pid_gaussian/. Nothing is ever overwritten."""
    resume: bool = False
    """Go on with the run in --out. Finished parts are only reported again."""
    seeds: tuple[int, ...] = (0,)
    """Seeds of the data and of all random numbers. A study runs with each of them."""
    planted: Planted = Planted()
    """The planted layers."""
    bias: Bias = Bias()
    """Remaining bias."""
    coverage: Coverage = Coverage()
    """Coverage of intervals."""
    flow: Flow = Flow()
    """Warped data."""
    speed: Speed = Speed()
    """Timings."""

    def __post_init__(self) -> None:
        """Raise ValueError for contradictions, before anything is measured."""
        run.check_seeds(self.seeds)
        run.check_resume(resume=self.resume, out=self.out)
        if self.npz is not None and self.study != "planted":
            raise ValueError(
                f"--npz takes the place of a study, got --study {self.study} too; drop one of them."
            )
        self._check_sizes()

    def _check_sizes(self) -> None:
        if self.npz is not None and len(self.seeds) > 1:
            raise ValueError(f"--npz is estimated with one seed, got {self.seeds}; pass one.")
        if self.planted.layers < 3 or self.planted.networks < 1:
            raise ValueError(
                f"the planted model needs three layers or more and a network, got {self.planted.layers} and "
                f"{self.planted.networks}; raise --planted.layers or --planted.networks."
            )
        for name, d in (
            ("bias.structured", min(self.bias.structured, default=9)),
            ("coverage.d", self.coverage.d),
        ):
            if d < 9:
                raise ValueError(
                    f"the structured system needs 9 dimensions or more, got {d}; raise --{name}."
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
