"""What can be chosen: frozen dataclasses whose field docstrings are the command line's `--help`."""

import dataclasses
from difflib import get_close_matches
from pathlib import Path
from typing import Annotated, Literal

import tyro

from experiments import run
from experiments.data import listops
from pdeformer import train
from pdeformer.layers import PDEAttentionConfig, StencilConfig
from pdeformer.model import PLACEMENTS, ModelConfig

MAY_CHANGE_ON_RESUME = (*run.MAY_CHANGE_ON_RESUME, "hosts", "data_dir", "manual_dir")
"""What may change when a run is resumed: where it runs and where its data lies, but not what is computed."""

BASELINE = "baseline"
NONE = "none"


@dataclasses.dataclass(frozen=True)
class Mesh:
    """Devices along each axis of the mesh; -1 takes all that remain."""

    data: int = -1
    """Devices that share the examples of a batch."""
    model: int = 1
    """Devices that share the heads and the feed-forward units."""


@dataclasses.dataclass(frozen=True)
class Generated:
    """The data set that --source generated draws; the splits share no sequence."""

    min_length: int = 500
    """Sequences have more tokens than this."""
    max_length: int = 2000
    """Sequences have fewer tokens than this."""
    train: int = 96_000
    """Training sequences."""
    val: int = 2_000
    """Validation sequences: they choose the best weights."""
    test: int = 2_000
    """Test sequences: they choose nothing."""
    seed: int = 0
    """Seed of the generator."""


@dataclasses.dataclass(frozen=True)
class Network:
    """The Transformer: a `ModelConfig` without what the data, the variant and --dtype decide."""

    layers: int = 2
    """Blocks."""
    width: int = 64
    """Channels of the residual stream."""
    heads: int = 2
    """Attention heads."""
    head_width: int | None = None
    """Width of one head; None is width / heads."""
    ffn: int = 128
    """Hidden width of the feed-forward sublayer."""
    classifier_width: int | None = None
    """Hidden width between pooled features and logits; None is one linear map."""
    max_len: int = 2000
    """Longest sequence; all are padded to it."""
    norm: Literal["pre", "post"] = "pre"
    """LayerNorm before each sublayer or after each residual add."""
    positions: Literal["sinusoidal", "learned"] = "sinusoidal"
    """Position code added to the embedding."""
    pooling: Literal["mean", "cls"] = "mean"
    """What the classifier reads: the mean over tokens, padding left out, or a CLS token."""
    dropout: float = 0.1
    """Dropout rate after the embedding, in the feed-forward sublayer and after each sublayer."""
    attention_dropout: float = 0.1
    """Dropout rate of the attention weights."""
    attention_bias: bool = False
    """Biases in the query, key, value and output maps."""
    remat: bool = False
    """Recompute each block in the backward pass, to save memory."""


