"""Run captures, estimates and known effects one after another, then write tables, figures and `summary.json`."""

from collections.abc import Iterator
from functools import partial
from itertools import product
from typing import Any, NamedTuple

from matplotlib.figure import Figure
from rich.console import Console

from experiments import run
from experiments.data.preparation import activation_files
from experiments.data.preparation.file_hashes import sha256
from experiments.pid_llava import figures, known_effects, paper_claims, report
from experiments.pid_llava.checkpoint import ModelFolder
from experiments.pid_llava.config import Config
from experiments.pid_llava.known_effects import KnownEffect
from experiments.pid_llava.paper_claims import Statement
from experiments.pid_llava.presets import CONTINUATION
from experiments.pid_llava.stages import decomposing, questions
from experiments.pid_llava.stages.capturing import Capture, capture_states, probability_changes
from experiments.pid_llava.stages.decomposing import Decomposition
from experiments.run.report import Table
from pid.llava.preprocessing.prompts import STYLES
from pid.toyworld import EXPECTED

DRAWS: run.Arrays = {
    ("estimation.draws",): 192,  # the fields of three layers or more
    ("estimation.shuffles",): 192,
    ("estimation.couplings",): 4096,
}
QUESTIONS: run.Arrays = {
    ("capture.rows",): 1000,
    ("corners.rows",): 1000,
    ("corners.product-rows",): 1000,
    ("capture.batch",): 1000,
}
"""Bytes of a question of the toy world, with its picture. GQA has as many as it has."""


class Results(NamedTuple):
    """All results of a run."""

    captures: list[Capture]
    decompositions: list[Decomposition]
    statements: list[Statement]
    effects: list[KnownEffect]
    warnings: tuple[str, ...]
    """Sentences about how well the answers can be guessed."""


def main(config: Config) -> dict[str, Any]:
    """Capture, decompose, compare with known effects, show and save the results, and return the summary.

    Writes `summary.json` and figures into the run folder. Captures and estimates are saved in --cache, and later runs
    reuse them. Several hosts share the work; process 0 reports.

    Raises:
        FileNotFoundError: a model folder or the data are missing. No run folder is created then.
        FileExistsError: the run folder has files.
        PermissionError: --cache cannot be written.
        ValueError: a file is not a valid model or data file, or the run to resume has another configuration.
    """
    run.join_hosts(config.hosts, config.out, {"--cache": config.cache})
    if not config.cache.is_dir():
        run.check_folder(config.cache, "--cache")
    run.check_memory(config, DRAWS)
    if config.npz is None and config.data is None:
        run.check_memory(config, QUESTIONS)
    study = ModelStudy(config) if config.npz is None else FileStudy(config)
    run.introduce_process({"data": config.mesh.data, "model": config.mesh.model})
    return run.run_study(study, config, out=config.out, resume=config.resume)


