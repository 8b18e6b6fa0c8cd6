"""Options of the command line: frozen dataclasses. Their docstrings are the text of `--help`."""

import dataclasses
from pathlib import Path
from typing import Annotated, Literal

from experiments import run
from pid import SeparableFlow, llava
from pid.estimators.comparison import Aggregation
from pid.interface.command_options import HIDDEN, Choices
from pid.interface.ranges import Count, Level, Natural, Range, Seed
from pid.llava.preprocessing.prompts import AUTO, IMAGE, style_text, suffix_text
from pid.toyworld import TASKS

Target = Literal["last", "same_layer", "unembedding", "logits"]
Group = Literal["image", "question", "text", "last"]
ConfigName = Literal["recommended", "paper"]
MAY_CHANGE_ON_RESUME = (*run.MAY_CHANGE_ON_RESUME, "hosts", "cache")
"""Fields that may change on resume: they determine where the run computes, but not its results."""
RENAMED = {"asking": "capture", "kept": "cache", "normali" + "sed": "normalized"}
"""Old -> new names of options."""
USED_BY: dict[ConfigName, tuple[str, ...]] = {
    "recommended": ("components", "shuffles"),
    "paper": ("couplings", "steps", "folds"),
}
"""Configuration -> the options of an estimate that only it uses."""
FLOW_ROWS = 100  # rows that a flow needs
MIN_PRODUCT_ROWS = 100  # rows that predictions of two answers need


@dataclasses.dataclass(frozen=True)
class CaptureOptions:
    """The questions, and which states and answers of the models are captured."""

    rows: Count = 1500
    """Number of questions of each task; a task may have fewer."""
    samples: Count = 1000
    """Largest number of questions to decompose: the first that the model answers correctly."""
    only_correct: bool = True
    """Leave out the questions that the model answers wrongly. Their number differs between models."""
    least: Count = 200
    """Smallest number of questions to decompose. A task with fewer remaining questions is only listed in the table."""
    windows: bool = True
    """Also knock out Image→Question in a window around every layer, and measure the answer's probability."""
    width: Count | None = None
    """Layers of a window. Default: the 9 of 32 layers of Zhang et al., scaled to the depth of the model."""
    batch: Count = 16
    """Batch size in questions."""
    dtype: Literal["float32", "bfloat16"] = "float32"
    """Dtype of the computation and of the stored states."""
    style: str = "auto"
    """Prompt style. auto is that of each model, by its chat template, tokenizer or language model. Else vicuna_v1,
    hf_15, hf_16_vicuna, mistral, llama_3 or chatml, if it is one of the model; or a text with <image> and {question},
    which is used as it is."""
    suffix: str = "zhang"
    """Text after the question that asks for a short answer: zhang, llava or none, or your own text."""
    image_mode: Literal["pad", "hf_crop", "anyres"] | None = None
    """How an image is brought to the size of a tile. Default: as in the original code of the model."""


@dataclasses.dataclass(frozen=True)
class Estimation:
    """Sizes of the estimates."""

    components: Count = 8
    """Number of principal components of a wide target (recommended configuration), and of each variable in the
    known effects."""
    draws: Annotated[int, Range(2)] = 200
    """Number of bootstrap draws."""
    shuffles: Annotated[int, Range(2)] = 99
    """Number of permutations for the null distribution (recommended configuration)."""
    level: Level = 0.9
    """Confidence level of all intervals."""
    couplings: Natural = 2
    """Coupling layers of the flow (paper configuration). 0 is several times faster."""
    steps: Count = SeparableFlow().steps
    """Training steps of the flow (paper configuration)."""
    folds: Annotated[int, Range(2)] = SeparableFlow().folds
    """Folds of cross-fitting: a flow trained on the other folds computes the latents of each (paper configuration)."""


@dataclasses.dataclass(frozen=True)
class Corners:
    """The corners of the toy world: leak rates of 0 or 1, at which one atom has all information."""

    rows: Natural = 600
    """Number of questions at each corner of each task. 0 skips the corners."""
    product_rows: Natural = 4000
    """Number of questions at the corner where both sources are needed, for predictions of the answer by products of
    the two. 0 skips these."""
    tasks: Annotated[tuple[str, ...], Choices(tuple(TASKS))] = tuple(
        name for name, task in TASKS.items() if task.options == 0
    )
    """Tasks at the corners. Their options must not narrow down the answer."""


