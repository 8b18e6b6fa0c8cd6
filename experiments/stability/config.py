"""Options of the command line: frozen dataclasses. Their docstrings are the text of `--help`."""

import dataclasses
from pathlib import Path
from typing import Annotated, Literal, get_args

from experiments import run
from pid.interface.command_options import HIDDEN
from pid.interface.ranges import MAX_INT, Count, Positive, Range, Seed, Several

SectionName = Literal["initialization", "horizon", "training", "fit", "analyses"]
SECTIONS: tuple[SectionName, ...] = get_args(SectionName)
Diffusivity = Annotated[float, Range(0, 10)]
"""Diffusivity D in tokens² per unit of time; a step is stable up to 1/2."""
Gain = Annotated[float, Range(1e-3, 1e3)]
"""Factor of all initial matrices."""
MAY_CHANGE_ON_RESUME = (*run.MAY_CHANGE_ON_RESUME, "only")
"""Fields that may change on resume: the folder, and the choice of sections."""


@dataclasses.dataclass(frozen=True)
class Network:
    """Sizes of a random network: the prototype of the simulator's experiments."""

    width: Several = 64
    """Channels."""
    heads: Count = 4
    """Attention heads."""
    ffn: Count = 128
    """Hidden width of the feed-forward sublayer."""
    tokens: Several = 48
    """Tokens of a row."""
    rows: Count = 2
    """Rows of random tokens per seed."""


@dataclasses.dataclass(frozen=True)
class Initialization:
    """Random networks, every combination of the switches, measured after every layer."""

    depths: tuple[Count, ...] = (6, 12, 24, 48)
    """Numbers of layers of the table. One run of the deepest network is read at each of them."""
    gains: tuple[Gain, ...] = (1.0, 2**0.5, 2.0)
    """Factors of all initial matrices (Xavier)."""
    diffusivities: tuple[Diffusivity, ...] = (0.0, 0.25)
    """Diffusivities D, tokens² per layer."""


@dataclasses.dataclass(frozen=True)
class Horizon:
    """The same networks with the residual connection, as differential equations over a fixed time."""

    layers: Count = 12
    """Layers; each holds for one unit of time."""
    gains: tuple[Gain, ...] = (1.0, 2.0)
    """Factors of all initial matrices."""
    substeps: tuple[Count, ...] = (1, 4)
    """Time steps per layer: dt is 1/substeps."""
    diffusivities: tuple[Diffusivity, ...] = (0.0, 0.7)
    """Diffusivities D; beyond 1/2 an explicit step of dt = 1 amplifies."""


@dataclasses.dataclass(frozen=True)
class Training:
    """Trained classifiers with and without the stabilizers: recall of a token, and short ListOps expressions."""

    depths: tuple[Count, ...] = (6,)
    """Numbers of layers of the recall task; ListOps uses the first one."""
    gains: tuple[Gain, ...] = (1.0, 2.0)
    """Factors of all initial matrices; ListOps uses the first one."""
    diffusivity: Diffusivity = 0.0
    """Diffusivity D, tokens² per unit of time."""
    dt: Positive = 1.0
    """Time of one step."""
    vocabulary: Several = 16
    """Token ids and classes of the recall task, whose loss is ln(vocabulary) by chance."""
    tokens: Annotated[int, Range(4, MAX_INT)] = 12
    """Tokens of a row; a ListOps expression has at most so many."""
    width: Several = 32
    """Channels."""
    heads: Count = 4
    """Attention heads."""
    ffn: Count = 64
    """Hidden width of the feed-forward sublayer."""
    batch: Count = 16
    """Rows of a step."""
    steps: Count = 150
    """Training steps."""
    learning_rate: Positive = 3e-3
    """Learning rate of AdamW, after a warm-up of a tenth of the steps."""
    clip: Positive = 1.0
    """Largest global gradient norm; a larger gradient is scaled down to it."""


@dataclasses.dataclass(frozen=True)
class Fit:
    """Small Transformers, one per seed, and the simulator with shared weights fitted to the states of their layers."""

    layers: Count = 6
    """Layers of the Transformer, and time of the fitted simulator."""
    width: Several = 32
    """Channels of both."""
    heads: Count = 4
    """Attention heads of both."""
    ffn: Count = 64
    """Hidden width of the feed-forward sublayer of both."""
    tokens: Several = 24
    """Tokens of a row."""
    vocabulary: Several = 16
    """Token ids. The class of a row is its first token."""
    train_batch: Count = 32
    """Rows of a training step of the Transformer."""
    train_steps: Count = 200
    """Training steps of the Transformer."""
    train_learning_rate: Positive = 3e-3
    """Learning rate of the Transformer."""
    rows: Count = 128
    """Rows whose states are fitted."""
    test_rows: Count = 48
    """Rows held out of the fit, on which everything is measured."""
    batch: Count = 4
    """Rows of a step of the fit."""
    steps: Count = 200
    """Steps of the fit."""
    learning_rate: Positive = 1e-2
    """Learning rate of the fit."""
    smollm2: Path | None = None
    """Folder of SmolLM2-135M, written by `python -m tests.helpers.smollm2`. Its layers are then fitted too."""
    components: Several = 32
    """Principal components of the states of SmolLM2, the width of the simulator fitted to them."""
    text_rows: Annotated[int, Range(4, 10_000)] = 48
    """Rows of text for SmolLM2; a quarter is held out of the fit."""
    text_tokens: Annotated[int, Range(4, 8192)] = 64
    """Tokens of a row of text."""
    text_batch: Count = 4
    """Rows of text of a step of the fit."""


