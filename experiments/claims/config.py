"""What can be chosen: frozen dataclasses whose field docstrings are the command line's `--help`."""

import dataclasses
from pathlib import Path
from typing import Literal, get_args

import tyro

from experiments import run

Section = Literal["decay", "entropy", "instability", "gradients", "landscape", "artefact"]
SECTIONS: tuple[Section, ...] = get_args(Section)
MAY_CHANGE_ON_RESUME = (*run.MAY_CHANGE_ON_RESUME, "only")
"""What may change when a run is resumed: its folder, and which sections it has."""


@dataclasses.dataclass(frozen=True)
class Decay:
    """Attention against distance and against pseudo-time; float64, far from the walls."""

    tokens: int = 1025
    """Keys of a row; the query stands in the middle."""
    alpha: float = 0.25
    """Diffusivity, tokens² per step."""
    rates: tuple[float, ...] = (0.1, 0.2, 0.5)
    """Rates of the initial rows exp(-rate * distance), per token; the last one is drawn."""
    steps: tuple[int, ...] = (4, 16, 64, 256)
    """Steps after which the tail is measured."""
    peaks: tuple[int, ...] = (4, 16, 64, 256, 1024, 4096)
    """Steps between which the exponent of the peak is measured."""
    attention_tokens: int = 256
    """Tokens of the softmax attention with random queries and keys."""
    attention_steps: int = 16
    """Steps on its weights."""


@dataclasses.dataclass(frozen=True)
class Entropy:
    """Entropy of attention rows against pseudo-time; coefficients are the official initial values."""

    tokens: int = 32
    """Queries and keys."""
    heads: int = 4
    """Heads, all random."""
    gain: float = 3.0
    """Standard deviation of the initial logits: larger is sharper."""
    steps: tuple[int, ...] = (0, 1, 4, 16, 64, 256, 1024, 4096)
    """Steps after which the entropy is measured."""


@dataclasses.dataclass(frozen=True)
class Instability:
    """Growth of plane waves under the official causal step."""

    tokens: int = 64
    """Tokens of a wave, measured at the last."""
    alphas: int = 11
    """Diffusivities from 0 to 1/2."""
    waves: int = 13
    """Angular frequencies from 0 to π."""
    steps: tuple[int, ...] = (1, 4, 8)
    """Steps whose growth is measured at α = .1."""


@dataclasses.dataclass(frozen=True)
class Training:
    """The classifiers of gradients and landscape: recall of the first token of random rows, labels partly random."""

    tokens: int = 24
    """Tokens of a row."""
    vocabulary: int = 16
    """Tokens and classes."""
    noise: float = 0.2
    """Share of labels drawn at random, so that the loss has a floor and the gradient does not vanish."""
    width: int = 32
    """Channels."""
    heads: int = 4
    """Attention heads."""
    ffn: int = 64
    """Hidden width of the feed-forward sublayer."""
    layers: int = 4
    """Encoder layers."""
    alpha: float = 0.1
    """Diffusivity of both PDE forms, tokens² per step."""
    pde_steps: int = 4
    """Steps of both PDE forms."""
    batch: int = 32
    """Rows of a training batch."""
    steps: int = 150
    """Training steps."""
    learning_rate: float = 3e-3
    """Peak learning rate, after a tenth of the steps."""


@dataclasses.dataclass(frozen=True)
class Landscape:
    """What is measured of the loss around the classifiers' weights."""

    rows: int = 64
    """Rows of the fixed batch on which the loss is taken."""
    iterations: int = 12
    """Lanczos iterations for the Hessian."""
    directions: int = 6
    """Random filter-normalised directions of one-dimensional slices."""
    points: int = 15
    """Points of a slice, and of a side of the two-dimensional one."""
    radius: float = 1.0
    """Half-width of the slices; 1 moves every filter by its own norm."""


@dataclasses.dataclass(frozen=True)
class Artefact:
    """Language models on generated text, with padding in the loss, as in the first public code."""

    lengths: tuple[int, ...] = (32, 64, 128)
    """Lengths to which lines are padded."""
    words: float = 11.0
    """Mean number of real tokens of a line (Poisson, at least 1)."""
    vocabulary: int = 500
    """Words, PAD included."""
    lines: int = 4000
    """Training lines."""
    test_lines: int = 256
    """Held-out lines."""
    width: int = 64
    """Channels."""
    heads: int = 4
    """Attention heads."""
    ffn: int = 128
    """Hidden width of the feed-forward sublayer."""
    layers: int = 2
    """Encoder layers."""
    alpha: float = 0.1
    """Diffusivity of the official layer, one step after every encoder layer."""
    batch: int = 16
    """Lines of a training batch."""
    steps: int = 100
    """Training steps."""
    seeds: int = 3
    """Trainings of each model at each length: the first so many of --seeds."""
    learning_rate: float = 1e-3
    """Learning rate after a tenth of the steps; clipping at norm 1 as in the official code."""


@dataclasses.dataclass(frozen=True)
class Config:
    """The claims of the Continuous-Time Attention paper, measured."""

    preset: tyro.conf.Suppress[str] = "quick"
    """Name of the preset these values began with."""
    out: Path | None = None
    """Run folder. Default: the next free number under runs/claims/. Nothing is ever overwritten."""
    resume: bool = False
    """Go on with the run in --out: finished sections are only reported again."""
    only: tuple[Section, ...] = SECTIONS
    """Sections to run, one after another."""
    seeds: tuple[int, ...] = (0, 1, 2, 3, 4, 5)
    """Seeds of initial weights, data and directions; shared by the variants."""
    decay: Decay = Decay()
    """Distance and pseudo-time."""
    entropy: Entropy = Entropy()
    """Entropy of attention."""
    instability: Instability = Instability()
    """The official causal stencil."""
    training: Training = Training()
    """The classifiers of gradients and landscape."""
    landscape: Landscape = Landscape()
    """Hessian and slices."""
    artefact: Artefact = Artefact()
    """The language-model numbers."""

    def __post_init__(self) -> None:
        """Refuse contradictions before anything is measured."""
        unknown = [name for name in self.only if name not in SECTIONS]
        if unknown or not self.only or len(set(self.only)) < len(self.only):
            raise ValueError(
                f"sections are different ones of {', '.join(SECTIONS)}, got {' '.join(self.only) or 'none'}; "
                f"change --only."
            )
        if not self.seeds or min(self.seeds) < 0 or len(set(self.seeds)) < len(self.seeds):
            raise ValueError(
                f"seeds are one or more different numbers from 0 on, got {self.seeds}; change --seeds."
            )
        if self.resume and self.out is None:
            raise ValueError("--resume goes on with a run, got no --out; pass its folder as --out.")
        for name in ("training", "artefact"):
            part = getattr(self, name)
            if part.steps < 1 or part.batch < 1:
                raise ValueError(
                    f"{name} needs at least one step and one row, got {part.steps} and {part.batch}; raise them."
                )
            if part.width % part.heads:
                raise ValueError(
                    f"{name}.width must be divisible by {name}.heads, got {part.width} and {part.heads}; "
                    f"change one of them."
                )
