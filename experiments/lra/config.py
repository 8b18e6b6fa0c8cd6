"""Options of the program: frozen dataclasses whose field docstrings are the text of `--help`."""

import dataclasses
from difflib import get_close_matches
from pathlib import Path
from typing import Annotated, Literal

from experiments import run
from experiments.data import listops
from experiments.data.listops.listops_options import Generated, Release, Source, listops_config
from pdeformer import train
from pdeformer.layers import PDEAttentionConfig, StencilConfig
from pdeformer.model import PLACEMENTS, Architecture, ModelConfig
from pid.interface.command_options import HIDDEN, Choices
from pid.interface.ranges import Count, Seed

MAY_CHANGE_ON_RESUME = (*run.MAY_CHANGE_ON_RESUME, "hosts", "data_dir", "manual_dir", "verify")
"""Fields that may change on resume: devices and data folders, but nothing that changes the results."""

RENAMED = {"together": "combine"}
"""Map from old to new names of options, for one release."""
BASELINE = "baseline"
"""Name of the variant without a PDE."""
NONE = "none"
"""The value of an option that switches a variant off."""


@dataclasses.dataclass(frozen=True)
class Mesh:
    """Devices along each axis of the mesh; -1 takes all that remain."""

    data: int = -1
    """Devices that share the examples of a batch. -1 takes all that --mesh.model leaves."""
    model: int = 1
    """Devices that share the heads and the feed-forward units. -1 takes all that --mesh.data leaves."""
    seq: int = 1
    """Devices that share the tokens of a sequence, for long ones; sequences are padded to a multiple of it."""
    fsdp: bool = False
    """Split the weights and the moments of the optimizer over the data devices as well, to save memory."""


