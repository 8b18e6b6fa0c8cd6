"""What can be chosen: frozen dataclasses whose field docstrings are the command line's `--help`."""

import dataclasses
from pathlib import Path
from typing import Literal

import tyro

from experiments import run
from pid import SeparableFlow, llava
from pid.estimators.comparison import Aggregation
from pid.toyworld import TASKS

Target = Literal["last", "same_layer", "unembedding", "logits"]
Group = Literal["image", "question", "text", "last"]
Named = Literal["recommended", "paper"]
MAY_CHANGE_ON_RESUME = (*run.MAY_CHANGE_ON_RESUME, "hosts", "kept")
"""What may change when a run is resumed: where it runs, but not what is computed."""
FLOWED = 100  # rows that a flow needs


@dataclasses.dataclass(frozen=True)
class Asking:
    """What the models are asked, and what of them is captured."""

    rows: int = 1500
    """Questions of each task; a task may have fewer."""
    samples: int = 1000
    """At most so many of those that a model answers correctly are decomposed, the first ones."""
    only_correct: bool = True
    """Leave out what a model answers wrongly. How many are left differs from model to model."""
    least: int = 200
    """A task of which fewer are left is not decomposed, and the table says so."""
    windows: bool = True
    """Also cut Image→Question in a window about every layer, for the change of the answer's probability."""
    width: int | None = None
    """Layers of a window; None scales the 9 of 32 layers of Zhang et al. to the depth of the model."""
    batch: int = 16
    """Questions that run together."""
    dtype: Literal["float32", "bfloat16"] = "float32"
    """Of computation and of stored states."""
    style: str = "vicuna_v1"
    """Prompt: vicuna_v1, hf_15, hf_16_vicuna or mistral, or a text with <image> and {question}."""
    suffix: str = "zhang"
    """What asks for a short answer: zhang, llava or none, or a text."""
    image_mode: Literal["pad", "hf_crop", "anyres"] | None = None
    """How images come to the size of a tile; None as the original code of the model does."""


@dataclasses.dataclass(frozen=True)
class Estimation:
    """How samples become a decomposition."""

    components: int = 8
    """Principal components of each variable (recommended configuration)."""
    draws: int = 200
    """Bootstrap draws."""
    shuffles: int = 20
    """Shuffles of the null (recommended configuration)."""
    level: float = 0.9
    """Of all intervals."""
    couplings: int = 2
    """Coupling layers of the flow (paper configuration); 0 is several times faster."""
    steps: int = SeparableFlow().steps
    """Steps of training for the flow's mixes (paper configuration)."""
    folds: int = SeparableFlow().folds
    """Parts of the samples: each gets its latents from a flow trained on the others (paper configuration)."""


@dataclasses.dataclass(frozen=True)
class Corners:
    """The toy world's corners, where the direction of every effect is known."""

    rows: int = 600
    """Questions at each corner of each task; 0 leaves the check out."""
    tasks: tuple[str, ...] = tuple(name for name, task in TASKS.items() if task.options == 0)
    """Tasks in which the wording of two options tells nothing."""


