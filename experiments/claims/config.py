"""Options of the command line: frozen dataclasses. Their docstrings are the text of `--help`."""

import dataclasses
from pathlib import Path
from typing import Annotated, Literal, get_args

from experiments import run
from pid.interface.command_options import HIDDEN
from pid.interface.ranges import MAX_INT, Count, Natural, Positive, Range, Seed, Several, Share

SectionName = Literal["decay", "entropy", "instability", "gradients", "landscape", "artifact"]
SECTIONS: tuple[SectionName, ...] = get_args(SectionName)
Diffusivity = Annotated[float, Range(0, 0.5)]
"""A diffusivity per step, for which an explicit step is stable."""
Rate = Annotated[float, Range(1e-3, 10)]
"""A rate of decay per token, for which a tail has more than one size and does not overflow."""
MAY_CHANGE_ON_RESUME = (*run.MAY_CHANGE_ON_RESUME, "only")
"""Fields that may change on resume: the folder, and the choice of sections."""
FORMER_ARTIFACT = "arte" + "fact"
"""Name of the section `artifact` in earlier releases."""
RENAMED = {FORMER_ARTIFACT: "artifact", f"only {FORMER_ARTIFACT}": "only artifact"}
"""Old -> new names of options and of values of `--only`."""


@dataclasses.dataclass(frozen=True)
class Decay:
    """Attention against distance and against pseudo-time, in float64 and far from the ends of the row."""

    tokens: Count = 1025
    """Keys of an attention row; the query is in the middle."""
    alpha: Diffusivity = 0.25
    """Diffusivity, tokens² per step."""
    rates: tuple[Rate, ...] = (0.1, 0.2, 0.5)
    """Rates of the initial rows exp(-rate * distance), per token. The figure shows the last one."""
    steps: tuple[Count, ...] = (4, 16, 64, 256)
    """Numbers of PDE steps after which the tail is measured."""
    peaks: tuple[Count, ...] = (4, 16, 64, 256, 1024, 4096)
    """Numbers of PDE steps between which the exponent of the peak is measured."""
    attention_tokens: Count = 256
    """Tokens of the softmax attention with random queries and keys."""
    attention_steps: Count = 16
    """PDE steps on the weights of this softmax attention."""


@dataclasses.dataclass(frozen=True)
class Entropy:
    """Entropy of attention rows against pseudo-time, with the official initial coefficients."""

    tokens: Several = 32
    """Number of queries and of keys."""
    heads: Count = 4
    """Heads with random queries and keys."""
    gain: Positive = 3.0
    """Standard deviation of the initial logits. Larger values make sharper rows."""
    steps: tuple[Natural, ...] = (0, 1, 4, 16, 64, 256, 1024, 4096)
    """Numbers of PDE steps after which the entropy is measured."""


@dataclasses.dataclass(frozen=True)
class Instability:
    """Growth of plane waves under the official causal step."""

    tokens: Count = 64
    """Tokens of a wave. Its growth is measured at the last token."""
    alphas: Several = 11
    """Number of diffusivities, equally spaced from 0 to 1/2."""
    waves: Count = 13
    """Number of angular frequencies, equally spaced from 0 to π."""
    steps: tuple[Count, ...] = (1, 4, 8)
    """Numbers of steps whose growth is measured at α = .1."""


@dataclasses.dataclass(frozen=True)
class Training:
    """The classifiers of gradients and landscape: recall of the first token of random rows, with label noise."""

    tokens: Several = 24
    """Tokens of a row."""
    vocabulary: Several = 16
    """Number of token ids and of classes."""
    noise: Share = 0.2
    """Share of labels drawn at random, which keeps the loss above zero, so that the gradient does not vanish."""
    width: Count = 32
    """Channels."""
    heads: Count = 4
    """Attention heads."""
    ffn: Count = 64
    """Hidden width of the feed-forward sublayer."""
    layers: Count = 4
    """Encoder layers."""
    alpha: Diffusivity = 0.1
    """Diffusivity of both PDE forms, tokens² per step."""
    pde_steps: Count = 4
    """Steps of both PDE forms."""
    batch: Count = 32
    """Rows of a training batch."""
    steps: Count = 150
    """Training steps."""
    learning_rate: Positive = 3e-3
    """Learning rate, after a warm-up of a tenth of the steps."""


@dataclasses.dataclass(frozen=True)
class Landscape:
    """The loss around the weights of the classifiers: Hessian and slices."""

    rows: Count = 64
    """Rows of the fixed batch on which the loss is evaluated."""
    iterations: Count = 12
    """Lanczos iterations for the Hessian."""
    directions: Count = 6
    """Random filter-normalized directions of one-dimensional slices."""
    points: Count = 15
    """Points of a one-dimensional slice, and of each side of the two-dimensional slice."""
    radius: Positive = 1.0
    """Half-width of the slices. 1 moves every filter by its own norm."""


