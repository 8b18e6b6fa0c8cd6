"""The training loop and its run folder: metrics, kill and resume, signals, other meshes and hosts."""

import dataclasses
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments import run
from experiments.run.preemption import Preemption
from experiments.run.progress import Clock
from pdeformer import sharding, train
from tests.helpers import tiny
from tests.helpers.tiny_program import Config, Mesh, main

ROOT = Path(__file__).resolve().parents[3]


def lines(folder):
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


def has_logged(folder, step):
    """Whether the metrics have reached a step. The file is empty between its creation and its first line."""
    return (folder / "metrics.jsonl").exists() and any(record["step"] >= step for record in lines(folder))


def assert_close(records, expected):
    """Assert equal records, with numbers equal to 1e-5, since another mesh adds float32 numbers in another order."""
    for a, b in zip(records, expected, strict=True):
        assert a.keys() == b.keys()
        for name, value in a.items():
            assert value == (pytest.approx(b[name], rel=1e-5) if isinstance(value, float) else b[name]), name


def launch(*arguments, devices=8, **variables):
    """Start the tiny program in another process, with the environment of the tests and `variables`."""
    environment = os.environ | {"JAX_NUM_CPU_DEVICES": str(devices)} | variables
    command = [sys.executable, "-m", "tests.helpers.tiny_program", *map(str, arguments)]
    return subprocess.Popen(
        command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )


