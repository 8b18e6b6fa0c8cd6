"""Choices of an estimation: their types, defaults and checks, and two named configurations."""

import inspect
import math
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, TypedDict, TypeVar, get_args

import jax
import numpy as np

from pid.features import PCA, CrossFittedRegression
from pid.flow import FlowConfig
from pid.interface.scalars import real_number, whole_number
from pid.measures.decomposition import MEASURES, Measure

BootstrapKind = Literal["parametric", "paired"]
ShuffleKind = Literal["permute", "circular"]
Gaussianize = Literal["none", "copula", "flow", "auto"]
Debias = Literal["none", "wishart", "bootstrap", "thinned"]
Shrinkage = Literal["ledoit_wolf", "oas"]


def _check_name(what: str, value: object, known: tuple[str, ...]) -> None:
    if not isinstance(value, str) or value not in known:
        raise ValueError(f"{what} must be one of {', '.join(known)}, got {value!r}.")


def _set_numbers(config: "Bootstrap | Shuffle") -> None:
    """Convert draws and level to Python numbers, and check the level."""
    draws = whole_number("draws must be a whole number", config.draws, "200 is usual")
    level = real_number("a level is a number between 0 and 1", config.level, "0.9 is usual")
    if not 0 < level < 1:
        raise ValueError(f"a level is between 0 and 1, got {level!r}; 0.9 is usual.")
    object.__setattr__(config, "draws", draws)
    object.__setattr__(config, "level", level)


def _check_type(what: str, value: object, *kinds: type) -> None:
    if value is not None and not isinstance(value, kinds):
        names = " or ".join(f"a {kind.__name__}" for kind in kinds)
        raise ValueError(f"{what} must be {names} or None, got {value!r}; pass {kinds[0]()!r}.")


@dataclass(frozen=True)
class Bootstrap:
    """Options of the bootstrap draws from which intervals are computed.

    Raises:
        ValueError: fewer than two draws, a level outside (0, 1), an unknown kind, blocks of parametric draws, a length
            of blocks below 1.

    Example:
        >>> from pid import Bootstrap
        >>> Bootstrap(draws=100, kind="paired").level
        0.9
        >>> Bootstrap(kind="paired", block="auto").block  # rows are a series
        'auto'
    """

    draws: int | Any = 200
    """Number of draws, at least 2."""

    level: float | Any = 0.9
    """Level of the intervals, between 0 and 1."""

    kind: BootstrapKind | str = "parametric"
    """Kind of the draws.

    "parametric" draws covariances from the Wishart distribution of the estimate, by Bartlett's factor. "paired"
    resamples the samples: the same ones for all layers and for every estimate with an equal key and n, so that
    differences have intervals (`compare`).
    """

    block: int | str | None = None
    """Length of the blocks of neighboring samples that paired draws resample, for samples in the order of time.

    "auto" computes it from the autocorrelation. With blocks, the bias is that of the effective number of samples. None
    takes samples to be independent.
    """

    def __post_init__(self) -> None:
        """Check the fields."""
        _set_numbers(self)
        if self.draws < 2:
            raise ValueError(f"a bootstrap needs at least two draws, got {self.draws}; 200 is usual.")
        _check_name("kind", self.kind, get_args(BootstrapKind))
        if self.block is None:
            return
        if self.block != "auto" and (
            isinstance(self.block, bool) or not isinstance(self.block, int) or self.block < 1
        ):
            raise ValueError(f"block must be 'auto', None or a length of at least 1, got {self.block!r}.")
        if self.kind != "paired":
            raise ValueError(
                f"blocks of samples need paired draws, got block={self.block!r} with kind={self.kind!r}; pass "
                f"Bootstrap(kind='paired', block={self.block!r})."
            )


@dataclass(frozen=True)
class Shuffle:
    """Options of the null, whose draws shuffle the target's samples against those of both sources.

    Raises:
        ValueError: fewer than two shuffles, a level outside (0, 1), an unknown kind.

    Example:
        >>> from pid import Shuffle
        >>> Shuffle()
        Shuffle(draws=99, level=0.9, kind='permute')
        >>> Shuffle().tail
        0.05
    """

    draws: int | Any = 99
    """Number of shuffles, at least 2; 2/(1 - level) - 1 and more reach the level."""

    level: float | Any = 0.9
    """The null spans this share of the shuffled values, between 0 and 1."""

    kind: ShuffleKind | str = "permute"
    """Order of the target's samples: "permute" for independent samples, "circular" for a series.

    "circular" shifts the target along the series, which keeps the autocorrelation of both. The bias is then that of
    the effective number of samples. Blocks of the intervals (`Bootstrap.block`) make the shuffles of the null circular,
    too. With `groups`, the targets of whole groups are exchanged.
    """

    @property
    def tail(self) -> float:
        """Probability k/(B + 1) that a value without dependence exceeds `null.high`, an order statistic of B draws."""
        k = max(1, math.floor((self.draws + 1) * (1 - self.level) / 2 + 1e-9))
        return k / (self.draws + 1)

    def __post_init__(self) -> None:
        """Check the fields."""
        _set_numbers(self)
        if self.draws < 2:
            raise ValueError(f"a null needs at least two shuffles, got {self.draws}; 99 is usual.")
        _check_name("kind", self.kind, get_args(ShuffleKind))


