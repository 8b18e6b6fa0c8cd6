"""The loop around the training step: log, evaluate, save, resume and stop.

The record of a step depends only on state and step, and all records up to a checkpoint are on the disk before the
checkpoint exists. So a run that was killed and resumed writes the same `metrics.jsonl` as an uninterrupted one.
"""

import dataclasses
import functools
import math
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

from experiments.run.console import failure_code, stop_if_failed
from experiments.run.distributed import broadcast_from_first, call_on_first
from experiments.run.folder.run_folder import Run
from experiments.run.progress import Clock, TrainingProgress
from experiments.run.termination.preemption import Preemption
from experiments.run.training.checkpoints import Checkpoints
from experiments.run.training.resumption import Training, find_gap, find_start
from experiments.run.training.step_trace import StepTrace
from pdeformer.train import Evaluation, Metrics


@dataclasses.dataclass(frozen=True)
class LoopIntervals:
    """How often the loop logs, evaluates and saves, in steps. It always does so after the last step."""

    log_every: int = 10
    """Steps between two logged losses."""
    eval_every: int = 100
    """Steps between two evaluations on the validation split. The loop saves after a new best one."""
    checkpoint_every: int = 100
    """Steps between two checkpoints."""
    keep: int = 2
    """Number of latest checkpoints to keep, besides the best one."""

    def __post_init__(self) -> None:
        """Raise ValueError unless all intervals are positive."""
        for name, value in dataclasses.asdict(self).items():
            if value < 1:
                raise ValueError(f"{name} must be at least 1, got {value}; change cadence.{name}.")

    def evaluates(self, step: int, steps: int) -> bool:
        """Return whether a training of `steps` evaluates after a step."""
        return step % self.eval_every == 0 or step == steps

    def logged_steps(self, last: int, steps: int) -> dict[int, bool]:
        """Return {every step up to `last` that is logged: whether it is evaluated too}."""
        evaluated = {step: self.evaluates(step, steps) for step in range(1, last + 1)}
        return {step: value for step, value in evaluated.items() if value or step % self.log_every == 0}


class Result(NamedTuple):
    """Result of a finished training. Accuracies are shares of 1."""

    variant: str
    seed: int
    steps: int
    parameters: int
    val_loss: float
    """After the last step, in nats."""
    val_accuracy: float
    """After the last step."""
    best_step: int
    """The step of the best validation accuracy, the latest one in case of ties."""
    best_val_accuracy: float
    test_loss: float
    """After the last step, in nats."""
    test_accuracy: float
    """After the last step."""
    best_test_accuracy: float
    """Test accuracy of the weights that were best on validation."""
    tokens_per_second: float
    """Speed of the steps since the last resume, without compilation, evaluation and saving; 0 without such steps."""
    compile_seconds: float
    """Time to trace, lower and compile the training step. It is near 0 if an earlier seed has compiled the step."""


SHARES = ("val_accuracy", "best_val_accuracy", "test_accuracy", "best_test_accuracy")
"""Fields of a result that are shares of 1."""


