"""The loop around the steps of many trainings that share one program: log, evaluate, save, resume and stop.

Every member of a group writes the records of a training of its own, variant, seed and step, and has a row of its own at
the end. The group has one checkpoint, with all members and the weights of each that are best on validation. So a run
that was killed and resumed writes the same `metrics.jsonl` as an uninterrupted one.

    S seeds, V variants, K steps of a call
"""

import dataclasses
import math
import time
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np
from jaxtyping import Float

from experiments.run.console import failure_code, stop_if_failed
from experiments.run.distributed import broadcast_from_first, call_on_first
from experiments.run.folder.json_types import to_json
from experiments.run.folder.run_folder import Run
from experiments.run.progress import Clock, TrainingProgress
from experiments.run.termination.preemption import Preemption
from experiments.run.training.checkpoints import Checkpoints
from experiments.run.training.member_checkpoints import restore_members
from experiments.run.training.member_programs import MembersState
from experiments.run.training.member_records import MemberRecords, find_start
from experiments.run.training.train_loop import LoopIntervals
from pdeformer.train import Metrics

MAX_CHUNK = 25
"""Largest number of steps of one call, after which a signal is noticed."""


class Validation(NamedTuple):
    """An evaluation of (S, V) members."""

    loss: Float[np.ndarray, "s v"]
    """Mean loss in nats."""
    accuracy: Float[np.ndarray, "s v"]
    """Share of right examples, or of right labels."""


class Group(NamedTuple):
    """Trainings that run together: V variants with each of S seeds."""

    name: str
    """Name of the group in the run folder, unique for its members."""
    title: str
    """Name in lines of progress."""
    variants: tuple[str, ...]
    """Names of the variants."""
    seeds: tuple[int, ...]
    """Seeds."""

    @property
    def members(self) -> list[tuple[str, int]]:
        """(variant, seed) of all members, in the order of their records."""
        return [(variant, seed) for seed in self.seeds for variant in self.variants]


class GroupFunctions(NamedTuple):
    """What the loop calls. A function may return more variants than the group has; the last ones are padding."""

    start: Callable[[], MembersState]
    """() -> the initial state."""
    advance: Callable[[MembersState, int, int], tuple[MembersState, Metrics]]
    """(state, first step from 0, K) -> the state after K steps, and metrics (S, V, K)."""
    validate: Callable[[Any], Validation]
    """parameters -> evaluation on the validation split."""
    keep_best: Callable[[MembersState, Any, Any], MembersState]
    """(state, accuracies, whether the losses are finite) -> the state with the best parameters."""


class GroupRun(NamedTuple):
    """A group after its last step."""

    state: MembersState
    """The state; its `best` has the parameters of the best validation accuracy."""
    validations: dict[tuple[str, int], dict[str, Any]]
    """(variant, seed) -> the last record with a validation, {} if the member stopped before."""
    seconds: float
    """Seconds in steps since the last resume."""
    steps: int
    """Steps since the last resume."""
    compile_seconds: float
    """Seconds of the first call, which compiles."""


def chunk_of(cadence: LoopIntervals, steps: int) -> int:
    """Return the number of steps K of a call: it divides the intervals and the training, and is at most `MAX_CHUNK`."""
    common = math.gcd(cadence.eval_every, cadence.checkpoint_every, steps)
    return max(k for k in range(1, MAX_CHUNK + 1) if common % k == 0)


def train_group(
    run: Run,
    group: Group,
    functions: GroupFunctions,
    *,
    steps: int,
    cadence: LoopIntervals,
    tokens_per_step: int,
) -> GroupRun:
    """Train all members of a group to `steps` updates, from the last checkpoint of the group if the run has one.

    A member whose loss, gradient or validation loss is not finite gets a last record with "stopped": 1, and the others
    go on. After a signal the loop finishes the call, saves the state and raises `Preempted`.

    Args:
        run: folder of the run.
        group: the members.
        functions: what the loop calls.
        steps: number of updates of every member.
        cadence: intervals of logging, evaluation and checkpoints.
        tokens_per_step: tokens of a batch of one member, for the tokens per second.

    Raises:
        Preempted: a signal arrived; the step is saved.
        ValueError: no checkpoint is whole, or a line of the metrics is damaged.
    """
    stop_if_failed("all finished trainings are saved")
    run.record_start()
    records = MemberRecords(run.log, group.members, lambda last: cadence.logged_steps(last, steps))
    folder, notes = run.folder / "checkpoints" / group.name, []
    start = broadcast_from_first(call_on_first(lambda: find_start(records, folder, notes)) or 0)
    state = functions.start()
    with Checkpoints(folder, keep=cadence.keep) as checkpoints:
        state = restore_members(checkpoints, state, start, len(group.variants)) if start else state
        records.truncate_after(start)
        tokens = tokens_per_step * len(group.members)
        with Preemption() as stop, TrainingProgress(group.title, steps, start, tokens) as progress:
            for note in notes:
                progress.say(note)
            if start:
                progress.say(f"resumed at step {start}")
            loop = _Loop(run, group, functions, steps, cadence, checkpoints, stop, progress)
            state = loop.advance(state, start)
            checkpoints.wait()
    seconds = loop.clock.read()
    return GroupRun(state, records.validations(), seconds, loop.timed_steps, loop.compile_seconds)