class BiasCorrection(ABC):
    """A method of bias correction, for the choice `debias`. The module `bias_correction` has the methods.

    Example:
        >>> from pid.estimators import BiasCorrection, Wishart
        >>> isinstance(Wishart(), BiasCorrection)
        True
    """

    name: ClassVar[Debias]
    """Short name of the method as an argument of `estimate`."""

    @abstractmethod
    def correct(self, fit: Any, plugin: np.ndarray, ci: Bootstrap | None, key: jax.Array) -> Any:
        """Correct the plug-in values, and draw from their sampling distribution.

        Args:
            fit: the `CovarianceFit` of all layers.
            plugin: uncorrected fields of a PID in bits, (L, F).
            ci: bootstrap draws; None for none.
            key: key of everything random.

        Returns:
            A `Corrected`: values, draws and their sampling distribution.
        """

    @abstractmethod
    def correct_values(self, fit: Any, values: np.ndarray) -> np.ndarray:
        """Correct the fields (..., L, F) of drawn, resampled or shuffled data, without further draws."""

    def limitations(self, fit: Any) -> list[str]:
        """Return warnings if this method does not apply to the data and another is used; none by default."""
        return []


class EstimateConfig(TypedDict, total=False):
    """Choices of `estimate` and `layerwise`; a choice that is left out has its default.

    Example:
        >>> import jax, numpy as np
        >>> import pid
        >>> config = pid.EstimateConfig(measure="mmi", ci=None, null=None)
        >>> target, x, y = np.random.default_rng(0).normal(size=(3, 64, 2))
        >>> pid.estimate(target, x, y, key=jax.random.key(0), **config).n
        64
    """

    reduce: PCA | CrossFittedRegression | None
    """Reduction of wide variables: `CrossFittedRegression`, aware of the target, or `PCA`; None keeps all features."""

    gaussianize: Gaussianize | FlowConfig | str
    """Map of the features to Gaussian ones: "none", "copula", "flow", or a `SeparableFlow`. A flow that is no better on
    held-out samples gives way to the copula, so "auto" is another name of "flow"."""

    measure: Measure | str
    """Measure of the decomposition: "broja" or "mmi"."""

    debias: Debias | BiasCorrection | str | None
    """Bias correction: "none", "wishart", "bootstrap", "thinned", or a `BiasCorrection`; None is "none"."""

    shrinkage: Shrinkage | str | None
    """Shrinkage of the correlation matrix towards the identity: "ledoit_wolf", "oas" or None."""

    ci: Bootstrap | None
    """Bootstrap draws for intervals; None for no intervals."""

    null: Shuffle | None
    """Shuffles for the null; None for no null."""

    kinds: Any
    """Kind of the columns by the name of the variable, such as {"target": "categorical"}, or one for each column:
    "continuous", "ordinal", "categorical", "count" or "mixed"; what is not stated is detected. None detects all."""

    checks: bool
    """Whether to test the samples for dependence between rows, nonlinear dependence and kinds of columns. Simulations
    of many data sets whose law is known need no tests."""

    groups: Any
    """Label of the group of every sample, (n,), if samples of one group depend on each other; None for none."""


DEFAULTS = EstimateConfig(
    reduce=CrossFittedRegression(),
    gaussianize="copula",
    measure="broja",
    debias="thinned",
    shrinkage=None,
    ci=Bootstrap(),
    null=Shuffle(),
    kinds=None,
    checks=True,
    groups=None,
)


def recommended_config() -> EstimateConfig:
    """Return the recommended choices, which are the defaults of `estimate`.

    Normal scores, a reduction of wide variables that is aware of the target, BROJA, "thinned" bias correction,
    intervals, null.

    Returns:
        All choices of an estimate, which the caller may change one by one.

    Example:
        >>> import pid
        >>> config = pid.recommended_config()
        >>> config["debias"], config["measure"]
        ('thinned', 'broja')
    """
    return EstimateConfig(**{**DEFAULTS, "debias": "thinned"})


