"""The loop around the training step: log, evaluate, save, resume, stop.

What a step logs depends on the state and the step alone, and what was logged up to a checkpoint is in the
file before the checkpoint exists. So a run that was killed and resumed leaves the `metrics.jsonl` of an
uninterrupted one.
"""

import dataclasses
import math
import time
from collections.abc import Callable
from typing import Any, NamedTuple

import jax

from experiments.run.checkpoints import Checkpoints
from experiments.run.preemption import Preemption
from experiments.run.progress import Clock, Display
from experiments.run.run_folder import Run
from pdeformer.train import Evaluation, Metrics


@dataclasses.dataclass(frozen=True)
class LoopIntervals:
    """How often the loop looks up, in steps; the last step is always logged, evaluated and saved."""

    log_every: int = 10
    """Steps between two logged losses."""
    eval_every: int = 100
    """Steps between two evaluations on the validation split; a new best one is saved."""
    checkpoint_every: int = 100
    """Steps between two checkpoints."""
    keep: int = 2
    """Latest checkpoints to keep, besides the best one."""

    def __post_init__(self) -> None:
        """Refuse what is not a positive number of steps."""
        for name, value in dataclasses.asdict(self).items():
            if value < 1:
                raise ValueError(f"{name} must be at least 1, got {value}; change cadence.{name}.")


class Result(NamedTuple):
    """What a finished training leaves; accuracies are shares of 1."""

    variant: str
    seed: int
    steps: int
    parameters: int
    val_loss: float
    """After the last step, in nats."""
    val_accuracy: float
    """After the last step."""
    best_step: int
    """The step of the best validation accuracy, the latest of equals."""
    best_val_accuracy: float
    test_loss: float
    """After the last step, in nats."""
    test_accuracy: float
    """After the last step."""
    best_test_accuracy: float
    """Of the weights that were best on validation."""
    tokens_per_second: float
    """Of the steps since the last resume, without compiling, evaluating and saving; 0 if there were none."""
    compile_seconds: float
    """Time to trace, lower and compile the training step; next to nothing where an earlier seed has done so."""


def train(
    run: Run,
    *,
    variant: str,
    seed: int,
    steps: int,
    state: Any,
    step_fn: Any,
    batch_fn: Callable[[int], Any],
    evaluate_fn: Callable[[Any], Evaluation],
    test_fn: Callable[[Any], Evaluation],
    tokens_per_step: int,
    cadence: LoopIntervals,
) -> Result:
    """Train to `steps` updates, from the last checkpoint of (variant, seed) if the run has one.

    state, step_fn: the state to begin with, which is consumed, and the step (see `programs`). It is compiled ahead
    of time, once: a batch of another shape is an error.
    batch_fn: the batch of a step (0-based) on the mesh, a pure function (see `put_batch`).
    evaluate_fn, test_fn: params -> `Evaluation` on the validation and on the test split.
    tokens_per_step: tokens in a global batch, for the tokens per second.

    A training that has finished is not repeated. After SIGTERM or SIGINT the step (and an evaluation that is
    due with it) ends, the state is saved, and `Preempted`, a `SystemExit` of code 128 + signal, is raised; a
    second signal ends the process at once.

    Raises FloatingPointError, naming variant, seed and step, if loss or gradient is not finite; the
    checkpoints stay as they are. Raises ValueError if the checkpoint is of another model.
    """
    if (row := run.row(variant, seed)) is not None:
        return Result(**row)
    parameters = sum(leaf.size for leaf in jax.tree.leaves(state.params))
    with Preemption() as stop, Checkpoints(run.checkpoints(variant, seed), keep=cadence.keep) as checkpoints:
        start = checkpoints.latest or 0
        state = checkpoints.restore(state) if start else state
        run.cut(variant, seed, start)
        key = jax.jit(_stream, out_shardings=state.step.sharding)(seed)  # born on every device of every host
        began = time.perf_counter()
        compiled = step_fn.lower(state, batch_fn(start), key).compile()
        compile_seconds = time.perf_counter() - began
        with Display(f"{variant}, seed {seed}", steps, start, tokens_per_step) as display:
            resumed = f"resumed at step {start}, " if start else ""
            display.say(f"{resumed}{parameters:,} parameters, compiled in {compile_seconds:.1f} s")
            loop = _Loop(run, variant, seed, steps, cadence, evaluate_fn, checkpoints, stop, display)
            state = loop.advance(state, start, lambda state, step: compiled(state, batch_fn(step), key))
            last, best = loop.evaluated[-1], max(loop.evaluated)
            test = best_test = test_fn(state.params)
            if best.step != steps:
                best_test = test_fn(checkpoints.restore(state, best.step).params)
    seconds = loop.clock.read()
    speed = tokens_per_step * (steps - start) / seconds if seconds else 0.0
    validation = (last.loss, last.accuracy, best.step, best.accuracy)
    tests = (test.loss, test.accuracy, best_test.accuracy)
    result = Result(variant, seed, steps, parameters, *validation, *tests, speed, compile_seconds)
    run.finish(variant, seed, result._asdict())
    stop.leave()
    return result