@dataclasses.dataclass(frozen=True)
class Config:
    """How vision becomes language inside a LLaVA: every layer decomposed, with and without knockouts."""

    preset: tyro.conf.Suppress[str] = "toy"
    """Name of the preset these values began with."""
    model: tuple[Path, ...] = ()
    """Folders of LLaVA models in the layout of Hugging Face; trajectories of two are correlated."""
    data: Path | None = None
    """Folder of GQA's download (questions1.2 and images, extracted or as archives); none is the toy world."""
    npz: Path | None = None
    """Instead of models: arrays target, x and y, (layers, n, d), of your own in an .npz or .safetensors."""
    config: Literal["both", "recommended", "paper"] = "both"
    """recommended: few components, copula, BROJA, corrected. paper: 95 % of the variance, one flow per pair, MMI."""
    tasks: tuple[str, ...] = tuple(TASKS)
    """Tasks, of the six."""
    target: Target = "last"
    """Last token's residual in the last layer, or in the same layer; the answer's row of the output map; the logits."""
    x: Group = "image"
    """Tokens whose mean is the source x."""
    y: Group = "question"
    """Tokens whose mean is the source y; question is the question alone, without the suffix."""
    normalised: bool = False
    """Mean over tokens of which each is divided by its root mean square, instead of the plain mean."""
    aggregate: Aggregation = "final"
    """What one number for all layers is: that of the last layer, the mean or the sum. Tables say which."""
    out: Path | None = None
    """Run folder. Default: the next free number under runs/pid_llava/. Nothing is ever overwritten."""
    resume: bool = False
    """Go on with the run in --out."""
    kept: Path = Path("runs/pid_llava/kept")
    """Captures and estimates by fingerprint: whatever a run finds here it does not do again."""
    seed: int = 0
    """Of questions and of everything random."""
    mesh: llava.MeshShape = llava.MeshShape()
    """Devices of each host that share the model."""
    hosts: run.Hosts = run.Hosts()
    """Several hosts: each captures its share of the questions and estimates its share of the tasks."""
    asking: Asking = Asking()
    """Questions and captures."""
    estimation: Estimation = Estimation()
    """Estimates."""
    corners: Corners = Corners()
    """What is known beforehand; in the toy world alone."""

    def __post_init__(self) -> None:
        """Refuse contradictions before anything is captured."""
        unknown = [name for name in (*self.tasks, *self.corners.tasks) if name not in TASKS]
        if unknown or not self.tasks or len({*self.tasks}) < len(self.tasks):
            raise ValueError(
                f"tasks are different ones of {', '.join(TASKS)}, got {', '.join(unknown or self.tasks) or 'none'}; "
                f"change --tasks."
            )
        if self.resume and self.out is None:
            raise ValueError("--resume goes on with a run, got no --out; pass its folder as --out.")
        if self.npz is not None and self.data is not None:
            raise ValueError(
                f"--npz takes the place of models and data, got --data {self.data} too; drop one of them."
            )
        if self.x == self.y:
            raise ValueError(f"the sources are two groups of tokens, got {self.x} twice; change --x or --y.")
        names = [path.name for path in self.model]
        if len({*names}) < len(names):
            raise ValueError(
                f"models go by the names of their folders, got {', '.join(names)}; rename one, or link to it."
            )
        self._check_sizes()

    def _check_sizes(self) -> None:
        asking, corners = self.asking, self.corners
        if asking.rows < 1 or asking.samples < asking.least:
            raise ValueError(
                f"asking.samples is at least asking.least, got {asking.samples} and {asking.least}, of "
                f"{asking.rows} rows; lower --asking.least or raise the others."
            )
        needed = 3 * self.estimation.components + 2
        if asking.least < needed:
            raise ValueError(
                f"a decomposition needs more samples than dimensions, got asking.least={asking.least} for "
                f"{self.estimation.components} components of each variable; raise --asking.least to {needed} or more."
            )
        if asking.least < FLOWED and "paper" in self.configs:
            raise ValueError(
                f"the flow of the paper configuration needs {FLOWED} samples, got asking.least={asking.least}; raise "
                f"it, or use --config recommended."
            )
        if corners.rows and corners.rows < needed:
            raise ValueError(
                f"a corner needs {needed} rows or none, got {corners.rows}; raise --corners.rows."
            )
        options = [name for name in corners.tasks if TASKS[name].options]
        if options:
            raise ValueError(
                f"at a corner the wording of two options tells nothing, got {', '.join(options)}; change "
                f"--corners.tasks."
            )

    @property
    def configs(self) -> tuple[Named, ...]:
        """The configurations that are run."""
        return ("recommended", "paper") if self.config == "both" else (self.config,)