def paper_config() -> EstimateConfig:
    """Return the choices of the paper "How Vision Becomes Language".

    Components for 95 % of the variance, one flow per pair, MMI, no correction. With two target flows the pairs have
    different targets. Without correction the plug-in bias at n = 900 is as large as the reported
    values.

    Returns:
        All choices of an estimate, which the caller may change one by one.

    Example:
        >>> import pid
        >>> config = pid.paper_config()
        >>> config["debias"], config["measure"]
        ('none', 'mmi')

    Reference:
        Wu, Zhang & Zhou, arXiv 2602.15580, Appendix C.
    """
    from pid.flow import SeparableFlow  # loads distrax and optax, which nothing else here needs

    return EstimateConfig(
        reduce=PCA(components=None, variance=0.95),
        gaussianize=SeparableFlow(shared_target=False),
        measure="mmi",
        debias="none",
        shrinkage=None,
        ci=None,
        null=None,
    )


def complete(choices: EstimateConfig) -> dict[str, Any]:
    """Fill in the defaults of the choices that are left out, and check all of them.

    Raises:
        TypeError: a choice that does not exist.
        ValueError: an unknown name, or choices that contradict each other: rule, value and remedy.
    """
    unknown = sorted(choices.keys() - DEFAULTS.keys())
    if unknown:
        raise TypeError(f"the choices of an estimate are {', '.join(DEFAULTS)}, got {', '.join(unknown)}.")
    config = {**DEFAULTS, **choices}
    _check(config)
    return config


def _check(config: dict[str, Any]) -> None:
    gaussianize, debias = config["gaussianize"], config["debias"]
    _check_type("reduce", config["reduce"], CrossFittedRegression, PCA)
    if not isinstance(config["checks"], bool):
        raise ValueError(f"checks must be True or False, got {config['checks']!r}.")
    _check_type("ci", config["ci"], Bootstrap)
    _check_type("null", config["null"], Shuffle)
    if not isinstance(gaussianize, FlowConfig):
        _check_name("gaussianize", gaussianize, get_args(Gaussianize))
    _check_name("measure", config["measure"], tuple(MEASURES))
    if debias is not None and not isinstance(debias, BiasCorrection):
        _check_name("debias", debias, get_args(Debias))
    if config["shrinkage"] is not None:
        _check_name("shrinkage", config["shrinkage"], get_args(Shrinkage))
        if getattr(debias, "name", debias) not in ("none", None):
            raise ValueError(
                f"bias corrections assume a sample covariance, got debias={debias!r} with "
                f"shrinkage={config['shrinkage']!r}; use debias='none', or no shrinkage."
            )
    if has_two_targets(gaussianize) and config["measure"] != "mmi":
        raise ValueError(
            f"one target flow per pair leaves no common target, which all measures but 'mmi' need, got "
            f"{config['measure']!r}; use SeparableFlow(shared_target=True)."
        )
    if config["groups"] is not None:
        series = {"ci": getattr(config["ci"], "block", None), "null": getattr(config["null"], "kind", None)}
        if series["ci"] is not None or series["null"] == "circular":
            raise ValueError(
                "groups are resampled as wholes, which keeps the order in each of them; pass groups= without blocks "
                "and circular shifts, or a series without groups=."
            )


def flow_of(gaussianize: Gaussianize | FlowConfig | str) -> FlowConfig | None:
    """Return the flow to train, or None."""
    if isinstance(gaussianize, FlowConfig):
        return gaussianize
    return FlowConfig() if gaussianize in ("flow", "auto") else None


def has_two_targets(gaussianize: Gaussianize | FlowConfig | str) -> bool:
    """Return whether each pair has a target of its own."""
    flow = flow_of(gaussianize)
    return flow is not None and not flow.shared_target


F = TypeVar("F", bound=Callable[..., Any])


def show_choices(function: F) -> F:
    """Give a function with `**choices` a signature that lists every choice with its default.

    `help` and `inspect.signature` then show the types of `EstimateConfig` and the values of `DEFAULTS`.
    """
    parameters = inspect.signature(function).parameters.values()
    choices = [
        inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=annotation)
        for (name, default), annotation in zip(
            DEFAULTS.items(), EstimateConfig.__annotations__.values(), strict=True
        )
    ]
    positional = [p for p in parameters if p.kind is p.POSITIONAL_OR_KEYWORD]
    keywords = [p for p in parameters if p.kind is p.KEYWORD_ONLY]
    signature = inspect.signature(function).replace(parameters=[*positional, *choices, *keywords])
    function.__signature__ = signature  # pyright: ignore[reportFunctionMemberAccess]
    return function
