"""Options of the runs on long sequences, and the attention of every variant."""

import dataclasses
from pathlib import Path
from typing import Annotated, Any, Literal

from experiments import run
from experiments.data.recall import RecallConfig
from experiments.lm.config import Equation, Network
from experiments.lra.config import Mesh
from pdeformer import train
from pdeformer.layers import PDEAttentionConfig, StencilConfig
from pdeformer.model import ModelConfig
from pid.interface.command_options import HIDDEN, Choices
from pid.interface.ranges import Count, Seed

VARIANTS = {
    "plain": "softmax attention to all earlier tokens",
    "evolved": "the same, its weights evolved",
    "window": "softmax attention to near tokens",
    "window_pde": "the same, its weights evolved",
    "performer": "attention by random features",
    "performer_pde": "the same, its weights evolved",
}
"""Name -> attention. Names that end in evolved or pde have the equation."""
WITH_EQUATION = ("evolved", "window_pde", "performer_pde")


@dataclasses.dataclass(frozen=True)
class LongConfig:
    """Train variants of attention to recall on short sequences, and measure accuracy, time and memory on long ones."""

    preset: Annotated[str, HIDDEN] = "long-quick"
    """Name of the preset with the defaults of the other options."""
    out: Path | None = None
    """Run folder. Default: the next free number under runs/lm/. Nothing is ever overwritten."""
    resume: bool = False
    """Continue the run in --out. Finished parts are not repeated."""
    variants: Annotated[tuple[str, ...], Choices(tuple(VARIANTS))] = tuple(VARIANTS)
    """Kinds of attention; plain is what the others are compared with."""
    task: Literal["mqar", "selective_copy"] = "mqar"
    """mqar: the values of keys that were given; selective_copy: data tokens among noise, in their order."""
    items: Count = 4
    """Pairs of mqar, or data tokens of selective_copy."""
    vocabulary: Count = 64
    """Symbols without padding."""
    train_length: Count = 64
    """Tokens of a training row."""
    train_rows: Count = 20_000
    """Training rows."""
    lengths: tuple[Count, ...] = (1024, 4096)
    """Lengths at which accuracy, time and memory are measured."""
    test_rows: Count = 16
    """Test rows of every length; those of the training length are 1,000."""
    local: Literal["none", "canon", "shift"] = "canon"
    """Layer after the embedding of all variants, which brings a key and its value together at one token. canon: a
    causal convolution of four taps; shift: a mixture with the token before. Without it the task takes many more
    steps."""
    window: Count = 32
    """Earlier tokens that a token of the windowed variants attends to."""
    features: Count = 64
    """Random features of the performer variants."""
    equation: Equation = "diffusion"
    """The equation of the evolved variants."""
    pde_steps: Count = 4
    """Its explicit steps."""
    seeds: tuple[Seed, ...] = (0,)
    """Seeds of initial weights and batches; every variant trains with every seed."""
    steps: Count = 300
    """Training steps (updates)."""
    batch: Count = 32
    """Rows of a training step."""
    cost_batch: Count = 1
    """Rows of the training step whose time and memory are measured, on each device."""
    repeats: Count = 2
    """Measured steps, after one that is not; the fastest one counts."""
    model: Network = Network(positions="rotary", dropout=0.0, attention_dropout=0.0)
    """The Transformer; its mixer and window are those of the variant."""
    optimizer: train.Optimizer = train.Optimizer()
    """AdamW, its learning-rate schedule, and gradient accumulation."""
    cadence: run.LoopIntervals = run.LoopIntervals()
    """How often to log, evaluate and save."""
    dtype: Literal["float32", "bfloat16"] = "float32"
    """Type of the computation; parameters, statistics and logits stay float32."""
    data_dir: Path = Path("data")
    """Folder of prepared data. Later runs read it again."""
    mesh: Mesh = Mesh()
    """Devices of the mesh."""
    hosts: run.Hosts = run.Hosts()
    """Training on several hosts."""

    def __post_init__(self) -> None:
        """Check that the options fit together, before anything is generated."""
        run.check_seeds(self.seeds)
        run.check_ranges(self)
        run.check_paths(self)
        run.check_resume(resume=self.resume, out=self.out)
        run.check_names("variants", self.variants, VARIANTS)
        if not self.lengths or list(self.lengths) != sorted(set(self.lengths)):
            raise ValueError(
                f"lengths are one or more increasing numbers, got {' '.join(map(str, self.lengths)) or 'none'}; change "
                f"--lengths."
            )
        if self.lengths[0] < self.train_length:
            raise ValueError(
                f"the lengths of the tests are at least that of the training, got {self.lengths[0]} for "
                f"train_length={self.train_length}; raise --lengths or lower --train-length."
            )
        if self.model.positions in ("learned", "alibi") or self.model.mixer != "attention":
            raise ValueError(
                f"all variants share positions without a table, and set their own mixer, got positions "
                f"{self.model.positions!r} and mixer {self.model.mixer!r}; use --model.positions rotary and --variants."
            )
        if self.batch > self.train_rows:
            raise ValueError(
                f"a batch is drawn from {self.train_rows} training rows, got batch={self.batch}; lower it."
            )
        self.rows(self.train_length, self.train_rows)

    def rows(self, length: int, train_rows: int = 1, test_rows: int = 1000) -> RecallConfig:
        """Return the configuration of rows of a length.

        Raises:
            ValueError: the items do not fit.
        """
        return RecallConfig(
            self.task,
            vocabulary=self.vocabulary,
            items=self.items,
            max_len=length,
            train=train_rows,
            val=min(1000, test_rows),
            test=test_rows,
        )

    def network(self, variant: str) -> ModelConfig:
        """Return the configuration of the model of a variant.

        Raises:
            ValueError: sizes contradict each other.
        """
        fields: dict[str, Any] = dataclasses.asdict(self.model) | {
            "max_len": self.lengths[-1],
            "vocabulary": self.vocabulary + 1,
            "dtype": self.dtype,
        }
        if self.local != "none":
            fields |= {"placements": ("after_embedding",), "stencil": StencilConfig(self.local)}
        if variant in WITH_EQUATION:
            base: dict[str, Any] = {
                "window_pde": {"window": self.window},
                "performer_pde": {"base": "performer", "features": self.features},
            }.get(variant, {})
            fields["attention"] = PDEAttentionConfig(self.equation, steps=self.pde_steps, **base)
        elif variant == "window":
            fields |= {"mixer": "windowed", "window": self.window}
        elif variant == "performer":
            fields |= {"mixer": "performer", "features": self.features}
        return ModelConfig(**fields)
