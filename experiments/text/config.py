"""Options of the program: frozen dataclasses whose field docstrings are the text of `--help`."""

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Literal, get_args

from experiments import run
from experiments.data.text.corpora import TokenText
from experiments.lra import Mesh
from experiments.text.text_tasks import PUBLISHED, TASKS, text_of
from pdeformer import cta, train
from pdeformer.attention.options import Target
from pdeformer.layers import PDEAttentionConfig, StencilConfig
from pdeformer.model import PLACEMENTS, Architecture
from pid.interface.command_options import HIDDEN, NONE, Choices
from pid.interface.ranges import Count, Natural, Seed

MAY_CHANGE_ON_RESUME = (*run.MAY_CHANGE_ON_RESUME, "hosts", "data_dir", "manual_dir", "verify")
"""Fields that may change on resume: devices and data folders, but nothing that changes results beyond rounding."""
EQUATIONS = cta.KINDS
"""Equations of the evolved attention, and of the official layer."""
TARGETS: tuple[Target, ...] = get_args(Target)
"""What an equation of the evolved attention acts on."""


@dataclasses.dataclass(frozen=True)
class Official:
    """The official models, which have the formulas of the published code."""

    kinds: Annotated[tuple[str, ...], Choices((NONE, *cta.KINDS))] = ("diffusion",)
    """Equations of their hidden states: one variant each, beside the official baseline; none: no official model."""
    steps: Count = 1
    """Explicit steps after every layer, each with coefficients of its own, which nothing bounds."""
    layers: Count = 2
    """Encoder layers."""
    width: Count = 128
    """Channels."""
    heads: Count = 4
    """Attention heads."""
    ffn: Count = 256
    """Hidden width of the feed-forward sublayer."""
    dropout: float = 0.1
    """Dropout rate, at the five places of the published code."""
    identical_layers: bool = True
    """Start all layers of the baseline with the same weights, as in the published code, whose PDE models do not."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class TextNetwork(Architecture):
    """The corrected Transformer: the fields of `ModelConfig` that the data, the variant and --dtype do not set."""

    max_len: int = 2048
    """Longest row in tokens that the model allows."""

    def __post_init__(self) -> None:
        """Check every option that has a fixed set of values."""
        self.check_choices()


@dataclasses.dataclass(frozen=True)
class TextOptions:
    """What all tasks of a run share of their data."""

    source: Literal["tfds", "huggingface", "original"] = "tfds"
    """Source of published texts: TFDS, Parquet files of Hugging Face in --manual-dir, or the archive of IMDb there."""
    tokenizer: Literal["trained", "published"] = "trained"
    """Word pieces. trained: of the training split; published: tokenizer.json or vocab.txt in --manual-dir."""
    vocabulary: Count = 8000
    """Largest number of trained word pieces."""
    protocol: Literal["held_out", "official_protocol"] = "held_out"
    """Published texts. held_out validates on a tenth of the training texts; official_protocol is that of the published
    code, which validates on the test texts, so that its best score is a best score on test."""
    max_len: Count | None = None
    """Tokens of a row. Default: the length of the task."""
    train: Count | None = None
    """Training texts, the first of their split. Default: all."""
    val: Count | None = None
    """Validation texts. Default: all."""
    test: Count | None = None
    """Test texts. Default: all."""
    seed: Seed = 0
    """Seed of the order before a split."""


@dataclasses.dataclass(frozen=True)
class Config:
    """Train official and corrected classifiers of texts on the same batches, and compare their accuracies."""

    preset: Annotated[str, HIDDEN] = "quick"
    """Name of the preset with the defaults of the other options."""
    out: Path | None = None
    """Run folder. Default: the next free number under runs/text/. Nothing is ever overwritten."""
    resume: bool = False
    """Continue the run in --out. Finished parts are not repeated."""
    corpora: Annotated[tuple[str, ...], Choices(tuple(TASKS))] = ("documentation",)
    """Texts to classify, each with every variant and seed."""
    evaluate: Path | None = None
    """Checkpoint of the official code to evaluate on the test texts, in place of training: a state dict as .pt, .pth,
    .safetensors or .npz, of the equation --official.kinds; none is the official baseline."""
    official: Official = Official()
    """The official models."""
    equations: Annotated[tuple[str, ...], Choices((NONE, *EQUATIONS))] = ("diffusion",)
    """Equations that evolve the attention of the corrected Transformer: one variant for each of them and each of
    --targets; none: no such variant."""
    targets: Annotated[tuple[str, ...], Choices(TARGETS)] = ("weights",)
    """What the equations act on: attention weights or logits."""
    attention_steps: Natural = 4
    """Steps of the equations."""
    placement: Annotated[tuple[str, ...], Choices((NONE, *PLACEMENTS))] = ("between_layers",)
    """Places of a layer on the hidden states of the corrected Transformer: one variant each; none: no such variant."""
    stencil: StencilConfig = StencilConfig(kind="heat", alpha=0.1, learned=True)
    """The layer on hidden states, which is stable for all weights."""
    seeds: tuple[Seed, ...] = (0,)
    """Seeds. A seed determines initial weights, batches and dropout; every variant trains with every seed."""
    steps: Count = 1950
    """Training steps (updates)."""
    batch: Count = 64
    """Examples per step, summed over all devices and hosts."""
    model: TextNetwork = TextNetwork()
    """The corrected Transformer."""
    optimizer: train.Optimizer = train.Optimizer()
    """AdamW and its learning-rate schedule. --optimizer.decay is that of the official models; in the corrected ones
    only kernels and embeddings decay."""
    cadence: run.LoopIntervals = run.LoopIntervals()
    """How often to log, evaluate and save."""
    text: TextOptions = TextOptions()
    """The data of all tasks."""
    dtype: Literal["float32", "bfloat16"] = "float32"
    """Type of the computation of corrected models; the official ones compute in float32."""
    data_dir: Path = Path("data")
    """Folder of prepared data. Later runs read it again."""
    manual_dir: Path | None = None
    """Folder of published files: of TFDS, of Hugging Face, of a package, and of a tokenizer."""
    verify: bool = False
    """Read all prepared data and compare its SHA-256, although its files have not changed since the last time."""
    mesh: Mesh = Mesh()
    """Devices of the mesh."""
    hosts: run.Hosts = run.Hosts()
    """Training on several hosts."""
    profile: bool = False
    """Write a trace of five steps of every training into the run folder, for xprof."""

    def __post_init__(self) -> None:
        """Check that the options fit together, before the program reads or generates data."""
        run.check_seeds(self.seeds)
        run.check_ranges(self)
        run.check_paths(self)
        run.check_resume(resume=self.resume, out=self.out)
        run.check_names("corpora", self.corpora, TASKS)
        run.check_names("official.kinds", self.official.kinds, (NONE, *cta.KINDS))
        run.check_names("equations", self.equations, (NONE, *EQUATIONS))
        run.check_names("targets", self.targets, TARGETS)
        run.check_names("placement", self.placement, (NONE, *PLACEMENTS))
        self._check_official()
        longest = max(data.max_len for data in self.data().values())
        if longest > self.model.max_len:
            raise ValueError(
                f"rows must fit max_len, got rows of {longest} tokens for max_len={self.model.max_len}; raise "
                f"--model.max-len or lower --text.max-len."
            )

    def _check_official(self) -> None:
        """Raise ValueError unless the options of the official models fit together."""
        official = self.official
        if not 0 <= official.dropout < 1:
            raise ValueError(
                f"dropout is a rate in [0, 1), got {official.dropout}; change --official.dropout, 0 switches it off."
            )
        if official.width % official.heads:
            raise ValueError(
                f"heads must divide the width, got heads={official.heads} and width={official.width}; change "
                f"--official.heads or --official.width."
            )
        if self.evaluate is not None:
            self._check_evaluation()
        elif not self.has_official and not self.has_corrected:
            raise ValueError(
                "a run needs a variant, got none of --official.kinds, --equations and --placement; change one of them."
            )
        elif self.has_official and (self.dtype, self.mesh.model, self.mesh.seq) != ("float32", 1, 1):
            raise ValueError(
                f"the official models compute in float32 and split neither weights nor rows, got dtype={self.dtype}, "
                f"mesh.model={self.mesh.model} and mesh.seq={self.mesh.seq}; drop them, or use --official.kinds {NONE}."
            )

    def _check_evaluation(self) -> None:
        """Raise ValueError unless the options say what to evaluate."""
        if len(self.official.kinds) > 1:
            raise ValueError(
                f"a checkpoint has one equation, got {' '.join(self.official.kinds)}; name its own with "
                f"--official.kinds, {NONE} is the official baseline."
            )
        if len(self.corpora) > 1:
            raise ValueError(
                f"a checkpoint is evaluated on one corpus, got {' '.join(self.corpora)}; change --corpora."
            )
        characters = [task for task in self.corpora if TASKS[task].characters]
        if self.text.tokenizer != "published" or characters:
            tokens = f"the characters of {characters[0]}" if characters else "trained word pieces"
            raise ValueError(
                f"ids must be those of the training of the checkpoint, which does not hold its vocabulary, got "
                f"{tokens}; put its tokenizer.json or vocab.txt into --manual-dir, and use --text.tokenizer published."
            )

    @property
    def has_official(self) -> bool:
        """Whether official models are trained."""
        return self.official.kinds != (NONE,)

    @property
    def has_corrected(self) -> bool:
        """Whether corrected models are trained."""
        return self.equations != (NONE,) or self.placement != (NONE,)

    def data(self) -> dict[str, TokenText]:
        """Return the configuration of the data of every task.

        Raises:
            ValueError: sizes or sources are out of range.
        """
        options = dataclasses.asdict(self.text)
        return {task: text_of(task, **options) for task in self.corpora}

    def attention(self, equation: str, target: str) -> PDEAttentionConfig:
        """Return the options of an evolved attention.

        Raises:
            ValueError: the target has no such equation.
        """
        more: Mapping[str, str] = {}
        if (equation, target) == ("reaction-diffusion", "logits"):
            more = {"reaction": "allen_cahn"}  # logits may be negative
        return PDEAttentionConfig(equation, steps=self.attention_steps, target=target, **more)  # type: ignore[arg-type]  check_names has seen both

    def idle_options(self) -> dict[str, run.Idle]:
        """Return the options and groups that have no effect, and why."""
        if self.evaluate is not None:
            names = (
                "equations",
                "targets",
                "attention-steps",
                "placement",
                "stencil",
                "seeds",
                "steps",
                "model",
            )
            names += (
                "optimizer",
                "cadence",
                "profile",
                "dtype",
                "official.steps",
                "official.layers",
                "official.width",
            )
            names += ("official.ffn", "official.dropout", "official.identical-layers")
            return {name: run.Idle("a training", "--evaluate") for name in names}
        idle: dict[str, run.Idle] = {}
        if self.equations == (NONE,):
            reason = run.Idle("another --equations", f"--equations {NONE}")
            idle |= {"targets": reason, "attention-steps": reason}
        if self.placement == (NONE,):
            idle["stencil"] = run.Idle("another --placement", f"--placement {NONE}")
        if not self.has_corrected:
            idle["model"] = run.Idle(
                "another --equations or --placement", f"--equations {NONE} --placement {NONE}"
            )
            idle["dtype"] = idle["model"]
        if not self.has_official:
            reason = run.Idle("another --official.kinds", f"--official.kinds {NONE}")
            idle |= {
                f"official.{field.name.replace('_', '-')}": reason
                for field in dataclasses.fields(Official)[1:]
            }
            idle["optimizer.decay"] = reason
        if not set(self.corpora) & set(PUBLISHED):
            reason = run.Idle(f"--corpora {' or '.join(PUBLISHED)}", f"--corpora {' '.join(self.corpora)}")
            idle |= {"text.source": reason, "text.protocol": reason}
        return idle