def train(
    run: Run,
    *,
    variant: str,
    seed: int,
    steps: int,
    state: Any,
    step_fn: Any,
    batch_fn: Callable[..., Any],
    evaluate_fn: Callable[[Any], Evaluation],
    test_fn: Callable[[Any], Evaluation],
    tokens_per_step: int,
    cadence: LoopIntervals,
    profile: bool = False,
    steps_per_call: int = 1,
) -> Result:
    """Train to `steps` updates, from the last checkpoint of (variant, seed) if the run has one.

    A finished training is not repeated. A signal before the first step, such as during compilation, stops the program
    at once (`stop_at_signals` has to be around it). After a later signal (see `Preemption`) the loop finishes the step
    (and an evaluation that is due with it), saves the state and raises `Preempted`. A second SIGTERM or SIGINT ends the
    process at once.

    A last checkpoint that is damaged or lacks records in `metrics.jsonl` is moved aside, and the training goes on from
    the one before it.

    Args:
        run: folder of the run.
        variant: name of the training in the run.
        seed: seed of the training.
        steps: number of updates in all.
        state: initial state; this function consumes it.
        step_fn: the step (see `make_programs`). It is compiled once, ahead of time, so a batch of another shape is an
            error.
        batch_fn: step (0-based) -> batch on the mesh, a pure function (see `put_batch`).
        evaluate_fn: params -> `Evaluation` on the validation split.
        test_fn: params -> `Evaluation` on the test split.
        tokens_per_step: tokens in a global batch, for the tokens per second.
        cadence: intervals of logging, evaluation and checkpoints.
        profile: whether to write a trace of some steps for xprof into the run folder (see `StepTrace`).
        steps_per_call: steps K that a call of `step_fn` makes. With more than one, `batch_fn(step, count=K)` returns
            the input of K steps, and the metrics have a leading axis K. It divides `steps` and the intervals of
            evaluation and checkpoints. After a start in the middle of such a group, K is the largest common divisor.

    Raises:
        FloatingPointError: loss or gradient is not finite; the message names variant, seed and step. The checkpoints
            are not changed.
        Preempted: a signal arrived; this is a `SystemExit` of code 128 + signal.
        ValueError: the checkpoint is of another model, no checkpoint is whole, or a line of the metrics is damaged.
    """
    if (result := read_result(run, variant, seed, steps, cadence)) is not None:
        return result
    stop_if_failed("all finished trainings are saved")
    run.record_start()
    parameters = sum(leaf.size for leaf in jax.tree.leaves(state.params))
    notes: list[str] = []
    training = _training(run, variant, seed, steps, cadence)
    start = broadcast_from_first(call_on_first(lambda: find_start(training, notes)) or 0)
    with Checkpoints(training.checkpoints, keep=cadence.keep) as checkpoints:
        state = checkpoints.restore(state) if start else state
        run.truncate_after(variant, seed, start)
        key = jax.jit(training_key, out_shardings=state.step.sharding)(
            seed
        )  # made on every device of every host
        group = math.gcd(steps_per_call, start)  # gcd(K, 0) is K
        make_input = batch_fn if steps_per_call == 1 else functools.partial(batch_fn, count=group)
        start_time = time.perf_counter()
        compiled = step_fn.lower(state, make_input(start), key).compile()
        compile_seconds = time.perf_counter() - start_time
        title = f"{variant}, seed {seed}"
        # Until here a signal stops the program at once, since there is nothing to save.
        with Preemption() as stop, TrainingProgress(title, steps, start, tokens_per_step) as progress:
            for note in notes:
                progress.say(note)
            resumed = f"resumed at step {start}, " if start else ""
            progress.say(f"{resumed}{parameters:,} parameters, compiled in {compile_seconds:.1f} s")
            traces = run.profile(variant, seed) if profile else None
            trace = StepTrace(traces, start, steps, progress.say, group)
            loop = _Loop(
                run, variant, seed, steps, cadence, evaluate_fn, checkpoints, stop, progress, trace, group
            )
            state = loop.advance(state, start, lambda state, step: compiled(state, make_input(step), key))
            last, best = loop.validations[-1], max(loop.validations)
            test = best_test = test_fn(state.params)
            if best.step != steps:
                best_test = test_fn(checkpoints.restore(state, best.step).params)
            checkpoints.wait()
    seconds = loop.clock.read()
    speed = tokens_per_step * (steps - start) / seconds if seconds else 0.0
    validation = (last.loss, last.accuracy, best.step, best.accuracy)
    tests = (test.loss, test.accuracy, best_test.accuracy)
    result = Result(variant, seed, steps, parameters, *validation, *tests, speed, compile_seconds)
    run.finish(variant, seed, result._asdict())
    if stop.signal_of_any_host():
        progress.say("stopped by a signal, the result is saved; continue with --resume")
        stop.stop_if_signaled()
    return result


def read_result(run: Run, variant: str, seed: int, steps: int, cadence: LoopIntervals) -> Result | None:
    """Return the result of a finished training, None if it has not finished.

    Raises ValueError if its file is damaged, or its records in `metrics.jsonl` are not complete.
    """
    if (row := run.row(variant, seed)) is None:
        return None
    if differing := sorted(row.keys() ^ set(Result._fields)):
        raise ValueError(
            f"{run.row_path(variant, seed)} must have the fields of a result, got a difference in "
            f"{', '.join(differing)}; delete it, and --resume tests the last checkpoint again."
        )
    _check_result(row, run.row_path(variant, seed), variant, seed, steps)
    training = _training(run, variant, seed, steps, cadence)
    if gap := find_gap(training, steps):
        raise ValueError(
            f"a finished training needs all its records, got a row for {training} while {gap}; put the file back, or "
            f"delete its file in {run.folder / 'rows'} and {training.checkpoints} to train it again."
        )
    return Result(**row)


def _check_result(row: dict[str, Any], path: Path, variant: str, seed: int, steps: int) -> None:
    """Raise ValueError unless the fields of a saved result are numbers of this training."""
    expected = {"variant": variant, "seed": seed, "steps": steps}
    wrong = {name: row[name] for name, value in expected.items() if row[name] != value}
    wrong |= {
        name: value
        for name, value in row.items()
        if name != "variant" and (type(value) not in (int, float) or not math.isfinite(value))
    }
    wrong |= {name: row[name] for name in SHARES if name not in wrong and not 0 <= row[name] <= 1}
    for name, value in wrong.items():
        raise ValueError(
            f"{path} must be the result of {variant}, seed {seed}, after {steps} steps, got {name}={value!r:.60}; "
            f"delete it, and --resume tests the last checkpoint again."
        )


def _training(run: Run, variant: str, seed: int, steps: int, cadence: LoopIntervals) -> Training:
    folder = run.checkpoints(variant, seed)
    return Training(variant, seed, folder, run.log, lambda last: cadence.logged_steps(last, steps))


def training_key(seed: Any) -> Any:
    """Return the key of the steps of a seed. It differs from `jax.random.key(seed)`, which the initializer uses."""
    return jax.random.fold_in(jax.random.key(seed), 2**32 - 1)


