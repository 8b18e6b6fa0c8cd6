"""`--device-data`: the same numbers as with batches from the host, one program for several steps."""

import dataclasses
import json
import signal

import jax
import numpy as np
import pytest

from experiments import lra, run
from experiments.data import arrays
from experiments.lra import program, requirements
from experiments.run.training import step_trace
from pdeformer import sharding
from tests.experiments.lra.test_lra import TINY

PLAIN = dataclasses.replace(
    TINY,
    steps=9,
    placement=("none",),
    cadence=run.LoopIntervals(log_every=2, eval_every=6, checkpoint_every=3, keep=3),
)
ON_DEVICE = dataclasses.replace(PLAIN, device_data=True)
TIMED = ("tokens_per_second", "compile_seconds")


@pytest.fixture(scope="module")
def places(tmp_path_factory):
    """Folder of the data, and folder of an uninterrupted run with batches from the host."""
    data, out = tmp_path_factory.mktemp("data"), tmp_path_factory.mktemp("host") / "run"
    lra.main(dataclasses.replace(PLAIN, data_dir=data, out=out))
    return data, out


def result(folder):
    (row,) = json.loads((folder / "summary.json").read_text())["rows"]
    return {name: value for name, value in row.items() if name not in TIMED}


def weights(folder, config, step):
    splits, mesh = program.prepare(config), sharding.make_mesh(1)
    state = programs_of(config, splits, mesh).init(jax.random.key(0))
    with run.Checkpoints(run.Run(folder).checkpoints("baseline", 0)) as checkpoints:
        return checkpoints.restore(state, step).params


def programs_of(config, splits, mesh):
    train = splits["train"]
    model = config.network((), len(train.vocabulary), train.classes)
    loss = arrays.classifier_loss(train.first_id)
    return run.make_programs(program.builder(model), config.optimizer, config.steps, mesh, loss)


def check_row(row, expected):
    assert row.keys() == expected.keys()
    for name, value in expected.items():
        assert row[name] == (pytest.approx(value, rel=1e-5) if isinstance(value, float) else value)


def check_same(folder, reference, config):
    """The log, the result and the last weights are those of the reference, up to the rounding of another program."""
    logs = [(place / "metrics.jsonl").read_text().splitlines() for place in (folder, reference)]
    for own, line in zip(*logs, strict=True):
        check_row(json.loads(own), json.loads(line))
    check_row(result(folder), result(reference))
    last, expected = (weights(place, config, config.steps) for place in (folder, reference))
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-7), last, expected)


def test_losses_log_and_weights_are_those_of_batches_from_the_host(places, tmp_path, monkeypatch):
    data, reference = places
    config = dataclasses.replace(ON_DEVICE, data_dir=data, out=tmp_path / "run")
    calls = record_calls(monkeypatch)
    lra.main(config)
    check_same(config.out, reference, config)
    assert calls == [(0, 3), (0, 3), (3, 3), (6, 3)]  # the first one compiles


def record_calls(monkeypatch, interrupt=None):
    """Return the list of (step, count) of all inputs; a signal arrives with the input of one step."""
    calls, batches = [], arrays.DeviceData.batches

    def spy(self, batch_size, *, seed, step, count=1):
        calls.append((step, count))
        if step == interrupt and calls.count((step, count)) == (2 if step == 0 else 1):
            signal.raise_signal(signal.SIGTERM)
        return batches(self, batch_size, seed=seed, step=step, count=count)

    monkeypatch.setattr(arrays.DeviceData, "batches", spy)
    return calls


def test_a_run_that_was_stopped_goes_on_from_its_last_group_of_steps(places, tmp_path, monkeypatch):
    data, reference = places
    config = dataclasses.replace(ON_DEVICE, data_dir=data, out=tmp_path / "run")
    with monkeypatch.context() as patch:
        record_calls(patch, interrupt=3)
        with pytest.raises(SystemExit) as stopped:
            lra.main(config)
    assert stopped.value.code == 143
    calls = record_calls(monkeypatch)
    lra.main(dataclasses.replace(config, resume=True))
    assert calls == [(6, 3), (6, 3)]
    check_same(config.out, reference, config)


def test_a_run_may_go_on_with_its_data_on_the_device_from_any_step(places, tmp_path, monkeypatch):
    data, reference = places
    config = dataclasses.replace(PLAIN, data_dir=data, out=tmp_path / "run")
    batch = program.batch

    def batch_with_signal(config, split, mesh, *, seed, step):
        if step == 3:  # the fourth step
            signal.raise_signal(signal.SIGTERM)
        return batch(config, split, mesh, seed=seed, step=step)

    with monkeypatch.context() as patch:
        patch.setattr(program, "batch", batch_with_signal)
        with pytest.raises(SystemExit):
            lra.main(config)
    calls = record_calls(monkeypatch)
    lra.main(dataclasses.replace(config, resume=True, device_data=True))
    assert calls == [(4, 1), *((step, 1) for step in range(4, 9))]  # gcd(3, 4) steps a call
    check_same(config.out, reference, config)