class LlavaStudy(run.Study[Results]):
    """Tables, figures and summary that the studies of models and of a file share."""

    program = "pid_llava"
    dpi = 110
    continuation = CONTINUATION

    def __init__(self, config: Config) -> None:
        """Take the configuration."""
        self.config, self.stem = config, config.preset

    def tabulate(self, results: Results) -> list[Table]:
        """Return all tables that have rows."""
        return report.all_tables(
            results.captures,
            results.decompositions,
            results.statements,
            results.effects,
            self.config.aggregate,
            self.config.capture.least,
        )

    def draw(self, results: Results) -> Iterator[tuple[str, Figure]]:
        """Yield the figures of every model and configuration."""
        return figures.draw(results.decompositions, results.captures)

    def summarize(self, results: Results, tables: list[Table]) -> dict[str, Any]:
        """Return all numbers in the types of JSON."""
        return {
            "preset": self.config.preset,
            "target": self.config.target,
            "sources": [self.config.x, self.config.y],
            "aggregate": self.config.aggregate,
            "doubts": results.warnings,
            "captured": run.to_json([_capture_row(capture) for capture in results.captures]),
            "decomposed": run.to_json([_decomposition_row(d) for d in results.decompositions]),
            "statements": run.to_json(results.statements),
            "directions": run.to_json(results.effects),
            "tables": run.to_json(tables),
        }

    def conclude(self, results: Results, console: Console) -> None:
        """Print how often each statement holds, and which known effects were not confirmed."""
        statements = results.statements
        for claim, config in dict.fromkeys((s.claim, s.config) for s in statements):
            verdicts = [s.verdict for s in statements if (s.claim, s.config) == (claim, config)]
            counts = ", ".join(
                f"{verdict} in {verdicts.count(verdict)}"
                for verdict in ("holds", "does not", "not decidable")
                if verdict in verdicts
            )
            console.print(f"{claim} ({config}): {counts} of {len(verdicts)}")
        for warning in results.warnings:
            console.print(warning)
        if not results.effects:
            return
        missed = [effect for effect in results.effects if effect.verdict != "holds"]
        count = len(results.effects)
        console.print(f"known effects: {count - len(missed)} of {count} confirmed by their interval")
        for effect in missed:
            console.print(
                f"  {effect.verdict}: {effect.corner}, {effect.task}, {effect.model}: {effect.claim}",
            )


class ModelStudy(LlavaStudy):
    """All models, tasks and configurations, and the corners of the toy world.

    The parts restore their results from --cache, so the run folder has no rows.
    """

    def __init__(self, config: Config) -> None:
        """Find the models. Raises FileNotFoundError if there is none."""
        super().__init__(config)
        self.models = {model.name: model for model in find_models(config)}
        world = "GQA" if config.data is not None else "the toy world (synthetic)"
        styles = {model.name: model.prompt for model in self.models.values()}
        prompts = ", ".join(
            f"{name}: {prompt['style'] if prompt['style'] in STYLES else repr(prompt['text'])} ({prompt['source']})"
            for name, prompt in styles.items()
        )
        self.title = f"{', '.join(self.models)} in {world}; prompt styles {prompts}"
        self.corners = (
            list(product(EXPECTED, config.corners.tasks))
            if config.data is None and config.corners.rows
            else []
        )
        self.count = len(self.models) * (len(config.tasks) * (1 + len(config.configs)) + len(self.corners))

    def data_hashes(self) -> dict[str, str]:
        """Return the fingerprints of the weights."""
        return {f"model {model.name}": model.weights_fingerprint for model in self.models.values()}

    def tabulate(self, results: Results) -> list[Table]:
        """Return all tables that have rows, and last the prompts."""
        return [*super().tabulate(results), report.prompt_table(self.models.values())]

    def summarize(self, results: Results, tables: list[Table]) -> dict[str, Any]:
        """Return all numbers and the prompt of every model."""
        prompts = {model.name: model.prompt for model in self.models.values()}
        return super().summarize(results, tables) | {"prompts": prompts}

    def measure(self, runner: run.Runner) -> Results:
        """Capture all tasks, decompose those with enough samples, and measure the corners."""
        tasks = questions.make_questions(self.config)
        runner.folder.record_data({f"questions {task.task}": task.fingerprint for task in tasks})
        captures = runner.results(
            run.Part(f"capture {task.task}, {model.name}", partial(self._capture, model, task))
            for model, task in product(self.models.values(), tasks)
        )
        if self.config.target in ("unembedding", "logits"):
            for model in self.models.values():
                model.share_output()
        usable = [capture for capture in captures if len(capture.used) >= self.config.capture.least]
        decompositions = runner.share(
            run.Part(
                f"{name} estimate of {capture.task}, {capture.model}",
                partial(self._decompose, capture, name),
            )
            for capture, name in product(usable, self.config.configs)
        )
        effects = runner.results(
            run.Part(f"{corner}: {task}, {model.name}", partial(self._corner, model, corner, task))
            for model, (corner, task) in product(self.models.values(), self.corners)
        )
        return Results(
            captures,
            decompositions,
            paper_claims.judge_all(decompositions),
            [effect for corner_effects in effects for effect in corner_effects],
            tuple(sentence for task in tasks for sentence in task.warnings),
        )

    def _capture(self, model: ModelFolder, task: questions.Questions, folder: Any, say: run.Say) -> Capture:
        del folder, say
        return capture_states(model, task, self.config, windows=self.config.capture.windows)

    def _decompose(self, capture: Capture, name: Any, folder: Any, say: run.Say) -> Decomposition:
        del folder
        return decomposing.decompose(self.models[capture.model], capture, self.config, name, say)

    def _corner(
        self, model: ModelFolder, corner: str, task: str, folder: Any, say: run.Say
    ) -> list[KnownEffect]:
        del folder, say
        return known_effects.measure(model, corner, task, self.config)