@dataclasses.dataclass(frozen=True)
class Analyses:
    """Small classifiers of random rows by their first token: residual connection on or off, without norm or pre-LN."""

    layers: Several = 6
    """Layers."""
    width: Several = 16
    """Channels, an even number."""
    heads: Count = 2
    """Attention heads."""
    ffn: Count = 32
    """Hidden width of the feed-forward sublayer."""
    tokens: Several = 8
    """Tokens of a row."""
    vocabulary: Several = 8
    """Different tokens, which are also the classes."""
    batch: Count = 32
    """Rows of a training batch."""
    steps: Count = 240
    """Training steps."""
    learning_rate: Positive = 3e-3
    """Learning rate after a warm-up over a tenth of the steps. Gradients are clipped at norm 1."""
    snapshots: Several = 10
    """Largest number of snapshots, at steps that grow geometrically."""
    rows: Annotated[int, Range(16, 20_000)] = 512
    """Test rows of the information measures."""
    components: Count = 3
    """Principal components of a state of which information is measured, at most the width."""
    bins: tuple[Several, ...] = (4, 16)
    """Numbers of bins of each component, one estimate for each."""
    neighbors: Count = 4
    """Neighbors of the other estimate, fewer than the rows."""
    noise: Positive = 0.1
    """Standard deviation of the noise of that estimate, relative to the first component."""
    perturbations: tuple[Positive, ...] = (1e-3, 1.0)
    """Sizes of finite perturbations, relative to the first state."""


USED_BY: dict[str, tuple[SectionName, ...]] = {
    **{section: (section,) for section in SECTIONS},
    "network": ("initialization", "horizon"),
}
"""Options and groups of options -> the sections that use them."""


@dataclasses.dataclass(frozen=True)
class Config:
    """Measure why a Transformer needs residual connections and LayerNorm."""

    preset: Annotated[str, HIDDEN] = "quick"
    """Name of the preset."""
    out: Path | None = None
    """Run folder. Default: the next free number under runs/stability/. Nothing is ever overwritten."""
    resume: bool = False
    """Continue the run in --out. Finished parts are not repeated."""
    only: tuple[SectionName, ...] = SECTIONS
    """Sections to run, one after another."""
    seeds: tuple[Seed, ...] = (0, 1, 2)
    """Seeds of weights and data. All settings use the same seeds."""
    network: Network = Network()
    """Sections initialization and horizon: their random networks."""
    initialization: Initialization = Initialization()
    """Section initialization: every combination of the switches at random weights."""
    horizon: Horizon = Horizon()
    """Section horizon: the same time in more and finer steps."""
    training: Training = Training()
    """Section training: recall and ListOps with and without the stabilizers."""
    fit: Fit = Fit()
    """Section fit: the simulator fitted to the layer states of trained Transformers."""
    analyses: Analyses = Analyses()
    """Section analyses: information flow, attention, bottleneck, gradient flow and perturbations."""
    checkpoint: Path | None = None
    """Measure the layers of trained models instead: a run of experiments.lra with all its variants and seeds, or the
    folder of a LLaVA."""
    checkpoint_rows: Count = 16
    """Test rows or prompts that a trained model reads."""

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
        increasing = (
            *("initialization.depths", "initialization.gains", "initialization.diffusivities"),
            *("horizon.gains", "horizon.substeps", "horizon.diffusivities"),
            *("training.depths", "training.gains"),
            *("analyses.bins", "analyses.perturbations"),
        )
        for name in increasing:
            section, field = name.split(".")
            values = getattr(getattr(self, section), field)
            if not values or list(values) != sorted(set(values)):
                raise ValueError(
                    f"{name} are one or more increasing numbers, got {' '.join(map(str, values)) or 'none'}; "
                    f"change --{name}."
                )
        self._check_heads()
        self._check_information()

    def _check_heads(self) -> None:
        pairs = (
            ("network.width", "network.heads"),
            ("training.width", "training.heads"),
            ("fit.width", "fit.heads"),
            ("fit.components", "fit.heads"),
            ("analyses.width", "analyses.heads"),
        )
        for names in pairs:
            width, heads = (
                getattr(getattr(self, group), field) for group, field in (n.split(".") for n in names)
            )
            if width % heads:
                raise ValueError(
                    f"{names[0]} must be divisible by {names[1]}, got {width} and {heads}; change one of them."
                )
        for name in ("training", "analyses"):
            width = getattr(self, name).width
            if width % 2:
                raise ValueError(
                    f"{name}.width must be even, since positions are pairs of sine and cosine, got {width}; "
                    f"change --{name}.width."
                )

    def _check_information(self) -> None:
        size = self.analyses
        rules = (
            ("components", f"at most analyses.width={size.width}", size.components <= size.width),
            ("neighbors", f"less than analyses.rows={size.rows}", size.neighbors < size.rows),
        )
        for name, rule, holds in rules:
            if not holds:
                raise ValueError(
                    f"analyses.{name} is {rule}, got {getattr(size, name)}; change --analyses.{name}."
                )

    def idle_options(self) -> dict[str, run.Idle]:
        """Return the options and groups that have no effect, and why."""
        if self.checkpoint is not None:
            reason = run.Idle("sections of its own networks", "--checkpoint")
            return dict.fromkeys(("only", "seeds", *USED_BY), reason)
        idle = run.idle_in_sections(USED_BY, self.only)
        if self.fit.smollm2 is None:
            reason = run.Idle("--fit.smollm2 FOLDER", "no folder of SmolLM2")
            names = ("components", "text-rows", "text-tokens", "text-batch")
            idle = {f"fit.{name}": reason for name in names} | idle
        return idle | {"checkpoint-rows": run.Idle("--checkpoint", "none")}
