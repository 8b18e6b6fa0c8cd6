"""Options of the program: frozen dataclasses whose field docstrings are the text of `--help`."""

import dataclasses
from pathlib import Path
from typing import Annotated, Any, Literal

from experiments import run
from experiments.data.language_modeling import CorpusConfig
from experiments.lra.config import Mesh
from experiments.lra.controls import CONTROLS, WINDOW, apply, check_controls, control_of
from pdeformer import train
from pdeformer.layers import PDEAttentionConfig, StencilConfig
from pdeformer.layers.attention import Share
from pdeformer.model import PLACEMENTS, Architecture, ModelConfig
from pid.interface.command_options import HIDDEN, MAY_BE_EMPTY, NONE, Choices
from pid.interface.ranges import Count, Natural, Range, Seed

MAY_CHANGE_ON_RESUME = (*run.MAY_CHANGE_ON_RESUME, "hosts", "data_dir", "manual_dir", "verify")
"""Fields that may change on resume: devices and data folders, but nothing that changes results beyond rounding."""
EQUATIONS = ("diffusion", "wave", "reaction-diffusion", "advection-diffusion")
"""Equations that evolve causal attention."""
Equation = Literal["diffusion", "wave", "reaction-diffusion", "advection-diffusion"]
Part = Annotated[float, Range(0, 1, without_low=True)]
"""A share of the training text."""
BASELINE = "baseline"
"""Name of the variant without a PDE."""
ATTENTION = "attention_"
"""Start of the name of a variant with evolved attention, as in attention_diffusion_4."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Network(Architecture):
    """The Transformer: the fields of `ModelConfig` that the text, the variant and --dtype do not set."""

    max_len: Annotated[int, HIDDEN] = 512
    """Longest sequence in tokens; --lengths sets it."""
    classifier_width: Annotated[int | None, HIDDEN] = None
    """A language model has no classifier."""
    pooling: Annotated[str, HIDDEN] = "mean"
    """A language model has no pooling."""

    def __post_init__(self) -> None:
        """Check every option that has a fixed set of values."""
        self.check_choices()


@dataclasses.dataclass(frozen=True)
class Evolution:
    """Options of evolved attention, besides its equation and its steps."""

    alpha: Annotated[float | None, Range(0, 0.5)] = None
    """Initial diffusivity, up to 1/2, of the equations that have one. Default: 0.10."""
    share: Share = "head"
    """head: one coefficient for each head; layer: one for all heads; step: one for each step and head."""
    learned: bool = True
    """Learn the coefficients; otherwise they keep their initial values."""


@dataclasses.dataclass(frozen=True)
class Padding:
    """The models of --official-padding: the official ones, on lines that are padded, with PAD in the loss."""

    steps: Count = 400
    """Training steps."""
    batch: Count = 16
    """Lines of a training step."""
    lines: Count = 20_000
    """Training lines, the first ones of the text."""
    test_lines: Count = 500
    """Test lines."""
    peak_rate: Annotated[float, Range(0, 1, without_low=True)] = 1e-3
    """Peak learning rate, with the warm-up and the constant rate of the official code; 1e-4 there."""
    pde_steps: Count = 1
    """Official steps of diffusion after every encoder layer."""


@dataclasses.dataclass(frozen=True)
class Config:
    """Train causal language models with and without a PDE on the same blocks of text, and compare what they pay."""

    preset: Annotated[str, HIDDEN] = "quick"
    """Name of the preset with the defaults of the other options."""
    out: Path | None = None
    """Run folder. Default: the next free number under runs/lm/. Nothing is ever overwritten."""
    resume: bool = False
    """Continue the run in --out. Finished parts are not repeated."""
    text: CorpusConfig = CorpusConfig()
    """The text, and what is predicted: bytes, words, or pieces of words."""
    lengths: tuple[Count, ...] = (128,)
    """Lengths T of the blocks, which are the context; every variant is trained at every length."""
    shares: tuple[Part, ...] = (1.0,)
    """Shares of the training text, its first blocks; every variant is trained on every share."""
    equations: Annotated[tuple[Equation | str, ...], Choices((NONE, *EQUATIONS))] = ("diffusion",)
    """Equations of evolved attention: one variant for each and each number of --pde-steps; none: no such variant."""
    pde_steps: tuple[Count, ...] = (4,)
    """Numbers of explicit steps of evolved attention. No step is the baseline."""
    evolution: Evolution = Evolution()
    """Evolved attention."""
    placement: Annotated[tuple[str, ...], Choices((NONE, *PLACEMENTS))] = (NONE,)
    """Places of a diffusion layer on hidden states, in its causal form: one variant for each; none: no such variant."""
    stencil: StencilConfig = StencilConfig(kind="heat")
    """The diffusion layer of the variants of --placement."""
    controls: Annotated[tuple[str, ...], Choices(tuple(CONTROLS)), MAY_BE_EMPTY] = ()
    """Controls: one more variant each, without a PDE. canon and shift stand at --control-place; the others replace the
    positions or the attention."""
    control_place: Annotated[str, Choices(PLACEMENTS)] = "after_embedding"
    """Place of the controls that are layers."""
    windows: Annotated[tuple[Natural, ...], MAY_BE_EMPTY] = ()
    """Locality probe: one more variant for each number, whose tokens attend to so many tokens before them."""
    official_padding: bool = False
    """Also train the official models as the first public code does: lines padded to each length, PAD in the loss, every
    token visible. Their perplexity stands beside that without PAD, and beside that of the causal models."""
    padding: Padding = Padding()
    """The models of --official-padding."""
    stride: Natural = 0
    """Also test with windows that move by so many tokens and count the last ones, so that all but the first have a long
    context; a divisor of every length. 0: blocks alone."""
    seeds: tuple[Seed, ...] = (0,)
    """Seeds. A seed determines initial weights, batches and dropout; every variant trains with every seed."""
    steps: Count = 400
    """Training steps (updates)."""
    batch: Count = 16
    """Blocks per step, summed over all devices and hosts."""
    model: Network = Network()
    """The Transformer."""
    optimizer: train.Optimizer = train.Optimizer()
    """AdamW, its learning-rate schedule, and gradient accumulation."""
    cadence: run.LoopIntervals = run.LoopIntervals()
    """How often to log, evaluate and save. The best evaluation is that of the most correct predictions."""
    dtype: Literal["float32", "bfloat16"] = "float32"
    """Type of the computation; parameters, statistics and logits stay float32."""
    data_dir: Path = Path("data")
    """Folder of prepared data. Later runs read it again."""
    manual_dir: Path | None = None
    """Folder of published files: those of WikiText-103, or the file of a package."""
    verify: bool = False
    """Read all prepared data and compare its SHA-256, although its files have not changed since the last time."""
    mesh: Mesh = Mesh()
    """Devices of the mesh."""
    hosts: run.Hosts = run.Hosts()
    """Training on several hosts."""
    profile: bool = False
    """Write a trace of five steps of every training into the run folder, for xprof."""

    def __post_init__(self) -> None:
        """Check that the options fit together, before the program reads any text."""
        run.check_names("equations", self.equations, (NONE, *EQUATIONS))
        run.check_names("placement", self.placement, (NONE, *PLACEMENTS))
        run.check_names("control-place", (self.control_place,), PLACEMENTS)
        check_controls(self.controls, self.windows)
        run.check_seeds(self.seeds)
        run.check_ranges(self)
        run.check_paths(self)
        run.check_resume(resume=self.resume, out=self.out)
        for name, rule in (("lengths", "increasing"), ("shares", "increasing"), ("pde-steps", "different")):
            values = getattr(self, name.replace("-", "_"))
            ordered = sorted(set(values)) if rule == "increasing" else list(dict.fromkeys(values))
            if not values or list(values) != ordered:
                raise ValueError(
                    f"{name} are one or more {rule} numbers, got {' '.join(map(str, values)) or 'none'}; change "
                    f"--{name}."
                )
        if self.stride and any(length % self.stride for length in self.lengths):
            raise ValueError(
                f"windows that move by a divisor of the length count every token once, got stride {self.stride} for "
                f"lengths {' '.join(map(str, self.lengths))}; change --stride."
            )
        if self.text.source == "python-manual" and self.manual_dir is not None:
            raise ValueError(
                f"the manual of Python is part of Python, got --manual-dir {self.manual_dir}; drop it, or use "
                f"--text.source wikitext103."
            )
        if len(self.variants()) == 1 and not self.official_padding:
            raise ValueError(
                "a comparison needs a variant beside the baseline, got none; add --equations, --placement or "
                "--controls."
            )

    def idle_options(self) -> dict[str, run.Idle]:
        """Return the options and groups that have no effect, and why."""
        idle = {}
        if self.equations == (NONE,):
            reason = run.Idle("another --equations", f"--equations {NONE}")
            idle |= {"pde-steps": reason, "evolution": reason}
        if self.placement == (NONE,):
            idle["stencil"] = run.Idle("another --placement", f"--placement {NONE}")
        if not any(CONTROLS[name].stencil is not None for name in self.controls):
            idle["control-place"] = run.Idle("--controls canon or shift", "no such control")
        if not self.official_padding:
            idle["padding"] = run.Idle("--official-padding", "no such option")
        return idle

    def variants(self) -> dict[str, tuple[str, ...]]:
        """Return a map from the name of every causal variant to its components, the baseline first."""
        names = [f"{ATTENTION}{kind}_{steps}" for kind in _chosen(self.equations) for steps in self.pde_steps]
        names += [*_chosen(self.placement), *self.controls, *(f"{WINDOW}{n}" for n in self.windows)]
        return {BASELINE: ()} | {name: (name,) for name in names}

    def network(self, components: tuple[str, ...], vocabulary: int, length: int) -> ModelConfig:
        """Return the configuration of the model of a variant at a length.

        Raises:
            ValueError: sizes, a stencil or an equation contradict each other.
        """
        fields: dict[str, Any] = dataclasses.asdict(self.model) | {
            "max_len": length,
            "vocabulary": vocabulary,
            "placements": tuple(name for name in components if name in PLACEMENTS),
            "stencil": self.stencil,
            "dtype": self.dtype,
        }
        for name in components:
            if name.startswith(ATTENTION):
                fields["attention"] = self._evolved(name)
        for control in filter(None, map(control_of, components)):
            fields = apply(control, fields, self.control_place)
        return ModelConfig(**fields)

    def _evolved(self, name: str) -> PDEAttentionConfig:
        kind, steps = name.removeprefix(ATTENTION).rsplit("_", 1)
        options = dataclasses.asdict(self.evolution)
        if kind == "wave":
            options.pop("alpha")  # its speed keeps its own start
        return PDEAttentionConfig(kind, steps=int(steps), **options)  # type: ignore[arg-type]  checked above


def _chosen(names: tuple[str, ...]) -> tuple[str, ...]:
    """Return the names without `none`."""
    return tuple(name for name in names if name != NONE)