class FileStudy(LlavaStudy):
    """Activations of a file, by all configurations."""

    def __init__(self, config: Config) -> None:
        """Read the file. Raises ValueError if its arrays have no layers."""
        super().__init__(config)
        assert config.npz is not None
        self.title, self.file, self.count = config.npz.name, config.npz.stem, len(config.configs)
        self.data = activation_files.read(config.npz)
        layers = {len(array) for array in self.data if array.ndim == 3}
        if max(layers, default=0) < 3:
            raise ValueError(
                f"trajectories need arrays (layers, n, d) of three layers or more, got "
                f"{[a.shape for a in self.data]} in {config.npz}; use python -m experiments.pid_gaussian --npz for "
                f"arrays without layers."
            )
        activation_files.check_sizes(self.data, config.npz, flow="paper" in config.configs)

    def data_hashes(self) -> dict[str, str]:
        """Return the hash of the file of --npz."""
        assert self.config.npz is not None
        return {"npz": sha256(self.config.npz)}

    def measure(self, runner: run.Runner) -> Results:
        """Decompose the arrays with every configuration."""

        def part(name: Any) -> run.Part:
            return run.Part(
                f"{name} estimate of {self.file}",
                lambda folder, say: decomposing.decompose_file(self.data, self.file, self.config, name),
            )

        decompositions = runner.results(part(name) for name in self.config.configs)
        return Results([], decompositions, paper_claims.judge_all(decompositions), [], ())


def find_models(config: Config) -> list[ModelFolder]:
    """Return the model folders.

    Raises FileNotFoundError, with a remedy, if there is none or if data are missing, and ValueError if a prompt style
    or a file is not that of its model.
    """
    if not config.model:
        raise FileNotFoundError(
            "a decomposition needs a model, got none; pass --model DIR, a LLaVA-1.5 or LLaVA-1.6 in the layout of "
            "Hugging Face, or leave the preset out for the toy models."
        )
    if config.preset == "gqa" and config.data is None:
        raise FileNotFoundError(
            "the preset gqa needs the questions and images of GQA, got no --data; pass --data DIR, the folder with "
            "questions1.2 and "
            "images of GQA's download, extracted or as archives."
        )
    if config.data is not None and (not config.data.is_dir() or not any(config.data.iterdir())):
        state = "which is empty" if config.data.is_dir() else "which is no folder"
        raise FileNotFoundError(
            f"the questions and images of GQA are read from a folder, got {config.data}, {state}; check --data."
        )
    models = [ModelFolder(path, config.capture, config.mesh) for path in config.model]
    for model in models:
        model.check_prompt()
        model.check_window()
    return models


def _capture_row(capture: Capture) -> dict[str, Any]:
    changes = probability_changes(capture)
    return {
        "task": capture.task,
        "model": capture.model,
        "asked": len(capture.right),
        "right": int(capture.right.sum()),
        "used": len(capture.used),
        "change": {name: values.mean() if len(values) else None for name, values in changes.items()},
    }


def _decomposition_row(decomposition: Decomposition) -> dict[str, Any]:
    return {
        "task": decomposition.task,
        "model": decomposition.model,
        "config": decomposition.config,
        "layers": decomposition.estimate.to_records(),
        "knockout": decomposing.knockout_change(decomposition),
    }