@dataclasses.dataclass
class _Loop:
    """The calls of one group, and the work between them."""

    run: Run
    group: Group
    functions: GroupFunctions
    steps: int
    cadence: LoopIntervals
    checkpoints: Checkpoints
    stop: Preemption
    progress: TrainingProgress
    clock: Clock = dataclasses.field(default_factory=Clock)
    compile_seconds: float = 0.0
    timed_steps: int = 0

    def advance(self, state: MembersState, start: int) -> MembersState:
        """Return the state after the last step."""
        chunk = chunk_of(self.cadence, self.steps)
        for first in range(start, self.steps, chunk):
            before = np.asarray(jax.device_get(state.stopped))
            state, metrics = self._call(state, first, chunk)
            step = first + chunk
            stopped = np.asarray(jax.device_get(state.stopped))
            rows = self._records(first, metrics, before, stopped)
            validation = None
            if self.cadence.evaluates(step, self.steps):
                validation = self.functions.validate(state.states.params)
                is_finite = np.isfinite(validation.loss)
                accuracy = np.where(is_finite, validation.accuracy, -1).astype(np.float32)
                state = self.functions.keep_best(state, accuracy, is_finite)
            self._log(rows, step, np.asarray(jax.device_get(state.stopped)), validation)
            self._save(state, step)
        return state

    def _call(self, state: MembersState, first: int, chunk: int) -> tuple[MembersState, Metrics]:
        """Make one call; the first one compiles, and its time does not count."""
        begin = time.perf_counter()
        state, metrics = self.functions.advance(state, first, chunk)
        metrics = Metrics(*(np.asarray(x) for x in jax.device_get(metrics)))
        seconds = time.perf_counter() - begin
        if not self.compile_seconds:
            self.compile_seconds = seconds
        else:
            self.clock.seconds += seconds
            self.timed_steps += chunk
        running = [metrics.loss[..., -1], metrics.accuracy[..., -1]]
        loss, accuracy = (float(np.nanmedian(x)) if np.isfinite(x).any() else math.nan for x in running)
        self.progress.step(first + chunk, loss, accuracy, self.clock.read() or seconds)
        if first + chunk < self.steps:
            self.stop.request(failure_code())
        return state, metrics

    def _records(
        self, first: int, metrics: Metrics, before: np.ndarray, stopped: np.ndarray
    ) -> list[tuple[tuple[int, int], dict[str, Any]]]:
        """Return the records of the steps after `first`, each with the place (seed, variant) of its member."""
        rows = []
        for offset in range(metrics.loss.shape[-1]):
            step = first + offset + 1
            for s, seed in enumerate(self.group.seeds):
                for v, variant in enumerate(self.group.variants):
                    if before[s, v] or 0 < stopped[s, v] < step:
                        continue
                    record: dict[str, Any] = {"variant": variant, "seed": seed, "step": step}
                    if stopped[s, v] == step:
                        record["stopped"] = 1
                    else:
                        values = Metrics(*(float(x[s, v, offset]) for x in metrics))
                        record |= {"loss": values.loss, "accuracy": values.accuracy}
                        record |= {
                            "gradient_norm": values.gradient_norm,
                            "learning_rate": values.learning_rate,
                        }
                    rows.append(((s, v), record))
        return rows

    def _log(
        self,
        rows: Sequence[tuple[tuple[int, int], dict[str, Any]]],
        last: int,
        ended: np.ndarray,
        validation: Any,
    ) -> None:
        """Write the records that are due; those of the last step have the validation."""
        for place, record in rows:
            step = record["step"]
            if step == last and validation is not None and "stopped" not in record:
                if ended[place]:
                    record["stopped"] = 1
                else:
                    record["val_loss"] = float(validation.loss[place])
                    record["val_accuracy"] = float(validation.accuracy[place])
            if (
                "stopped" in record
                or step % self.cadence.log_every == 0
                or self.cadence.evaluates(step, self.steps)
            ):
                self.run.append(record)

    def _save(self, state: MembersState, step: int) -> None:
        """Save and stop, each if it is due."""
        must_stop = bool(self.stop.signal_of_any_host())
        if must_stop or step == self.steps or step % self.cadence.checkpoint_every == 0:
            self.run.log.sync()  # a checkpoint counts on the records up to its step
            self.checkpoints.save(step, state)
        if must_stop:
            self.checkpoints.wait()
            self.progress.say_saved(f"step {step} is saved; continue with --resume")
            self.stop.stop_if_signaled()


def finish_member(run: Run, variant: str, seed: int, row: dict[str, Any]) -> None:
    """Save the result of a member; numbers that are not finite become None."""
    values = {name: None if isinstance(x, float) and not math.isfinite(x) else x for name, x in row.items()}
    run.finish(variant, seed, {name: x if isinstance(x, float) else to_json(x) for name, x in values.items()})
