"""A signal stops one host or several at any moment: before the first step, during compilation, in a checkpoint."""

import signal

import pytest

from tests.experiments.run.hosts.loopback import end_of, start_hosts, wait_for
from tests.helpers.tiny_program import Config, main


def stop_in(phase, count, numbers, folder):
    """Send signals, a number for each host or 0 for none, while all hosts are in a phase; return their outputs."""
    hosts = start_hosts([folder] * count, "--steps", "12", "--stay-in", phase)
    wait_for(lambda: all((folder.parent / f"{phase}-{host}").exists() for host in range(count)), hosts)
    for host, number in zip(hosts, numbers, strict=True):
        if number:
            host.send_signal(number)
    outputs, codes, seconds = end_of(hosts)
    assert codes == [128 + max(numbers)] * count, outputs
    assert seconds < (
        50 if phase == "checkpoint" else 15
    )  # in a checkpoint, steps to the next logged one follow
    return outputs


def resumes(folder):
    """Resume to the end, and return the first step of this start."""
    steps = []
    assert main(Config(out=folder, resume=True), spy=steps.append)
    return min(steps)


@pytest.mark.exhaustive
def test_a_signal_during_compilation_ends_one_process(tmp_path):
    (output,) = stop_in("compile", 1, [signal.SIGTERM], tmp_path / "run")
    assert output.endswith("stopped by SIGTERM; what is finished is saved, continue with --resume\n")
    assert resumes(tmp_path / "run") == 0


@pytest.mark.slow
def test_a_signal_to_one_host_before_the_first_step_ends_both(tmp_path):
    outputs = stop_in("data", 2, [0, signal.SIGTERM], tmp_path / "run")
    assert "stopped by SIGTERM; what is finished is saved" in outputs[1]
    assert "host 1 of 2 was stopped by SIGTERM, so host 0 ends too; start all of them again" in outputs[0]
    assert resumes(tmp_path / "run") == 0


CASES = [
    (phase, count, victims)
    for phase in ("data", "compile", "checkpoint")
    for count, victims in ((1, "0"), (2, "0"), (2, "1"), (2, "01"), (4, "0"), (4, "2"), (4, "0123"))
]


@pytest.mark.exhaustive
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT], ids=lambda number: number.name)
@pytest.mark.parametrize(("phase", "count", "victims"), CASES)
def test_a_signal_at_any_moment_saves_what_there_is_and_ends_all(phase, count, victims, number, tmp_path):
    numbers = [number if str(host) in victims else 0 for host in range(count)]
    outputs = stop_in(phase, count, numbers, tmp_path / "run")
    assert "Traceback" not in "".join(outputs)
    first = resumes(tmp_path / "run")
    assert first > 0 if phase == "checkpoint" else first == 0
