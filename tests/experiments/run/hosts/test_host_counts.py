"""A run goes on with another number of hosts: the losses are those of an uninterrupted run."""

import json
import os
import signal

import numpy as np
import pytest

from experiments import run
from tests.experiments.run.hosts.loopback import end_of, start_hosts, wait_for_step
from tests.helpers.tiny_program import Config, main


def losses(folder):
    """Return {step: loss}."""
    lines = (folder / "metrics.jsonl").read_text().splitlines()
    return {record["step"]: record["loss"] for record in map(json.loads, lines)}


@pytest.fixture(scope="module")
def straight(tmp_path_factory):
    """Losses of one process without a stop."""
    folder = tmp_path_factory.mktemp("straight") / "run"
    main(Config(out=folder))
    return losses(folder)


def stop(count, folder):
    """Train with some hosts until a signal to the last one."""
    if count == 1:
        with pytest.raises(run.Preempted):
            main(
                Config(out=folder),
                spy=lambda step: os.kill(os.getpid(), signal.SIGTERM) if step == 5 else None,
            )
        return
    hosts = start_hosts([folder] * count, "--pause", "0.3")
    wait_for_step(folder, 4, hosts)
    hosts[-1].send_signal(signal.SIGTERM)
    outputs, codes, _ = end_of(hosts)
    assert codes == [143] * count, outputs
    assert max(losses(folder)) < 12


def resume(count, folder):
    """Go on to the last step."""
    if count == 1:
        main(Config(out=folder, resume=True))
        return
    outputs, codes, _ = end_of(start_hosts([folder] * count, "--resume"))
    assert codes == [0] * count, outputs
    assert "resumed at step" in outputs[0]


@pytest.mark.parametrize(
    ("first", "second"),
    [
        pytest.param(1, 2, marks=pytest.mark.slow),
        pytest.param(2, 1, marks=pytest.mark.slow),
        *(pytest.param(*counts, marks=pytest.mark.exhaustive) for counts in ((1, 4), (4, 1), (2, 4), (4, 2))),
    ],
)
def test_losses_do_not_depend_on_the_number_of_hosts(first, second, straight, tmp_path):
    stop(first, tmp_path / "run")
    resume(second, tmp_path / "run")
    resumed = losses(tmp_path / "run")
    assert resumed.keys() == straight.keys()
    np.testing.assert_allclose(list(resumed.values()), list(straight.values()), rtol=1e-5)