@dataclasses.dataclass(frozen=True)
class Config:
    """Train a Transformer and variants of it with a PDE in them on the same batches, and compare them."""

    preset: tyro.conf.Suppress[str] = "quick"
    """Name of the preset these values began with."""
    out: Path | None = None
    """Run folder. Default: the next free number under runs/lra/. Nothing is ever overwritten."""
    resume: bool = False
    """Go on with the run in --out, from its last checkpoint; a finished run is only reported again."""
    placement: Annotated[
        tuple[str, ...], tyro.conf.arg(metavar=f"{{{','.join((NONE, *PLACEMENTS))}}} ...")
    ] = ("after_embedding",)
    """Where the diffusion layer stands: one variant per place, beside the baseline; none: no such variant."""
    together: bool = False
    """One variant with layers at all these places, and the evolved attention, instead of one variant each."""
    stencil: StencilConfig = StencilConfig(kind="adaptive")
    """The diffusion layer of the variants."""
    attention: PDEAttentionConfig = PDEAttentionConfig()
    """The equation that evolves the attention of one more variant, attention_KIND; none: there is no such variant."""
    seeds: tuple[int, ...] = (0,)
    """Seeds. A seed decides initial weights, batches and dropout, and is shared by the variants."""
    steps: int = 5000
    """Training steps (updates)."""
    batch: int = 32
    """Examples per step, over all devices and hosts."""
    dtype: Literal["float32", "bfloat16"] = "float32"
    """Type of the computation; parameters, statistics and logits stay float32."""
    model: Network = Network()
    """The Transformer."""
    optimizer: train.Optimizer = train.Optimizer()
    """AdamW, its schedule, and gradient accumulation."""
    cadence: run.LoopIntervals = run.LoopIntervals()
    """How often to log, evaluate and save."""
    source: Literal["generated", "lra_release"] = "generated"
    """generated: drawn as the benchmark's data were drawn; lra_release: its published files."""
    generated: Generated = Generated()
    """The generated data set."""
    data_dir: Path = Path("data")
    """Where prepared data is kept; a second start finds it there."""
    manual_dir: Path | None = None
    """For --source lra_release: the folder with basic_train.tsv, basic_val.tsv and basic_test.tsv."""
    mesh: Mesh = Mesh()
    """Devices."""
    hosts: run.Hosts = run.Hosts()
    """Several hosts."""

    def __post_init__(self) -> None:
        """Refuse contradictions before anything is read, drawn or trained."""
        for name in self.placement:
            if name not in (NONE, *PLACEMENTS):
                near = get_close_matches(name, (NONE, *PLACEMENTS), n=1)
                hint = f"did you mean {near[0]!r}?" if near else "choose among them."
                raise ValueError(
                    f"a placement is one of {', '.join((NONE, *PLACEMENTS))}, got {name!r}; {hint}"
                )
        if len(set(self.placement)) < len(self.placement) or (
            NONE in self.placement and len(self.placement) > 1
        ):
            raise ValueError(
                f"placements are different, and none stands alone, got {' '.join(self.placement)}; "
                f"the baseline is always trained."
            )
        if self.steps < 1 or self.batch < 1:
            raise ValueError(
                f"steps and batch must be at least 1, got {self.steps} and {self.batch}; raise them."
            )
        run.check_seeds(self.seeds)
        if self.source == "lra_release" and self.manual_dir is None:
            raise ValueError(
                "source lra_release reads published files, got no manual_dir; pass --manual-dir with the folder "
                "listops-1000 of lra_release.gz, or use --source generated."
            )
        run.check_resume(resume=self.resume, out=self.out)
        longest = self.generated.max_length - 1
        if self.source == "generated" and longest > self.model.max_len:
            raise ValueError(
                f"sequences must fit max_len, got up to {longest} tokens for max_len={self.model.max_len}; raise "
                f"model.max_len or lower generated.max_length."
            )
        self.data()

    def data(self) -> listops.ListOpsConfig:
        """The data set. Raises ValueError if its sizes or lengths are out of range."""
        if self.source == "lra_release":
            return listops.RELEASE
        return listops.ListOpsConfig(**dataclasses.asdict(self.generated))

    def variants(self) -> dict[str, tuple[str, ...]]:
        """Name and parts of every variant, the baseline first; a part is a place, or `evolved` for the attention."""
        parts = tuple(name for name in self.placement if name != NONE)
        parts += () if self.attention.kind == NONE else (self.evolved,)
        variants: dict[str, tuple[str, ...]] = {BASELINE: ()}
        if self.together and parts:
            return variants | {"+".join(parts): parts}
        return variants | {part: (part,) for part in parts}

    @property
    def evolved(self) -> str:
        """The name of the evolved attention: attention_diffusion, attention_wave, ..."""
        return f"attention_{self.attention.kind}"

    def network(self, parts: tuple[str, ...], vocabulary: int, classes: int) -> ModelConfig:
        """The model of a variant. Raises ValueError for sizes, a stencil or an equation that contradict themselves."""
        return ModelConfig(
            vocabulary=vocabulary,
            classes=classes,
            placements=tuple(part for part in parts if part != self.evolved),
            stencil=self.stencil,
            attention=self.attention if self.evolved in parts else PDEAttentionConfig(),
            dtype=self.dtype,
            **dataclasses.asdict(self.model),
        )
