"""Options of the program: frozen dataclasses whose field docstrings are the text of `--help`."""

import dataclasses
from pathlib import Path
from typing import Annotated, Literal

from experiments import run
from experiments.data import data_catalog
from experiments.data.image import ImageConfig
from experiments.data.listops.listops_options import Generated, Release, Source, listops_config
from experiments.data.listops.listops_splits import ListOpsData
from experiments.data.pathfinder import PathfinderConfig
from experiments.data.recall import RecallConfig
from experiments.data.retrieval import RetrievalConfig
from experiments.data.text import TextConfig
from experiments.lra.benchmark_tasks import GROUPS, LISTOPS_OPTIONS, TASKS
from experiments.lra.controls import CONTROLS, WINDOW, apply, check_controls, control_of
from pdeformer import train
from pdeformer.layers import PDEAttentionConfig, StencilConfig
from pdeformer.model import PLACEMENTS, Architecture, ModelConfig
from pid.interface.command_options import HIDDEN, MAY_BE_EMPTY, NONE, Choices
from pid.interface.ranges import Count, Natural, Seed

MAY_CHANGE_ON_RESUME = (*run.MAY_CHANGE_ON_RESUME, "hosts", "data_dir", "manual_dir", "verify", "device_data")
"""Fields that may change on resume: devices and data folders, but nothing that changes results beyond rounding."""

RENAMED = {"together": "combine"}
"""Map from old to new names of options, for one release."""
BASELINE = "baseline"
"""Name of the variant without a PDE."""


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
class SharedOptions:
    """Options of the run of one task that a suite of tasks has too."""

    preset: Annotated[str, HIDDEN] = "quick"
    """Name of the preset with the defaults of the other options."""
    out: Path | None = None
    """Run folder. Default: the next free number under runs/lra/. Nothing is ever overwritten."""
    resume: bool = False
    """Continue the run in --out. Finished parts are not repeated."""
    placement: Annotated[tuple[str, ...], Choices((NONE, *PLACEMENTS))] = ("after_embedding",)
    """Places of the diffusion layer: one variant per place, in addition to the baseline; none: no such variant."""
    stencil: StencilConfig = StencilConfig(kind="adaptive")
    """The diffusion layer of the variants."""
    attention: PDEAttentionConfig = PDEAttentionConfig()
    """The equation that evolves the attention of an additional variant, attention_KIND; none: no such variant."""
    controls: Annotated[tuple[str, ...], Choices(tuple(CONTROLS)), MAY_BE_EMPTY] = ()
    """Controls: one more variant each, without a PDE. convolution, canon and shift stand at the first place of
    --placement, or after_embedding; the others replace the positions or the attention."""
    windows: Annotated[tuple[Natural, ...], MAY_BE_EMPTY] = ()
    """Locality probe: one more variant for each number, whose tokens attend to so many tokens on either side."""
    seeds: tuple[Seed, ...] = (0,)
    """Seeds. A seed determines initial weights, batches and dropout; every variant trains with every seed."""
    dtype: Literal["float32", "bfloat16"] = "float32"
    """Type of the computation; parameters, statistics and logits stay float32."""
    device_data: bool = False
    """Keep the training data in device memory, and run the steps between two pauses as one program."""
    data_dir: Path = Path("data")
    """Folder of prepared data. Later runs read it again."""
    manual_dir: Path | None = None
    """Folder of published files, such as the unpacked lra_release.gz, for sources that read them."""
    verify: bool = False
    """Read all prepared data and compare its SHA-256, although its files have not changed since the last time."""
    mesh: Mesh = Mesh()
    """Devices of the mesh."""
    hosts: run.Hosts = run.Hosts()
    """Training on several hosts."""


