"""What can be chosen of an estimation, and two named choices."""

from dataclasses import dataclass
from typing import Literal, TypedDict, get_args

from pid.flow import SeparableFlow
from pid.gaussianize import PCA
from pid.measures.decomposition import MEASURES, Measure

Kind = Literal["parametric", "paired"]
Gaussianize = Literal["none", "copula", "flow"]
Debias = Literal["none", "wishart", "bootstrap", "thinned"]
Shrinkage = Literal["ledoit_wolf", "oas"]


def _check_name(what: str, value: object, known: tuple[str, ...]) -> None:
    if value not in known:
        raise ValueError(f"{what} must be one of {', '.join(known)}, got {value!r}.")


def _check_level(level: float | int) -> None:
    if not 0 < level < 1:
        raise ValueError(f"a level lies between 0 and 1, got {level!r}; 0.9 is usual.")


@dataclass(frozen=True)
class Bootstrap:
    """Random covariances around the estimate.

    "parametric" draws them from the Wishart distribution of the estimate, by Bartlett's factor. "paired" resamples
    the samples: the same ones for all layers and for every estimate with an equal key and n, so that differences
    have intervals (`compare`).
    """

    draws: int = 200
    level: float | int = 0.9
    kind: Kind | str = "parametric"

    def __post_init__(self) -> None:
        """Refuse what cannot give an interval."""
        if self.draws < 2:
            raise ValueError(f"a bootstrap needs at least two draws, got {self.draws}; 200 is usual.")
        _check_level(self.level)
        _check_name("kind", self.kind, get_args(Kind))


@dataclass(frozen=True)
class Shuffle:
    """The null: the target's samples shuffled against those of both sources."""

    draws: int = 20
    level: float | int = 0.9

    def __post_init__(self) -> None:
        """Refuse what cannot give an interval."""
        if self.draws < 2:
            raise ValueError(f"a null needs at least two shuffles, got {self.draws}; 20 is usual.")
        _check_level(self.level)


class EstimateConfig(TypedDict):
    """The choices of `estimate`: `estimate(target, x, y, key=key, **config)`."""

    reduce: PCA | None
    gaussianize: Gaussianize | SeparableFlow | str
    measure: Measure | str
    debias: Debias | str
    shrinkage: Shrinkage | str | None
    ci: Bootstrap | None
    null: Shuffle | None


class Choices(TypedDict, total=False):
    """Some of the choices of an `EstimateConfig`; one left out has the default of `estimate`."""

    reduce: PCA | None
    gaussianize: Gaussianize | SeparableFlow | str
    measure: Measure | str
    debias: Debias | str
    shrinkage: Shrinkage | str | None
    ci: Bootstrap | None
    null: Shuffle | None


def recommended_config() -> EstimateConfig:
    """The defaults of `estimate`, with "thinned" correction: eight components, copula, BROJA, intervals, null.

    At n = 900, eight dimensions for each variable bias the joint information by 0.1 bit before correction.
    """
    return {**DEFAULTS, "debias": "thinned"}


def paper_config() -> EstimateConfig:
    """What "How Vision Becomes Language" states: components for 95 % of the variance, one flow per pair, MMI, plug-in.

    [Wu, Zhang & Zhou, arXiv 2602.15580, Appendix C] Two target flows are not one target: the pairs then have
    different targets. Without correction the plug-in bias at n = 900 is as large as the reported values.
    """
    return EstimateConfig(
        reduce=PCA(components=None, variance=0.95),
        gaussianize=SeparableFlow(shared_target=False),
        measure="mmi",
        debias="none",
        shrinkage=None,
        ci=None,
        null=None,
    )


DEFAULTS = EstimateConfig(
    reduce=PCA(components=8),
    gaussianize="copula",
    measure="broja",
    debias="wishart",
    shrinkage=None,
    ci=Bootstrap(),
    null=Shuffle(),
)


def complete(config: Choices) -> EstimateConfig:
    """The choices with the defaults for those left out.

    Raises:
        TypeError: a choice that does not exist.
        ValueError: an unknown name, or choices that contradict each other: rule, value and remedy.
    """
    unknown = sorted(config.keys() - DEFAULTS.keys())
    if unknown:
        raise TypeError(f"the choices of an estimate are {', '.join(DEFAULTS)}, got {', '.join(unknown)}.")
    whole = EstimateConfig(**{**DEFAULTS, **config})
    _check(whole)
    return whole


def _check(config: EstimateConfig) -> None:
    gaussianize = config["gaussianize"]
    if not isinstance(gaussianize, SeparableFlow):
        _check_name("gaussianize", gaussianize, get_args(Gaussianize))
    _check_name("measure", config["measure"], tuple(MEASURES))
    _check_name("debias", config["debias"], get_args(Debias))
    if config["shrinkage"] is not None:
        _check_name("shrinkage", config["shrinkage"], get_args(Shrinkage))
        if config["debias"] != "none":
            raise ValueError(
                f"the correction is that of a sample covariance, got debias={config['debias']!r} with "
                f"shrinkage={config['shrinkage']!r}; use debias='none', or no shrinkage."
            )
    if two_targets(config) and config["measure"] != "mmi":
        raise ValueError(
            f"one target flow per pair leaves no common target, which only measure='mmi' can do without, got "
            f"{config['measure']!r}; use SeparableFlow(shared_target=True)."
        )


def flow_of(config: EstimateConfig) -> SeparableFlow | None:
    """The flow to train, if one was asked for."""
    gaussianize = config["gaussianize"]
    if isinstance(gaussianize, SeparableFlow):
        return gaussianize
    return SeparableFlow() if gaussianize == "flow" else None


def two_targets(config: EstimateConfig) -> bool:
    """Whether each pair has a target of its own."""
    flow = flow_of(config)
    return flow is not None and not flow.shared_target
