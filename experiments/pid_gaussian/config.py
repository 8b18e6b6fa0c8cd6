"""What can be chosen: frozen dataclasses whose field docstrings are the command line's `--help`."""

import dataclasses
from pathlib import Path
from typing import Literal

import tyro

from experiments import run
from pid.estimators.config import Debias

Study = Literal["planted", "bias", "coverage", "flow", "speed"]
MAY_CHANGE_ON_RESUME = run.MAY_CHANGE_ON_RESUME
"""What may change when a run is resumed."""


@dataclasses.dataclass(frozen=True)
class Planted:
    """The planted layers: vision fades, language takes over; d = 4."""

    layers: int = 33
    """Layers, at depths from 0 to 1."""
    n: int = 900
    """Samples, shared by all layers as those of one network are."""
    draws: int = 200
    """Bootstrap draws."""
    shuffles: int = 20
    """Shuffles of the null."""
    gaussianize: Literal["none", "copula"] = "copula"
    """What is done to the marginals; the data are Gaussian."""
    debias: Debias = "thinned"
    """Correction; that of the knockout is wishart."""
    networks: int = 10
    """Independent sets of n samples whose intervals are counted; the first is the one that is shown."""


@dataclasses.dataclass(frozen=True)
class Bias:
    """What each correction leaves of the bias."""

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
    """Data sets measured together; they share the random numbers of their draws."""
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
    """Decompositions and draws per second, and a whole campaign."""

    dims: tuple[int, ...] = (10, 20, 50, 100)
    """Dimensions d = dm = dx = dy."""
    batch: int = 64
    """Covariances decomposed by one call."""
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
    study: Study = "planted"
    """What to measure on generated data."""
    npz: Path | None = None
    """Instead of a study: arrays target, x and y, (n, d) or (layers, n, d), of your own in an .npz or .safetensors."""
    config: Literal["recommended", "paper"] = "recommended"
    """How --npz is estimated."""
    names: tuple[str, str] = ("vision", "language")
    """What the sources x and y are called in tables and figures."""
    out: Path | None = None
    """Run folder. Default: the next free number under runs/pid_gaussian/. Nothing is ever overwritten."""
    resume: bool = False
    """Go on with the run in --out: finished parts are only reported again."""
    seeds: tuple[int, ...] = (0,)
    """Seeds of the data and of everything random; every study is done with each."""
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
        """Refuse contradictions before anything is measured."""
        if not self.seeds or min(self.seeds) < 0 or len(set(self.seeds)) < len(self.seeds):
            raise ValueError(
                f"seeds are one or more different numbers from 0 on, got {self.seeds}; change --seeds."
            )
        if self.resume and self.out is None:
            raise ValueError("--resume goes on with a run, got no --out; pass its folder as --out.")
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
