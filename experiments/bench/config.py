"""Options of the command line: frozen dataclasses. Their docstrings are the text of `--help`."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, get_args

from experiments import run
from pid.interface.ranges import Count, Positive

SectionName = Literal["evolved", "attention", "taps", "backward", "training", "loader", "pid", "llava"]
MAY_CHANGE_ON_RESUME = (*run.MAY_CHANGE_ON_RESUME, "only", "compare")
"""Fields that may change on resume: the folder, the choice of sections, and the run to compare with."""


@dataclass(frozen=True)
class AttentionSize:
    """Size of query, key and value in section attention, float32 (batch, tokens, heads, width)."""

    tokens: Count = 2048
    """Number of tokens."""
    heads: Count = 4
    """Attention heads."""
    width: Count = 64
    """Channels of a head."""
    batch: Count = 1
    """Batch size."""


@dataclass(frozen=True)
class StateSize:
    """Size of the state in sections taps and backward, float32 (batch, tokens, channels)."""

    tokens: Count = 4096
    """Number of tokens."""
    channels: Count = 256
    """Channels of a token."""
    batch: Count = 8
    """Batch size."""


@dataclass(frozen=True)
class TrainingSize:
    """Size of the batches of the two-layer ListOps Transformer, in section training and for its input in loader."""

    lengths: tuple[Count, ...] = (1024, 2048)
    """Numbers of tokens of a row, at least 8. Section loader takes the smallest."""
    batch: Count = 4
    """Examples of a step."""


@dataclass(frozen=True)
class LoaderSize:
    """The split of section loader, uint8 (examples, tokens) in a temporary folder, and its batches."""

    examples: Count = 100_000
    """Number of examples."""
    tokens: Count = 2048
    """Tokens of an example."""
    batches: tuple[Count, ...] = (32, 256)
    """Batch sizes."""
    per_call: Count = 4096
    """Examples of one timed call, at least; whole batches."""
    steps: Count = 4
    """Training steps of one program, whose input is on the device."""


@dataclass(frozen=True)
class DecompositionSize:
    """Sizes of the systems in section pid: covariances of random channels with d dimensions of target, x and y each."""

    batch: Count = 1000
    """Number of systems that one call decomposes."""
    loop: Count = 20
    """Dimension d for the comparison with a loop of the same closed form."""
    iterative: tuple[Count, ...] = (10, 20, 50)
    """Dimensions d for the comparisons with the published iteration."""


@dataclass(frozen=True)
class LlavaSize:
    """The language model and the sample of section llava. The weights are random or those of `text`."""

    text: Path | None = None
    """Hugging Face folder of a text-only Llama (config.json, model.safetensors). It replaces the sizes of the model."""
    layers: Count = 30
    """Transformer blocks. Each has a knockout window around it."""
    heads: Count = 4
    """Attention heads."""
    head_width: Count = 16
    """Channels of a head."""
    ffn: Count = 128
    """Hidden width of the feed-forward sublayer."""
    prefix: Count = 576
    """Tokens of the prompt up to the last image token."""
    suffix: Count = 40
    """Tokens of the prompt after the image."""


USED_BY: dict[str, tuple[SectionName, ...]] = {
    "lengths": ("evolved",),
    "steps": ("evolved",),
    "largest_matrix": ("evolved",),
    "attention": ("evolved", "attention"),
    "state": ("taps", "backward"),
    "training": ("training", "loader"),
    "loader": ("loader",),
    "pid": ("pid",),
    "llava": ("llava",),
}
"""Options and groups of options -> the sections that use them."""


@dataclass(frozen=True)
class Config:
    """Measure speed and memory of our implementations relative to plain ones."""

    only: tuple[SectionName, ...] = get_args(SectionName)
    """Sections to run, one after another."""
    pairs: Count = 20
    """Number of timed pairs for each row, in alternating order. It must be even."""
    seconds: Positive = 5.0
    """Time limit of a row in seconds. Training steps have three times as much, and section evolved does not
    limit forward rows of up to 8192 tokens."""
    out: Path | None = None
    """Run folder. Default: the next free number under runs/bench/. Nothing is ever overwritten."""
    resume: bool = False
    """Continue the run in --out. Finished parts are not repeated."""
    compare: Path | None = None
    """The summary.json of an earlier run. The tables then have, for each row, its time over the present one."""
    lengths: tuple[Count, ...] = (512, 2048, 8192, 16384)
    """Numbers of tokens in section evolved. Heads, width and batch are those of `attention`."""
    steps: Count = 4
    """Diffusion steps in section evolved."""
    largest_matrix: Count = 2048
    """Largest number of tokens for which section evolved times materialized weights. Above, it reports only memory."""
    attention: AttentionSize = field(default_factory=AttentionSize)
    """Size of query, key and value in section attention, float32 (batch, tokens, heads, width)."""
    state: StateSize = field(default_factory=StateSize)
    """Size of the state in sections taps and backward, float32 (batch, tokens, channels)."""
    training: TrainingSize = field(default_factory=TrainingSize)
    """Size of the batches of the two-layer ListOps Transformer, in section training and for its input in loader."""
    loader: LoaderSize = field(default_factory=LoaderSize)
    """The split of section loader, uint8 (examples, tokens) in a temporary folder, and its batches."""
    pid: DecompositionSize = field(default_factory=DecompositionSize)
    """Sizes of the systems in section pid: covariances of random channels with d dimensions of target, x and y each."""
    llava: LlavaSize = field(default_factory=LlavaSize)
    """The language model and the sample of section llava. The weights are random or those of `text`."""

    def __post_init__(self) -> None:
        """Raise ValueError for contradictions, before anything is timed."""
        if not self.only or len(set(self.only)) < len(self.only):
            raise ValueError(
                f"sections are one or more different ones, got {' '.join(self.only) or 'none'}; change --only."
            )
        lists = {
            "lengths": self.lengths,
            "training.lengths": self.training.lengths,
            "loader.batches": self.loader.batches,
            "pid.iterative": self.pid.iterative,
        }
        for name, values in lists.items():
            if not values or len(set(values)) < len(values):
                raise ValueError(
                    f"{name} are one or more different numbers, got {' '.join(map(str, values)) or 'none'}; change "
                    f"--{name}."
                )
        self._check_learning()
        run.check_ranges(self)
        run.check_paths(self)
        run.check_resume(resume=self.resume, out=self.out)
        if self.llava.head_width % 2:
            raise ValueError(
                f"rotary positions turn pairs of channels, got llava.head_width={self.llava.head_width}; choose an "
                f"even --llava.head-width."
            )
        if self.pairs < 2 or self.pairs % 2:
            raise ValueError(
                f"pairs must be even so that both orders weigh the same, got {self.pairs}; change --pairs, 20 is usual."
            )

    def _check_learning(self) -> None:
        """Raise ValueError for rows that no sequence fits, and for batches that are larger than the split."""
        if min(self.training.lengths) < 8:
            raise ValueError(
                f"a ListOps sequence must fit a row of 8 tokens or more, got "
                f"training.lengths={min(self.training.lengths)}; raise --training.lengths."
            )
        if max(self.loader.batches) > self.loader.examples:
            raise ValueError(
                f"a batch is drawn from loader.examples={self.loader.examples} examples, got "
                f"loader.batches={max(self.loader.batches)}; lower --loader.batches."
            )

    def idle_options(self) -> dict[str, run.Idle]:
        """Return the options and groups that have no effect, and why."""
        idle = run.idle_in_sections(USED_BY, self.only)
        if self.llava.text is not None:
            sizes = ("layers", "heads", "head-width", "ffn")
            reason = run.Idle("random weights", "--llava.text, which has sizes of its own")
            idle = {f"llava.{name}": reason for name in sizes} | idle
        return idle


PRESETS = {"bench": ("", Config())}
CONTINUATION = run.Continuation("bench", PRESETS, MAY_CHANGE_ON_RESUME, extend=run.extend_fields("only"))
command_line = run.CommandLine("experiments.bench", str(Config.__doc__), PRESETS, continuation=CONTINUATION)