SHORT = Generated(min_length=9, max_length=65, train=20_000)
"""The data set of the preset quick."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Network(Architecture):
    """The Transformer: the fields of `ModelConfig` that the data, the variant and --dtype do not set."""

    max_len: int = 2000
    """Longest sequence in tokens; all sequences are padded to it."""

    def __post_init__(self) -> None:
        """Check every option that has a fixed set of values."""
        self.check_choices()


@dataclasses.dataclass(frozen=True)
class Config:
    """Train a Transformer and its variants with a PDE on the same batches, and compare their accuracies."""

    preset: Annotated[str, HIDDEN] = "quick"
    """Name of the preset with the defaults of the other options."""
    out: Path | None = None
    """Run folder. Default: the next free number under runs/lra/. Nothing is ever overwritten."""
    resume: bool = False
    """Continue the run in --out. Finished parts are not repeated."""
    placement: Annotated[tuple[str, ...], Choices((NONE, *PLACEMENTS))] = ("after_embedding",)
    """Places of the diffusion layer: one variant per place, in addition to the baseline; none: no such variant."""
    combine: bool = False
    """Train one variant with layers at all places and the evolved attention, instead of one variant for each."""
    stencil: StencilConfig = StencilConfig(kind="adaptive")
    """The diffusion layer of the variants."""
    attention: PDEAttentionConfig = PDEAttentionConfig()
    """The equation that evolves the attention of an additional variant, attention_KIND; none: no such variant."""
    seeds: tuple[Seed, ...] = (0,)
    """Seeds. A seed determines initial weights, batches and dropout; every variant trains with every seed."""
    steps: Count = 5000
    """Training steps (updates)."""
    batch: Count = 32
    """Examples per step, summed over all devices and hosts."""
    dtype: Literal["float32", "bfloat16"] = "float32"
    """Type of the computation; parameters, statistics and logits stay float32."""
    model: Network = Network()
    """The Transformer."""
    optimizer: train.Optimizer = train.Optimizer()
    """AdamW, its learning-rate schedule, and gradient accumulation."""
    cadence: run.LoopIntervals = run.LoopIntervals()
    """How often to log, evaluate and save."""
    source: Source = "generated"
    """generated: random sequences from the generator of the benchmark; lra_release: its published files."""
    generated: Generated = Generated()
    """The generated data set."""
    release: Release = Release()
    """The published data set. Smaller sizes take the first rows of each file, for a trial."""
    data_dir: Path = Path("data")
    """Folder of prepared data. Later runs read it again."""
    manual_dir: Path | None = None
    """For --source lra_release: the folder with basic_train.tsv, basic_val.tsv and basic_test.tsv."""
    verify: bool = False
    """Read all prepared data and compare its SHA-256, although its files have not changed since the last time."""
    profile: bool = False
    """Write a trace of five steps of every training into the run folder, for xprof."""
    mesh: Mesh = Mesh()
    """Devices of the mesh."""
    hosts: run.Hosts = run.Hosts()
    """Training on several hosts."""

    def __post_init__(self) -> None:
        """Check that the options fit together, before the program reads or generates data."""
        for name in self.placement:
            if name not in (NONE, *PLACEMENTS):
                matches = get_close_matches(name, (NONE, *PLACEMENTS), n=1)
                hint = f"did you mean {matches[0]!r}?" if matches else "choose among them."
                raise ValueError(
                    f"a placement is one of {', '.join((NONE, *PLACEMENTS))}, got {name!r}; {hint}"
                )
        if len(set(self.placement)) < len(self.placement) or (
            NONE in self.placement and len(self.placement) > 1
        ):
            raise ValueError(
                f"placements are different, and none stands alone, got {' '.join(self.placement)}; "
                f"change --placement, the baseline is always trained."
            )
        run.check_seeds(self.seeds)
        run.check_ranges(self)
        run.check_paths(self)
        run.check_resume(resume=self.resume, out=self.out)
        self._check_source()
        self.data()

    def _check_source(self) -> None:
        """Raise ValueError for options of the other source, and for sequences that do not fit the model."""
        if self.source == "lra_release" and self.manual_dir is None:
            raise ValueError(
                "source lra_release reads published files, got no manual_dir; pass --manual-dir with the folder "
                "listops-1000 of lra_release.gz, or use --source generated."
            )
        if self.source == "lra_release" and self.generated not in (Generated(), SHORT):
            raise ValueError(
                f"the published files have sizes of their own, got --source lra_release with {self.generated}; drop "
                f"the options --generated.*, or use --source generated."
            )
        if self.source == "generated" and (self.manual_dir or self.release != Release()):
            raise ValueError(
                f"--manual-dir and --release.* belong to published files, got {self.manual_dir or self.release} with "
                f"--source generated; add --source lra_release, or drop them."
            )
        longest = self.generated.max_length - 1
        if self.source == "generated" and longest > self.model.max_len:
            raise ValueError(
                f"sequences must fit max_len, got up to {longest} tokens for max_len={self.model.max_len}; raise "
                f"--model.max-len or lower --generated.max-length."
            )

    def idle_options(self) -> dict[str, run.Idle]:
        """Return the options and groups that have no effect, and why."""
        if self.placement != (NONE,):
            return {}
        idle = {"stencil": run.Idle("another --placement", f"--placement {NONE}")}
        if self.attention.kind == NONE:
            reason = run.Idle(
                "another --placement or --attention.kind", f"--placement {NONE} --attention.kind {NONE}"
            )
            idle["combine"] = reason
        return idle

    def data(self) -> listops.ListOpsConfig:
        """Return the configuration of the data set.

        Raises:
            ValueError: sizes or lengths are out of range.
        """
        return listops_config(self.source, self.generated, self.release)

    def variants(self) -> dict[str, tuple[str, ...]]:
        """Return a map from the name of every variant to its PDE components, the baseline first.

        A component is a place of the diffusion layer, or the name of the evolved attention.
        """
        components = tuple(name for name in self.placement if name != NONE)
        components += () if self.attention.kind == NONE else (self.evolved_attention,)
        variants: dict[str, tuple[str, ...]] = {BASELINE: ()}
        if self.combine and components:
            return variants | {"+".join(components): components}
        return variants | {component: (component,) for component in components}

    @property
    def evolved_attention(self) -> str:
        """The name of the evolved attention as a component: attention_diffusion, attention_wave, ..."""
        return f"attention_{self.attention.kind}"

    def network(self, components: tuple[str, ...], vocabulary: int, classes: int) -> ModelConfig:
        """Return the configuration of the model of a variant.

        Raises:
            ValueError: sizes, a stencil or an equation contradict each other.
        """
        return ModelConfig(
            vocabulary=vocabulary,
            classes=classes,
            placements=tuple(name for name in components if name != self.evolved_attention),
            stencil=self.stencil,
            attention=self.attention if self.evolved_attention in components else PDEAttentionConfig(),
            dtype=self.dtype,
            **dataclasses.asdict(self.model),
        )