def _stream(seed: Any) -> Any:
    """The key of the steps: not the key of the seed itself, which the initialiser draws from."""
    return jax.random.fold_in(jax.random.key(seed), 2**32 - 1)


class _Validation(NamedTuple):
    """One evaluation; the largest is the best, the later of equals."""

    accuracy: float
    step: int
    loss: float


@dataclasses.dataclass
class _Loop:
    """The steps of one training, and what happens between them."""

    run: Run
    variant: str
    seed: int
    steps: int
    cadence: LoopIntervals
    evaluate: Callable[[Any], Evaluation]
    checkpoints: Checkpoints
    stop: Preemption
    display: Display
    clock: Clock = dataclasses.field(default_factory=Clock)

    def __post_init__(self) -> None:
        """Read the evaluations that a resumed training already has."""
        self.evaluated = [
            _Validation(record["val_accuracy"], record["step"], record["val_loss"])
            for record in self.run.records(self.variant, self.seed)
            if "val_loss" in record
        ]

    def advance(self, state: Any, start: int, step_fn: Callable[[Any, int], tuple[Any, Metrics]]) -> Any:
        """The state after the last step."""
        waiting = None
        for step in range(start + 1, self.steps + 1):
            self.clock.go()
            state, metrics = step_fn(state, step - 1)
            if waiting is not None:  # the step before, read while the device is busy with this one
                self._log(self._record(*waiting))
            waiting = (step, metrics)
            if self._pauses(step):
                self._pause(state, self._record(*waiting))
                waiting = None
        return state

    def _evaluates(self, step: int) -> bool:
        return step % self.cadence.eval_every == 0 or step == self.steps

    def _pauses(self, step: int) -> bool:
        return self._evaluates(step) or step % self.cadence.checkpoint_every == 0 or self._asked(step)

    def _asked(self, step: int) -> bool:
        """Whether to stop. Hosts have to agree, and talk about it only at logged steps."""
        return (jax.process_count() == 1 or step % self.cadence.log_every == 0) and bool(
            self.stop.broadcast_from_first()
        )

    def _record(self, step: int, metrics: Metrics) -> dict[str, Any]:
        """The metrics on the host, once the step has ended."""
        loss, accuracy, norm, rate, finite = (value.item() for value in jax.device_get(metrics))
        if not finite:
            raise FloatingPointError(self._broken(step, f"loss {loss}, gradient norm {norm}"))
        self.display.step(step, loss, accuracy, self.clock.read())
        values = {"loss": loss, "accuracy": accuracy, "gradient_norm": norm, "learning_rate": rate}
        return {"variant": self.variant, "seed": self.seed, "step": step} | values

    def _log(self, record: dict[str, Any]) -> None:
        if record["step"] % self.cadence.log_every == 0 or self._evaluates(record["step"]):
            self.run.append(record)

    def _pause(self, state: Any, record: dict[str, Any]) -> None:
        """Evaluate, log, save and stop, each if it is time."""
        self.clock.stop()
        step, score, best = record["step"], None, False
        if self._evaluates(step):
            found = self.evaluate(state.params)
            if not math.isfinite(found.loss):
                raise FloatingPointError(self._broken(step, f"validation loss {found.loss}"))
            score, validation = found.accuracy, _Validation(found.accuracy, step, found.loss)
            best = validation >= max(self.evaluated, default=validation)
            self.evaluated.append(validation)
            record |= {"val_loss": found.loss, "val_accuracy": found.accuracy}
            self.display.say(f"step {step}  validation loss {found.loss:.4f}  accuracy {found.accuracy:.4f}")
        self._log(record)
        asked = self._asked(step)
        if best or asked or step == self.steps or step % self.cadence.checkpoint_every == 0:
            self.checkpoints.save(step, state, score)
        if asked:
            self.checkpoints.wait()
            self.display.say(f"stopped by a signal, step {step} is saved; go on with --resume")
            self.stop.leave()

    def _broken(self, step: int, what: str) -> str:
        saved = self.checkpoints.latest
        last = (
            "there is no checkpoint yet" if saved is None else f"the last good checkpoint is of step {saved}"
        )
        return (
            f"loss and gradient must be finite, got {what} "
            f"({self.variant}, seed {self.seed}, step {step}); {last}; "
            f"lower the learning rate, lengthen the warm-up, or clip the gradient."
        )
