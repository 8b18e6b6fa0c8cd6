"""Options of the command line: frozen dataclasses whose field docstrings are its `--help`."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from experiments import run

SectionName = Literal["evolved", "attention", "taps", "backward", "pid", "llava"]
MAY_CHANGE_ON_RESUME = (*run.MAY_CHANGE_ON_RESUME, "only")
"""Fields that may change on resume: the folder, and the choice of sections."""


@dataclass(frozen=True)
class AttentionSize:
    """The input of the attention section. Query, key and value are float32 (batch, tokens, heads, width)."""

    tokens: int = 2048
    heads: int = 4
    width: int = 64
    batch: int = 1


@dataclass(frozen=True)
class StateSize:
    """The input of the sections on `evolve`: a float32 state (batch, tokens, channels)."""

    tokens: int = 4096
    channels: int = 256
    batch: int = 8


@dataclass(frozen=True)
class DecompositionSize:
    """The systems of the pid section: covariances of random channels, d coordinates for each of target, x and y."""

    batch: int = 1000
    """Systems that one call decomposes."""
    loop: int = 20
    """Coordinates for the comparison with a loop of the same closed form."""
    iterative: tuple[int, ...] = (10, 20, 50)
    """Coordinates for the comparison with the iterative method."""


@dataclass(frozen=True)
class LlavaSize:
    """The language model of the llava section, with random weights or those of `text`, and its one sample."""

    text: Path | None = None
    """Hugging Face folder of a Llama without vision (config.json, model.safetensors), instead of the sizes below."""
    layers: int = 30
    """Blocks; there is a window about each."""
    heads: int = 4
    head_width: int = 16
    ffn: int = 128
    prefix: int = 576
    """Tokens up to the last of the image."""
    suffix: int = 40
    """Tokens after the image."""


@dataclass(frozen=True)
class Config:
    """Speed and memory of the fast forms against the plain ones, as ratios."""

    only: tuple[SectionName, ...] = ("evolved", "attention", "taps", "backward", "pid", "llava")
    """Sections to run, one after another."""
    pairs: int = 20
    """Timed pairs for each row, in alternating order."""
    seconds: float = 5.0
    """A row with a backward pass, or beyond 8192 tokens, stops after this time. The table lists its pairs."""
    out: Path = Path("runs/bench")
    """Parent of the run folders, of which each takes the next free number; with --resume, the run folder itself."""
    resume: bool = False
    """Go on with the run in --out. Finished sections are only reported again."""
    lengths: tuple[int, ...] = (512, 2048, 8192, 16384)
    """Tokens of the evolved section. Heads, width and batch are those of `attention`."""
    steps: int = 4
    """Steps of diffusion of the evolved section."""
    largest_matrix: int = 2048
    """Tokens up to which materialized weights are timed too; beyond, only their memory is planned."""
    attention: AttentionSize = field(default_factory=AttentionSize)
    state: StateSize = field(default_factory=StateSize)
    pid: DecompositionSize = field(default_factory=DecompositionSize)
    llava: LlavaSize = field(default_factory=LlavaSize)

    def __post_init__(self) -> None:
        """Raise ValueError for an odd number of pairs."""
        if self.pairs < 2 or self.pairs % 2:
            raise ValueError(
                f"pairs must be even so that both orders weigh the same, got {self.pairs}; try 20."
            )
