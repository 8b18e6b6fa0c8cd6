"""Options of the command line: frozen dataclasses whose field docstrings are its `--help`."""

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
ConfigName = Literal["recommended", "paper"]
MAY_CHANGE_ON_RESUME = (*run.MAY_CHANGE_ON_RESUME, "hosts", "cache")
"""Fields that may change on resume: they say where the run computes, but not what."""
RENAMED = {"asking": "capture", "kept": "cache", "normali" + "sed": "normalized"}
"""Old -> new names of options."""
FLOW_ROWS = 100  # rows that a flow needs


@dataclasses.dataclass(frozen=True)
class CaptureOptions:
    """The questions, and which states and answers of the models are captured."""

    rows: int = 1500
    """Questions of each task; a task may have fewer."""
    samples: int = 1000
    """Largest number of questions that are decomposed: the first ones that a model answers correctly."""
    only_correct: bool = True
    """Leave out the questions that a model answers wrongly. Their number differs from model to model."""
    least: int = 200
    """A task with fewer remaining questions is not decomposed, and the table says so."""
    windows: bool = True
    """Also cut Image→Question in a window about every layer, to measure the change of the answer's probability."""
    width: int | None = None
    """Layers of a window; None scales the 9 of 32 layers of Zhang et al. to the depth of the model."""
    batch: int = 16
    """Questions that run together."""
    dtype: Literal["float32", "bfloat16"] = "float32"
    """Type of the computation and of the stored states."""
    style: str = "vicuna_v1"
    """Prompt: vicuna_v1, hf_15, hf_16_vicuna or mistral, or a text with <image> and {question}."""
    suffix: str = "zhang"
    """Text that asks for a short answer: zhang, llava or none, or your own."""
    image_mode: Literal["pad", "hf_crop", "anyres"] | None = None
    """How images get the size of a tile. None does it as the original code of the model."""


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
    """Level of all intervals."""
    couplings: int = 2
    """Coupling layers of the flow (paper configuration); 0 is several times faster."""
    steps: int = SeparableFlow().steps
    """Steps of training for the flow's mixes (paper configuration)."""
    folds: int = SeparableFlow().folds
    """Parts of the samples: a flow trained on the others gives the latents of each (paper configuration)."""


@dataclasses.dataclass(frozen=True)
class Corners:
    """The corners of the toy world, where the sign of every effect is known."""

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
    """Folders of LLaVA models in the layout of Hugging Face. Trajectories of every two models are correlated."""
    data: Path | None = None
    """Folder of GQA's download (questions1.2 and images, extracted or as archives). None is the toy world."""
    npz: Path | None = None
    """Your own arrays target, x and y, (layers, n, d), in an .npz or .safetensors, instead of models."""
    config: Literal["both", "recommended", "paper"] = "both"
    """recommended: few components, copula, BROJA, corrected. paper: 95 % of the variance, one flow per pair, MMI."""
    tasks: tuple[str, ...] = tuple(TASKS)
    """Some or all of the six tasks."""
    target: Target = "last"
    """Last token's residual in the last layer, or in the same layer; the answer's row of the output map; the logits."""
    x: Group = "image"
    """Tokens whose mean is the source x."""
    y: Group = "question"
    """Tokens whose mean is the source y. `question` is the question alone, without the suffix."""
    normalized: bool = False
    """Divide each token by its root mean square before the mean over tokens."""
    aggregate: Aggregation = "final"
    """How tables make one number of all layers: the last layer, the mean or the sum."""
    out: Path | None = None
    """Run folder. Default: the next free number under runs/pid_llava/. Nothing is ever overwritten."""
    resume: bool = False
    """Go on with the run in --out."""
    cache: Path = Path("runs/pid_llava/kept")
    """Folder of captures and estimates by fingerprint. A run does not repeat what it finds here."""
    seed: int = 0
    """Seed of the questions and of all random numbers."""
    mesh: llava.MeshShape = llava.MeshShape()
    """Devices of each host that share the model."""
    hosts: run.Hosts = run.Hosts()
    """Several hosts: each captures its share of the questions and estimates its share of the tasks."""
    capture: CaptureOptions = CaptureOptions()
    """Questions and captures."""
    estimation: Estimation = Estimation()
    """Estimates."""
    corners: Corners = Corners()
    """Effects that are known beforehand, in the toy world only."""

    def __post_init__(self) -> None:
        """Raise ValueError for contradictions, before anything is captured."""
        unknown = [name for name in (*self.tasks, *self.corners.tasks) if name not in TASKS]
        if unknown or not self.tasks or len({*self.tasks}) < len(self.tasks):
            raise ValueError(
                f"tasks are different ones of {', '.join(TASKS)}, got {', '.join(unknown or self.tasks) or 'none'}; "
                f"change --tasks."
            )
        run.check_resume(resume=self.resume, out=self.out)
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
        capture, corners = self.capture, self.corners
        if capture.rows < 1 or capture.samples < capture.least:
            raise ValueError(
                f"capture.samples is at least capture.least, got {capture.samples} and {capture.least}, of "
                f"{capture.rows} rows; lower --capture.least or raise the others."
            )
        needed = 3 * self.estimation.components + 2
        if capture.least < needed:
            raise ValueError(
                f"a decomposition needs more samples than dimensions, got capture.least={capture.least} for "
                f"{self.estimation.components} components of each variable; raise --capture.least to {needed} or more."
            )
        if capture.least < FLOW_ROWS and "paper" in self.configs:
            raise ValueError(
                f"the flow of the paper configuration needs {FLOW_ROWS} samples, got capture.least={capture.least}; "
                f"raise it, or use --config recommended."
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
    def configs(self) -> tuple[ConfigName, ...]:
        """The configurations of the estimates."""
        return ("recommended", "paper") if self.config == "both" else (self.config,)