@dataclasses.dataclass(frozen=True)
class Config(SharedOptions):
    """Train a Transformer and its variants with a PDE on the same batches, and compare their accuracies."""

    task: Annotated[str, HIDDEN] = "listops"
    """Name of the task, see `TASKS`."""
    combine: bool = False
    """Train one variant with layers at all places and the evolved attention, instead of one variant for each."""
    steps: Count = 5000
    """Training steps (updates)."""
    batch: Count = 32
    """Examples per step, summed over all devices and hosts."""
    model: Network = Network()
    """The Transformer."""
    optimizer: train.Optimizer = train.Optimizer()
    """AdamW, its learning-rate schedule, and gradient accumulation."""
    cadence: run.LoopIntervals = run.LoopIntervals()
    """How often to log, evaluate and save."""
    source: Source = "generated"
    """ListOps. generated: random sequences from the generator of the benchmark; lra_release: its published files."""
    generated: Generated = Generated()
    """The generated ListOps data set."""
    release: Release = Release()
    """The published ListOps data set. Smaller sizes take the first rows of each file, for a trial."""
    text: TextConfig = TextConfig()
    """The data set of the text task."""
    retrieval: RetrievalConfig = RetrievalConfig()
    """The data set of the retrieval task."""
    image: ImageConfig = ImageConfig()
    """The data set of the image task."""
    pathfinder: PathfinderConfig = PathfinderConfig()
    """The data set of Pathfinder and Path-X."""
    recall: RecallConfig = RecallConfig()
    """The data set of the recall tasks."""
    profile: bool = False
    """Write a trace of five steps of every training into the run folder, for xprof."""

    def __post_init__(self) -> None:
        """Check that the options fit together, before the program reads or generates data."""
        run.check_names("placement", self.placement, (NONE, *PLACEMENTS), may_be_empty=True)
        check_controls(self.controls, self.windows)
        run.check_seeds(self.seeds)
        run.check_ranges(self)
        run.check_paths(self)
        run.check_resume(resume=self.resume, out=self.out)
        if self.task == "listops":
            self._check_listops()
        group, longest = TASKS[self.task].group, self.data().max_len
        if longest > self.model.max_len:
            other = {"image": "", "pathfinder": " or lower --pathfinder.size"}
            remedy = other.get(group, f" or lower --{group}.max-len")
            raise ValueError(
                f"sequences must fit max_len, got rows of {longest} tokens for max_len={self.model.max_len}; raise "
                f"--model.max-len" + remedy + "."
            )
        if group == "recall" and self.recall.task != self.task.replace("-", "_"):
            raise ValueError(
                f"the task {self.task} has its own rows, got --recall.task {self.recall.task}; drop it, or use the "
                f"preset {self.recall.task.replace('_', '-')}-quick."
            )

    def _check_listops(self) -> None:
        """Raise ValueError for options of the other source of ListOps, and for sequences that do not fit the model."""
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
        present = f"the task {self.task}"
        own = LISTOPS_OPTIONS if self.task == "listops" else (TASKS[self.task].group,)
        idle = {
            name: run.Idle(f"a preset of {' or '.join(_tasks_with(name))}", present)
            for name in (*LISTOPS_OPTIONS, *GROUPS)
            if name not in own
        }
        if self.task != "listops" and self.data().source == "generated":
            present = f"--{TASKS[self.task].group}.source generated"
            idle["manual-dir"] = run.Idle("a source that reads files", present)
        if self.placement != (NONE,):
            return idle
        if not any(CONTROLS[name].reads_stencil for name in self.controls):
            idle["stencil"] = run.Idle("another --placement", f"--placement {NONE}")
        if self.attention.kind == NONE:
            reason = run.Idle(
                "another --placement or --attention.kind", f"--placement {NONE} --attention.kind {NONE}"
            )
            idle["combine"] = reason
        return idle

    def data(self) -> data_catalog.DataConfig:
        """Return the configuration of the data set.

        Raises:
            ValueError: sizes or lengths are out of range.
        """
        if self.task == "listops":
            config = listops_config(self.source, self.generated, self.release)
            return ListOpsData(config, self.model.max_len)
        return getattr(self, TASKS[self.task].group)

    def variants(self) -> dict[str, tuple[str, ...]]:
        """Return a map from the name of every variant to its PDE components, the baseline first.

        A component is a place of the diffusion layer, the name of the evolved attention, or that of a control.
        """
        controls = {name: (name,) for name in (*self.controls, *(f"{WINDOW}{n}" for n in self.windows))}
        components = tuple(name for name in self.placement if name != NONE)
        components += () if self.attention.kind == NONE else (self.evolved_attention,)
        variants: dict[str, tuple[str, ...]] = {BASELINE: ()}
        if self.combine and components:
            return variants | {"+".join(components): components} | controls
        return variants | {component: (component,) for component in components} | controls

    @property
    def control_place(self) -> str:
        """The place of a control that is a layer."""
        return PLACEMENTS[0] if self.placement == (NONE,) else self.placement[0]

    @property
    def evolved_attention(self) -> str:
        """The name of the evolved attention as a component: attention_diffusion, attention_wave, ..."""
        return f"attention_{self.attention.kind}"

    def network(self, components: tuple[str, ...], vocabulary: int, classes: int) -> ModelConfig:
        """Return the configuration of the model of a variant.

        Raises:
            ValueError: sizes, a stencil or an equation contradict each other.
        """
        fields = dataclasses.asdict(self.model) | {
            "vocabulary": vocabulary,
            "classes": classes,
            "placements": tuple(name for name in components if name in PLACEMENTS),
            "stencil": self.stencil,
            "attention": self.attention if self.evolved_attention in components else PDEAttentionConfig(),
            "dtype": self.dtype,
        }
        for control in filter(None, map(control_of, components)):
            fields = apply(control, fields, self.control_place)
        return ModelConfig(**fields)


def _tasks_with(name: str) -> list[str]:
    """Return the tasks that an option or group of options of the data belongs to."""
    if name in LISTOPS_OPTIONS:
        return ["listops"]
    return [task for task, values in TASKS.items() if values.group == name]