@dataclasses.dataclass(frozen=True)
class Artifact:
    """Language models on generated text, with padding in the loss, as in the first public code."""

    lengths: tuple[Count, ...] = (32, 64, 128)
    """Lengths to which lines are padded."""
    words: Annotated[float, Range(0, MAX_INT, without_low=True)] = 11.0
    """Mean number of tokens of a line without padding (Poisson, at least 1)."""
    vocabulary: Several = 500
    """Number of token ids, PAD included."""
    lines: Count = 4000
    """Training lines."""
    test_lines: Count = 256
    """Held-out lines."""
    width: Count = 64
    """Channels."""
    heads: Count = 4
    """Attention heads."""
    ffn: Count = 128
    """Hidden width of the feed-forward sublayer."""
    layers: Count = 2
    """Encoder layers."""
    alpha: Diffusivity = 0.1
    """Diffusivity of the official PDE layer, which takes one step after every encoder layer."""
    batch: Count = 16
    """Lines of a training batch."""
    steps: Count = 100
    """Training steps."""
    seeds: Count = 3
    """Largest number of trainings of each model at each length: the first of --seeds, or all if they are fewer."""
    learning_rate: Positive = 1e-3
    """Learning rate after warm-up over a tenth of the steps. Gradients are clipped at norm 1, as in the paper code."""


USED_BY: dict[str, tuple[SectionName, ...]] = {
    **{section: (section,) for section in SECTIONS if section != "gradients"},
    "training": ("gradients", "landscape"),
    "seeds": ("gradients", "landscape", "artifact"),
}
"""Options and groups of options -> the sections that use them."""


@dataclasses.dataclass(frozen=True)
class Config:
    """Measure the claims of the Continuous-Time Attention paper."""

    preset: Annotated[str, HIDDEN] = "quick"
    """Name of the preset."""
    out: Path | None = None
    """Run folder. Default: the next free number under runs/claims/. Nothing is ever overwritten."""
    resume: bool = False
    """Continue the run in --out. Finished parts are not repeated."""
    only: tuple[SectionName, ...] = SECTIONS
    """Sections to run, one after another."""
    seeds: tuple[Seed, ...] = (0, 1, 2, 3, 4, 5)
    """Seeds of initial weights, data and directions. All variants use the same seeds."""
    decay: Decay = Decay()
    """Section decay: attention against distance and against pseudo-time."""
    entropy: Entropy = Entropy()
    """Section entropy: entropy of attention rows against pseudo-time."""
    instability: Instability = Instability()
    """Section instability: growth of plane waves under the official causal step."""
    training: Training = Training()
    """Sections gradients and landscape: their classifiers, which recall the first token of random rows."""
    landscape: Landscape = Landscape()
    """Section landscape: Hessian and slices of the loss around the weights of the classifiers."""
    artifact: Artifact = Artifact()
    """Section artifact: language models on generated text, with padding in the loss."""

    def __post_init__(self) -> None:
        """Raise ValueError for contradictions, before anything is measured."""
        unknown = [name for name in self.only if name not in SECTIONS]
        if unknown or not self.only or len(set(self.only)) < len(self.only):
            raise ValueError(
                f"sections are different ones of {', '.join(SECTIONS)}, got {' '.join(self.only) or 'none'}; "
                f"change --only."
            )
        run.check_seeds(self.seeds)
        run.check_resume(resume=self.resume, out=self.out)
        run.check_ranges(self)
        run.check_paths(self)
        counts = {
            "decay.steps": 1,
            "decay.peaks": 2,
            "entropy.steps": 2,
            "instability.steps": 1,
            "artifact.lengths": 1,
        }
        for name, least in counts.items():
            section, field = name.split(".")
            values = getattr(getattr(self, section), field)
            if len(values) < least or list(values) != sorted(set(values)):
                raise ValueError(
                    f"{name} are {least} or more increasing numbers, got {' '.join(map(str, values)) or 'none'}; "
                    f"change --{name}."
                )
        if not self.decay.rates or len(set(self.decay.rates)) < len(self.decay.rates):
            raise ValueError(
                f"decay.rates are one or more different numbers, got "
                f"{' '.join(map(str, self.decay.rates)) or 'none'}; change --decay.rates."
            )
        for name in ("training", "artifact"):
            size = getattr(self, name)
            if size.width % size.heads:
                raise ValueError(
                    f"{name}.width must be divisible by {name}.heads, got {size.width} and {size.heads}; "
                    f"change one of them."
                )

    def idle_options(self) -> dict[str, run.Idle]:
        """Return the options and groups that have no effect, and why."""
        return run.idle_in_sections(USED_BY, self.only)