def wait_for(condition, process, seconds=120):
    """Wait until the condition holds, as long as the process runs."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert process.poll() is None, process.communicate()[0]
        assert time.monotonic() < deadline, "the program took too long"
        time.sleep(0.01)


@pytest.fixture(scope="module")
def straight(tmp_path_factory):
    """(folder, result) of an uninterrupted run."""
    folder = tmp_path_factory.mktemp("straight") / "run"
    return folder, main(Config(out=folder))[0]


# The files of a run.


def test_run_folder_holds_configuration_versions_metrics_and_summary(straight):
    folder, result = straight
    config = json.loads((folder / "config.json").read_text())
    assert (config["steps"], config["optimizer"]["learning_rate"], config["mesh"]) == (
        12,
        0.01,
        {"data": 1, "model": 1, "fsdp": False},
    )
    assert json.loads((folder / "versions.json").read_text())["jax"] == jax.__version__
    summary = json.loads((folder / "summary.json").read_text())
    assert summary["rows"] == [result._asdict()]
    assert summary["versions"]["device"] == "cpu"


def test_metrics_hold_every_logged_step_once_with_losses_and_validation(straight):
    records = lines(straight[0])
    assert [record["step"] for record in records] == [2, 4, 6, 8, 10, 12]
    assert {(record["variant"], record["seed"]) for record in records} == {("plain", 0)}
    assert [record["step"] for record in records if "val_loss" in record] == [4, 8, 12]
    first = 0.01 / 2  # half-way through two steps of warm-up
    np.testing.assert_allclose(records[0]["learning_rate"], first, rtol=1e-6)


def test_result_is_last_and_best_validation(straight):
    folder, result = straight
    validations = [
        (record["val_accuracy"], record["step"]) for record in lines(folder) if "val_loss" in record
    ]
    assert (result.val_accuracy, 12) == validations[-1]
    assert (result.best_val_accuracy, result.best_step) == max(validations)
    assert result.parameters == 1236
    assert result.tokens_per_second > 0
    assert result.compile_seconds > 0


def test_last_two_checkpoints_and_the_best_are_kept(straight):
    folder, result = straight
    steps = {int(path.name) for path in (folder / "checkpoints" / "plain-0").iterdir()}
    assert steps == {9, 12, result.best_step}


def test_seeds_of_a_variant_share_their_programs():
    traced = []

    def loss_fn(model, batch, key):
        traced.append("evaluation" if key is None else "step")
        return train.classification_loss(model, batch, key)

    optimizer = train.Optimizer()
    for seed in range(2):
        mesh = sharding.make_mesh(data=1)
        programs = run.make_programs(tiny.build, optimizer, 12, mesh, loss_fn)
        state, batch = programs.init(jax.random.key(seed)), sharding.put_batch(tiny.batch_of(0), mesh)
        programs.evaluate(state.params, [batch])
        step = programs.step.lower(state, batch, jax.random.key(seed)).compile()
        step(state, batch, jax.random.key(seed))
    assert traced == ["evaluation", "step"]


def test_each_of_many_variants_finds_its_own_programs_again():
    variants = [train.Optimizer(warmup=steps) for steps in range(10)]
    mesh = sharding.make_mesh(data=1)
    first, second = (
        [run.make_programs(tiny.build, optimizer, 12, mesh) for optimizer in variants] for _ in range(2)
    )
    assert len({id(programs) for programs in first}) == len(variants)
    assert all(a is b for a, b in zip(first, second, strict=True))


# Kill and resume.


def test_kill_9_then_resume_leaves_the_metrics_of_an_uninterrupted_run(straight, tmp_path):
    folder, result = straight
    process = launch("--out", tmp_path, "--pause", 0.25)
    wait_for(lambda: (tmp_path / "checkpoints/plain-0/6").exists() and has_logged(tmp_path, 6), process)
    process.kill()
    process.communicate()
    assert process.returncode == -signal.SIGKILL
    assert lines(tmp_path)[-1]["step"] < 12
    resumed = main(Config(out=tmp_path, resume=True))[0]
    assert (tmp_path / "metrics.jsonl").read_bytes() == (folder / "metrics.jsonl").read_bytes()
    no_times = {"tokens_per_second": 0.0, "compile_seconds": 0.0}
    assert resumed._replace(**no_times) == result._replace(**no_times)


def test_sigterm_saves_the_step_and_exits_with_143_and_the_rest_follows(straight, tmp_path):
    process = launch("--out", tmp_path, "--pause", 0.25)
    wait_for(lambda: has_logged(tmp_path, 4), process)
    process.terminate()
    output, _ = process.communicate(timeout=60)
    assert process.returncode == 143
    (step,) = re.findall(r"stopped by a signal, step (\d+) is saved; continue with --resume", output)
    assert (tmp_path / "checkpoints" / "plain-0" / step).exists()
    steps = []
    main(Config(out=tmp_path, resume=True), spy=steps.append)
    assert min(steps) == int(step)
    assert (tmp_path / "metrics.jsonl").read_bytes() == (straight[0] / "metrics.jsonl").read_bytes()


def test_resume_onto_another_mesh_gives_the_same_numbers(straight, tmp_path):
    stop_at(tmp_path, 6)
    main(Config(out=tmp_path, resume=True, mesh=Mesh(data=4, model=2)))
    assert_close(lines(tmp_path), lines(straight[0]))


def stop_at(folder, step, number=signal.SIGTERM, **changes):
    """Train until a signal arrives during the preparation of the batch of `step` (0-based)."""

    def spy(current_step):
        if current_step == step:
            os.kill(os.getpid(), number)

    with pytest.raises(run.Preempted) as stopped:
        main(dataclasses.replace(Config(out=folder), **changes), spy=spy)
    return stopped.value.code


def test_interrupt_exits_with_130_and_resume_ignores_half_a_checkpoint(straight, tmp_path):
    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    assert stop_at(tmp_path, 6, signal.SIGINT) == 130
    assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)] == before
    checkpoints = tmp_path / "checkpoints" / "plain-0"
    assert (checkpoints / "7").exists()
    incomplete = checkpoints / "11.orbax-checkpoint-tmp"
    incomplete.mkdir()
    (incomplete / "manifest").write_text("half")
    steps = []
    main(Config(out=tmp_path, resume=True), spy=steps.append)
    assert steps == [7, *range(7, 12)]  # the batch for compilation, then those of the remaining steps
    assert not incomplete.exists()
    assert (tmp_path / "metrics.jsonl").read_bytes() == (straight[0] / "metrics.jsonl").read_bytes()


def test_second_signal_ends_the_process_at_once(monkeypatch):
    raised = []
    monkeypatch.setattr(signal, "raise_signal", raised.append)
    with Preemption() as stop:
        os.kill(os.getpid(), signal.SIGTERM)
        assert (stop.signal_of_any_host(), raised) == (signal.SIGTERM, [])
        os.kill(os.getpid(), signal.SIGTERM)
        assert raised == [signal.SIGTERM]
        assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL  # so that it kills


def test_torn_line_and_later_records_are_dropped_and_other_trainings_stay(tmp_path):
    folder = run.open_run(tmp_path, Config(out=tmp_path))
    for variant, seed, step in (("a", 0, 9), ("b", 0, 1), ("b", 0, 2), ("b", 0, 3), ("b", 1, 3)):
        folder.append({"variant": variant, "seed": seed, "step": step, "loss": 0.5})
    with folder.metrics.open("a") as file:
        file.write('{"variant": "b", "seed": 0, "st')
    assert [record["step"] for record in folder.records("b", 0)] == [1, 2, 3]
    folder.truncate_after("b", 0, 2)
    records = [(record["variant"], record["seed"], record["step"]) for record in lines(tmp_path)]
    assert records == [("a", 0, 9), ("b", 0, 1), ("b", 0, 2), ("b", 1, 3)]


def test_finished_trainings_are_not_repeated(tmp_path):
    config = {"variants": ("plain", "steady"), "steps": 4}
    calls = []

    def spy(step):
        calls.append(step)
        if len(calls) == 9:
            os.kill(os.getpid(), signal.SIGTERM)

    with pytest.raises(run.Preempted):
        main(dataclasses.replace(Config(out=tmp_path), **config), spy=spy)
    first = json.loads((tmp_path / "rows" / "plain-0.json").read_text())
    steps = []
    results = main(dataclasses.replace(Config(out=tmp_path, resume=True), **config), spy=steps.append)
    assert results[0]._asdict() == first
    assert [result.variant for result in results] == ["plain", "steady"]
    assert steps == [3, 3]  # only the second variant: the batch for compilation, and the remaining step
    before = (tmp_path / "metrics.jsonl").read_bytes()
    assert main(dataclasses.replace(Config(out=tmp_path, resume=True), **config), spy=steps.append) == results
    assert (tmp_path / "metrics.jsonl").read_bytes() == before
    assert steps == [3, 3]


# Refusals.


def test_existing_run_folder_is_refused_and_left_alone(straight):
    folder, _ = straight
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    with pytest.raises(FileExistsError, match=r"a run needs a folder of its own, got .*use --resume"):
        main(Config(out=folder))
    assert {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()} == before


def test_resume_with_another_configuration_is_refused_with_the_names(straight):
    config = Config(
        out=straight[0], resume=True, steps=14, optimizer=train.Optimizer(learning_rate=2e-2, warmup=2)
    )
    words = r"optimizer\.learning_rate: saved 0\.01, now 0\.02; steps: saved 12, now 14; use the saved values"
    with pytest.raises(ValueError, match=words):
        main(config)


def fresh_state():
    """An initial state of the tiny program."""
    config = Config(out=Path())
    mesh = sharding.make_mesh(data=1)
    return train.init_state(tiny.build, config.optimizer, config.steps, mesh, seed=1)[1]


def test_checkpoint_of_another_model_is_refused_with_the_names(straight):
    state = fresh_state()
    state.params["head"]["kernel"] = jnp.zeros((8, 3))
    state.params["blocks"]["ffn"].pop("up")
    words = (
        "differences in params/blocks/ffn/up/bias: saved float32[2, 16], now nothing; "
        "params/blocks/ffn/up/kernel: saved float32[2, 8, 16], now nothing; "
        "params/head/kernel: saved float32[8, 4], now float32[8, 3] ("
    )
    with (
        run.Checkpoints(straight[0] / "checkpoints" / "plain-0") as checkpoints,
        pytest.raises(ValueError, match=re.escape(words)),
    ):
        checkpoints.restore(state)
    assert not state.step.is_deleted()


@pytest.mark.parametrize("field", ["log_every", "eval_every", "checkpoint_every", "keep"])
def test_cadence_below_one_is_refused(field):
    with pytest.raises(ValueError, match=f"{field} must be at least 1, got 0; change cadence.{field}"):
        run.LoopIntervals(**{field: 0})


def test_loss_that_is_not_finite_stops_and_keeps_the_last_good_checkpoint(tmp_path, monkeypatch):
    def poisoned(step, rows=16):
        batch = batch_of(step, rows)
        return batch | {"weights": np.full(rows, np.nan if step == 7 else 1.0, np.float32)}

    batch_of = tiny.batch_of
    monkeypatch.setattr(tiny, "batch_of", poisoned)
    words = (
        r"got loss nan.*\(plain, seed 0, step 8\); the last good checkpoint is of step 6; lower the learning"
    )
    with pytest.raises(FloatingPointError, match=words):
        main(Config(out=tmp_path))
    assert [record["step"] for record in lines(tmp_path)] == [2, 4, 6]
    with run.Checkpoints(tmp_path / "checkpoints" / "plain-0") as checkpoints:
        assert checkpoints.latest == 6
        state = checkpoints.restore(fresh_state())
    assert state.step == 6
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(state))


# Hosts.


@pytest.mark.slow
def test_two_hosts_train_to_the_numbers_of_one(tmp_path):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
    options = (
        "--out",
        tmp_path / "two",
        "--mesh.data",
        2,
        "--mesh.model",
        2,
        "--coordinator",
        address,
        "--steps",
        6,
    )
    # Only the first host writes the compile cache, so the second one compiles everything, without optimizations.
    quick = {"JAX_DISABLE_MOST_OPTIMIZATIONS": "true"}
    hosts = [launch(*options, "--host", host, devices=2, **quick) for host in (0, 1)]
    outputs = [host.communicate(timeout=180)[0] for host in hosts]
    assert [host.returncode for host in hosts] == [0, 0], "\n".join(outputs)
    assert "validation loss" not in outputs[1]
    (result,) = main(Config(out=tmp_path / "one", mesh=Mesh(data=2, model=2), steps=6))
    (row,) = json.loads((tmp_path / "two" / "summary.json").read_text())["rows"]
    hits = [[path.read_text() for path in (tmp_path / name).glob("hits-*.json")] for name in ("two", "one")]
    assert hits[0] == hits[1] != []  # each host has half of the examples
    assert_close(lines(tmp_path / "two"), lines(tmp_path / "one"))
    assert row["test_loss"] == pytest.approx(result.test_loss, rel=1e-5)
    # One host restores the checkpoints of two hosts.
    (tmp_path / "two" / "rows" / "plain-0.json").unlink()
    (again,) = main(Config(out=tmp_path / "two", resume=True, steps=6))
    assert (again.test_loss, again.best_step) == (pytest.approx(result.test_loss, rel=1e-5), result.best_step)


def test_clock_counts_every_step_between_two_pauses_and_no_pause(monkeypatch):
    now = iter([10.0, 11.0, 15.0, 20.0, 22.0])
    monkeypatch.setattr(time, "perf_counter", lambda: next(now))
    clock = Clock()
    clock.start()  # at 10
    clock.start()  # the next step: already counting
    assert clock.read() == 1.0
    clock.stop()  # at 15
    clock.start()  # at 20
    assert clock.read() == 5.0 + 2.0


def test_a_new_run_folder_has_the_next_free_number(tmp_path):
    names = [run.next_folder(tmp_path / "lra", "quick").name for _ in range(3)]
    assert names == ["quick-001", "quick-002", "quick-003"]
