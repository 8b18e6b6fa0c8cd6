"""Signals: which ones stop a program, how it ends, and what stays ignored."""

import hashlib
import os
import signal
import threading

import pytest

from experiments import run
from experiments.run.termination import preemption
from experiments.run.termination.preemption import Preemption, stop_at_signals
from tests.helpers.tiny_program import Config, main

NAMES = ("SIGTERM", "SIGINT", "SIGHUP", "SIGUSR1", "SIGUSR2", "SIGXCPU")
SIGNALS = [getattr(signal, name) for name in NAMES if hasattr(signal, name)]


def send(number):
    os.kill(os.getpid(), number)


@pytest.mark.parametrize("number", SIGNALS, ids=lambda number: number.name)
def test_every_signal_saves_the_step_and_exits_with_128_and_its_number(number, tmp_path, capsys):
    with pytest.raises(run.Preempted) as stopped:
        main(Config(out=tmp_path / "run"), spy=lambda step: send(number) if step == 6 else None)
    assert stopped.value.code == 128 + number
    assert (tmp_path / "run/checkpoints/plain-0/7").exists()
    assert (
        capsys.readouterr()
        .out.splitlines()[-1]
        .endswith("stopped by a signal, step 7 is saved; continue with --resume")
    )


def test_signal_during_the_test_after_the_last_step_saves_the_result(tmp_path, capsys, monkeypatch):
    def test_accuracy_of_the_best(checkpoints, *arguments):
        send(signal.SIGUSR1)
        return restore(checkpoints, *arguments)

    restore = run.Checkpoints.restore
    monkeypatch.setattr(run.Checkpoints, "restore", test_accuracy_of_the_best)
    with pytest.raises(run.Preempted):
        main(Config(out=tmp_path / "run"))
    assert (tmp_path / "run/rows/plain-0.json").exists()
    assert "stopped by a signal, the result is saved; continue with --resume" in capsys.readouterr().out


def test_ignored_signal_stays_ignored():
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)  # as nohup leaves it
    try:
        with Preemption() as stop:
            send(signal.SIGHUP)
            assert stop.signal_of_any_host() == 0
        assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
        with stop_at_signals():
            send(signal.SIGHUP)
    finally:
        signal.signal(signal.SIGHUP, before)


def test_warnings_may_arrive_several_times_and_before_a_request(monkeypatch):
    raised = []
    monkeypatch.setattr(signal, "raise_signal", raised.append)
    with Preemption() as stop:
        for number in (signal.SIGUSR1, signal.SIGHUP, signal.SIGHUP, signal.SIGTERM, signal.SIGHUP):
            send(number)
        assert (stop.signal_of_any_host(), raised) == (signal.SIGUSR1, [])
        send(signal.SIGINT)  # the second request
        assert raised == [signal.SIGINT]


def test_a_request_counts_like_a_signal():
    with Preemption() as stop:
        stop.request(signal.SIGPIPE)
        stop.request(signal.SIGTERM)
    with pytest.raises(run.Preempted) as stopped:
        stop.stop_if_signaled()
    assert stopped.value.code == 128 + signal.SIGPIPE


@pytest.mark.parametrize("number", SIGNALS, ids=lambda number: number.name)
def test_measuring_program_ends_at_once_with_one_line(number, capsys):
    handlers = [signal.getsignal(other) for other in SIGNALS]
    measure = stop_at_signals()(lambda: [send(number), pytest.fail("the signal has not stopped the program")])
    with pytest.raises(run.Preempted) as stopped:
        measure()
    assert stopped.value.code == 128 + number
    assert capsys.readouterr().err == (
        f"stopped by {number.name}; what is finished is saved, continue with --resume\n"
    )
    assert [signal.getsignal(other) for other in SIGNALS] == handlers


def test_signal_of_a_training_inside_gets_its_own_line_only(tmp_path, capsys):
    with pytest.raises(run.Preempted), stop_at_signals():
        main(Config(out=tmp_path / "run"), spy=lambda step: send(signal.SIGTERM) if step == 6 else None)
    output = capsys.readouterr()
    assert "step 7 is saved" in output.out
    assert output.err == ""


class Ended(Exception):
    """Stands for the end of the process."""


@pytest.fixture
def ends(monkeypatch):
    """Exit codes with which the process would have ended, with little patience."""
    codes = []

    def end(code):
        codes.append(code)
        raise Ended

    monkeypatch.setattr(preemption, "PATIENCE", 0.05)
    monkeypatch.setattr(os, "_exit", end)
    monkeypatch.setattr(threading, "excepthook", lambda arguments: None)  # for Ended
    return codes


def compute_outside_of_python():
    """Keep the main thread from calling handlers, as XLA does while it compiles or computes."""
    hashlib.pbkdf2_hmac("sha256", b"", b"", 1_000_000)


def test_a_computation_that_does_not_return_to_python_is_ended(ends, capsys):
    threading.Timer(0.05, send, [signal.SIGTERM]).start()
    with pytest.raises(run.Preempted):
        stop_at_signals()(compute_outside_of_python)()
    assert ends == [128 + signal.SIGTERM]
    assert "stopped by SIGTERM; what is finished is saved" in capsys.readouterr().err


def test_a_second_request_ends_a_training_that_does_not_return_to_python(ends, monkeypatch):
    monkeypatch.setattr(signal, "raise_signal", lambda number: None)
    with Preemption() as stop:
        for delay in (0.01, 0.05):
            threading.Timer(delay, send, [signal.SIGINT]).start()
        compute_outside_of_python()
        assert stop.signal_of_any_host() == signal.SIGINT
    assert ends == [128 + signal.SIGINT]


def test_a_signal_that_is_handled_ends_nothing_else(ends):
    with Preemption() as stop:
        send(signal.SIGTERM)
        assert stop.signal_of_any_host() == signal.SIGTERM
        compute_outside_of_python()
    with pytest.raises(run.Preempted), stop_at_signals():
        send(signal.SIGTERM)
    assert ends == []
    assert signal.set_wakeup_fd(-1) == -1