class _Validation(NamedTuple):
    """One evaluation. The largest tuple is the best evaluation; of equal accuracies it is the later one."""

    accuracy: float
    step: int
    loss: float


@dataclasses.dataclass
class _Loop:
    """The steps of one training, and the work between them."""

    run: Run
    variant: str
    seed: int
    steps: int
    cadence: LoopIntervals
    evaluate: Callable[[Any], Evaluation]
    checkpoints: Checkpoints
    stop: Preemption
    progress: TrainingProgress
    trace: StepTrace
    group: int = 1
    """Steps that a call makes."""
    clock: Clock = dataclasses.field(default_factory=Clock)

    def __post_init__(self) -> None:
        """Read the evaluations of a resumed training."""
        self.validations = [
            _Validation(record["val_accuracy"], record["step"], record["val_loss"])
            for record in self.run.records(self.variant, self.seed)
            if "val_loss" in record
        ]

    def advance(self, state: Any, start: int, step_fn: Callable[[Any, int], tuple[Any, Metrics]]) -> Any:
        """Return the state after the last step."""
        pending = None
        for first in range(start, self.steps, self.group):
            self.clock.start()
            with self.trace.step(first + 1) as results:
                state, metrics = step_fn(state, first)
                results.append(metrics)
            if pending is not None:  # the previous steps, read while the device computes these
                self._log(self._records(*pending))
            pending = (first, metrics)
            if self._pauses(first + self.group):
                *records, last = self._records(*pending)
                self._log(records)
                self._pause(state, last)
                pending = None
        return state

    def _evaluates(self, step: int) -> bool:
        return self.cadence.evaluates(step, self.steps)

    def _pauses(self, step: int) -> bool:
        return self._evaluates(step) or step % self.cadence.checkpoint_every == 0 or self._must_stop(step)

    def _must_stop(self, step: int) -> bool:
        """Return whether a signal has arrived. Several hosts exchange their signals only at logged steps."""
        return (jax.process_count() == 1 or step % self.cadence.log_every == 0) and bool(
            self.stop.signal_of_any_host()
        )

    def _records(self, first: int, metrics: Metrics) -> list[dict[str, Any]]:
        """Wait for the steps after `first` and return their metrics."""
        columns = [np.atleast_1d(value) for value in jax.device_get(metrics)]
        rows = zip(*(column.tolist() for column in columns), strict=True)
        return [self._record(step, Metrics(*row)) for step, row in enumerate(rows, first + 1)]

    def _record(self, step: int, metrics: Metrics) -> dict[str, Any]:
        loss, accuracy, norm, rate, finite = metrics
        if not finite:
            raise FloatingPointError(self._not_finite(step, f"loss {loss}, gradient norm {norm}"))
        self.progress.step(step, loss, accuracy, self.clock.read())
        if step < self.steps:  # a training that is finished still writes everything
            self.stop.request(failure_code())
        values = {"loss": loss, "accuracy": accuracy, "gradient_norm": norm, "learning_rate": rate}
        return {"variant": self.variant, "seed": self.seed, "step": step} | values

    def _log(self, records: Sequence[dict[str, Any]]) -> None:
        for record in records:
            if record["step"] % self.cadence.log_every == 0 or self._evaluates(record["step"]):
                self.run.append(record)

    def _pause(self, state: Any, record: dict[str, Any]) -> None:
        """Evaluate, log, save and stop, each if it is due."""
        self.clock.stop()
        step, score, is_best = record["step"], None, False
        if self._evaluates(step):
            evaluation = self.evaluate(state.params)
            if not math.isfinite(evaluation.loss):
                raise FloatingPointError(self._not_finite(step, f"validation loss {evaluation.loss}"))
            score, validation = evaluation.accuracy, _Validation(evaluation.accuracy, step, evaluation.loss)
            is_best = validation >= max(self.validations, default=validation)
            self.validations.append(validation)
            record |= {"val_loss": evaluation.loss, "val_accuracy": evaluation.accuracy}
            self.progress.say(
                f"step {step}  validation loss {evaluation.loss:.4f}  accuracy {evaluation.accuracy:.4f}"
            )
        self._log([record])
        must_stop = self._must_stop(step)
        if is_best or must_stop or step == self.steps or step % self.cadence.checkpoint_every == 0:
            self.run.log.sync()  # a checkpoint counts on the records up to its step
            self.checkpoints.save(step, state, score)
        if must_stop:
            self.checkpoints.wait()
            self.progress.say_saved(f"step {step} is saved; continue with --resume")
            self.stop.stop_if_signaled()

    def _not_finite(self, step: int, values: str) -> str:
        saved = self.checkpoints.latest
        last = (
            "there is no checkpoint yet" if saved is None else f"the last good checkpoint is of step {saved}"
        )
        return (
            f"loss and gradient must be finite, got {values} "
            f"({self.variant}, seed {self.seed}, step {step}); {last}; "
            f"lower the learning rate, lengthen the warm-up, or clip the gradient."
        )