@dataclasses.dataclass(frozen=True)
class Config:
    """Decompose the information in every layer of a LLaVA, with and without knockouts."""

    preset: Annotated[str, HIDDEN] = "toy"
    """Name of the preset."""
    model: tuple[Path, ...] = ()
    """LLaVA models, as Hugging Face folders. The program correlates the trajectories of every two models."""
    data: Path | None = None
    """Folder of GQA's download (questions1.2 and images, extracted or as archives). Default: the toy world."""
    npz: Path | None = None
    """File (.npz, .safetensors) with your own arrays target, x and y, (layers, n, d), instead of models."""
    config: Literal["both", "recommended", "paper"] = "both"
    """recommended: the defaults of pid.estimate. paper: 95 % of variance, one flow per pair, MMI."""
    tasks: Annotated[tuple[str, ...], Choices(tuple(TASKS))] = tuple(TASKS)
    """Tasks to run, some or all of the six."""
    target: Target = "last"
    """Residual of the last token in the last or the same layer, the answer's row of the output map, or the logits."""
    x: Group = "image"
    """Token group whose mean state is the source x."""
    y: Group = "question"
    """Token group whose mean state is the source y. `question` excludes the answer suffix."""
    normalized: bool = False
    """Divide each token by its root mean square before the mean over tokens."""
    aggregate: Aggregation = "final"
    """How tables aggregate the layers: the last layer, the mean or the sum."""
    out: Path | None = None
    """Run folder. Default: the next free number under runs/pid_llava/. Nothing is ever overwritten."""
    resume: bool = False
    """Continue the run in --out. Finished parts are not repeated."""
    cache: Path = Path("runs/pid_llava/kept")
    """Folder with cached captures and estimates. Later runs reuse them."""
    seed: Seed = 0
    """Seed of the questions and of all random numbers."""
    mesh: llava.MeshShape = llava.MeshShape()
    """Devices that share the model: some of each host, or all of all hosts."""
    hosts: run.Hosts = run.Hosts()
    """Several hosts. Each estimates its share of the tasks, and captures its share of the questions, or all of them
    with the others if the mesh has the devices of all."""
    capture: CaptureOptions = CaptureOptions()
    """The questions, and the states and answers to capture."""
    estimation: Estimation = Estimation()
    """Sizes of the estimates."""
    corners: Corners = Corners()
    """The corners of the toy world: leak rates of 0 or 1, at which one atom has all information."""

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
                f"models have the names of their folders, got {', '.join(names)}; rename one, or link to it."
            )
        run.check_ranges(self)
        run.check_paths(self)
        if self.capture.style != AUTO and IMAGE not in style_text(self.capture.style):
            raise ValueError(
                f"every question has an image, got the prompt style {self.capture.style!r} without {IMAGE}; add it to "
                f"--capture.style."
            )
        suffix_text(self.capture.suffix)
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
        if self.npz is None and "paper" in self.configs and self.estimation.folds > capture.least:
            raise ValueError(
                f"every fold has a sample, got estimation.folds={self.estimation.folds} for "
                f"capture.least={capture.least}; lower --estimation.folds."
            )
        if corners.rows and corners.rows < needed:
            raise ValueError(
                f"a corner needs {needed} rows or none, got {corners.rows}; raise --corners.rows."
            )
        if 0 < corners.product_rows < MIN_PRODUCT_ROWS:
            raise ValueError(
                f"predictions of an answer need {MIN_PRODUCT_ROWS} rows or none, got {corners.product_rows}; raise "
                f"--corners.product-rows."
            )
        if len({*corners.tasks}) < len(corners.tasks):
            raise ValueError(
                f"tasks at the corners are different, got {', '.join(corners.tasks)}; change --corners.tasks."
            )
        options = [name for name in corners.tasks if TASKS[name].options]
        if options:
            raise ValueError(
                f"at a corner the wording of the options tells nothing, got {', '.join(options)}; change "
                f"--corners.tasks."
            )

    def idle_options(self) -> dict[str, run.Idle]:
        """Return the options and groups that have no effect, and why."""
        idle = {}
        if self.npz is not None:
            names = (
                "model",
                "tasks",
                "target",
                "x",
                "y",
                "normalized",
                "cache",
                "mesh",
                "capture",
                "corners",
            )
            idle |= dict.fromkeys(names, run.Idle("models", "--npz"))
        if self.data is not None:
            idle["corners"] = run.Idle("the toy world", "--data")
        if not self.corners.rows:
            idle |= dict.fromkeys(("corners.tasks", "corners.product_rows"), run.Idle("--corners.rows", "0"))
        if not self.capture.windows:
            idle["capture.width"] = run.Idle("--capture.windows", "--capture.windows false")
        for config, names in USED_BY.items():
            if config not in self.configs:
                reason = run.Idle(f"--config {config}", f"--config {self.config}")
                idle |= {f"estimation.{name}": reason for name in names}
        if self.corners.rows and "corners" not in idle:
            idle.pop("estimation.components", None)  # the estimates of the corners are the recommended ones
        return idle

    @property
    def configs(self) -> tuple[ConfigName, ...]:
        """The configurations of the estimates."""
        return ("recommended", "paper") if self.config == "both" else (self.config,)