def test_intervals_without_a_common_divisor_make_single_steps(places, tmp_path, monkeypatch):
    cadence = run.LoopIntervals(log_every=1, eval_every=2, checkpoint_every=3)
    config = dataclasses.replace(
        ON_DEVICE, steps=3, cadence=cadence, data_dir=places[0], out=tmp_path / "run"
    )
    calls = record_calls(monkeypatch)
    lra.main(config)
    assert {count for _, count in calls} == {1}
    assert len((tmp_path / "run" / "metrics.jsonl").read_text().splitlines()) == 3


def test_several_steps_are_one_program_for_every_seed_and_equal_single_steps_on_a_mesh(places):
    config = dataclasses.replace(PLAIN, data_dir=places[0])
    splits, mesh = program.prepare(config), sharding.make_mesh(2)
    programs, data = programs_of(config, splits, mesh), arrays.DeviceData(splits["train"], mesh)
    steps = arrays.scan_steps(programs.step, mesh, programs.init(jax.random.key(0)))
    for seed in (0, 1):
        key = jax.random.key(seed)
        state, metrics = programs.init(key), []
        for step in range(4):
            batch = program.batch(config, splits["train"], mesh, seed=seed, step=step)
            state, own = programs.step(state, batch, key)
            metrics.append(own)
        several = programs.init(key)
        assert arrays.scan_steps(programs.step, mesh, several) is steps
        columns = []
        for step in (0, 2):
            several, own = steps(several, data.batches(config.batch, seed=seed, step=step, count=2), key)
            columns.append(own)
        losses = np.concatenate([own.loss for own in columns])
        np.testing.assert_allclose(losses, [own.loss for own in metrics], rtol=1e-6)
        assert int(several.step) == int(state.step) == 4
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-6), several.params, state.params)
    assert steps._cache_size() == 1


def test_the_device_gathers_the_rows_of_the_host(places):
    splits, mesh = program.prepare(dataclasses.replace(PLAIN, data_dir=places[0])), sharding.make_mesh(1)
    split = splits["train"]
    values, rows = arrays.DeviceData(split, mesh).batches(8, seed=3, step=24, count=2)  # an epoch has 25
    for own, step in zip(np.asarray(rows), (24, 25), strict=True):
        batch = arrays.batch(split, 8, seed=3, step=step)
        for name, array in values.items():
            np.testing.assert_array_equal(np.asarray(array)[own], getattr(batch, name))
    assert values["tokens"].dtype == np.uint8
    assert values["tokens"].sharding.is_fully_replicated


def test_data_that_do_not_fit_a_device_are_refused(monkeypatch):
    mesh = sharding.make_mesh(2)
    requirements.check(ON_DEVICE, mesh)
    monkeypatch.setattr(requirements, "memory_bytes", lambda: 2 * 200 * 24 - 1)
    with pytest.raises(ValueError, match=r"got 200 examples of 24 bytes, .* GiB; drop it"):
        requirements.check(ON_DEVICE, mesh)
    requirements.check(PLAIN, mesh)


# The trace of a training whose calls make several steps.


@pytest.mark.parametrize(
    ("start", "steps", "group", "traced", "words"),
    [
        (0, 12, 1, [3, 4, 5, 6, 7], "steps 3 to 7"),
        (0, 3, 1, [1, 2, 3], "steps 1 to 3"),
        (2, 12, 1, [5, 6, 7, 8, 9], "steps 5 to 9"),
        (0, 400, 100, [101], "steps 101 to 200"),
        (0, 12, 4, [5, 9], "steps 5 to 12"),
        (4, 12, 4, [5, 9], "steps 5 to 12"),
        (0, 10, 10, [1], "steps 1 to 10"),
        (0, 8, 2, [3, 5, 7], "steps 3 to 8"),
    ],
)
def test_a_trace_has_whole_calls_and_ends(start, steps, group, traced, words, tmp_path, monkeypatch):
    open_traces, calls, lines = [], [], []
    monkeypatch.setattr(jax.profiler, "start_trace", open_traces.append)
    monkeypatch.setattr(jax.profiler, "stop_trace", open_traces.pop)
    trace = step_trace.StepTrace(tmp_path, start, steps, lines.append, group)
    for step in range(start + 1, steps + 1, group):
        with trace.step(step) as results:
            results.append(step)
            calls += [step] if open_traces else []
    assert (calls, open_traces) == (traced, [])
    assert [words in line for line in lines] == [True]
