"""Two hosts share the members of a run: the records are those of one process, also after a stop."""

import dataclasses
import json
import signal
from typing import Any

import numpy as np
import pytest

from experiments import placement, run
from experiments.lra.learned import example_hits
from experiments.placement.member_files import load_sites
from tests.experiments.placement.placement_host import SHARED
from tests.experiments.placement.placement_tasks import small_listops
from tests.experiments.run.hosts.loopback import end_of, free_address, start_modules, wait_for_step


def start_hosts(out, data, *words):
    """Start both hosts, with two devices each."""
    address = free_address()
    own = [(out, data, address, host, *words) for host in (0, 1)]
    return start_modules("tests.experiments.placement.placement_host", own, devices=2)


def finish(hosts):
    """Wait for the end of both hosts, and return what they print."""
    outputs, codes, _ = end_of(hosts, timeout=300)
    assert codes == [0, 0], outputs
    return outputs


def records(folder):
    lines = (folder / "listops" / "metrics.jsonl").read_text().splitlines()
    parsed = [json.loads(line) for line in lines]
    return {(record["variant"], record["seed"], record["step"]): record for record in parsed}


@pytest.fixture(scope="module")
def straight(tmp_path_factory):
    """(folder, summary) of the run of one process."""
    folder = tmp_path_factory.mktemp("straight")
    with small_listops():
        config = dataclasses.replace(SHARED, out=folder / "run", data_dir=folder / "data")
        return folder, placement.main(config)


def check_equal(out, straight):
    """Compare records, rows, hits and files of a run with those of one process."""
    folder, summary = straight
    expected, own = records(folder / "run"), records(out)
    assert own.keys() == expected.keys()
    for key, record in expected.items():
        for name in ("loss", "gradient_norm", "val_loss"):
            assert own[key].get(name, 0.0) == pytest.approx(record.get(name, 0.0), rel=1e-4), (key, name)
    rows = json.loads((out / "summary.json").read_text())["rows"]
    assert [row["variant"] for row in rows] == [row["variant"] for row in summary["rows"]]
    one, two = run.Run(folder / "run" / "listops"), run.Run(out / "listops")
    for row in rows:
        member = row["variant"], row["seed"]
        hits: Any = [example_hits.load(folder, *member) for folder in (one, two)]
        assert np.array_equal(hits[0].last, hits[1].last)
        assert load_sites(two, *member).keys() == load_sites(one, *member).keys() != set()


@pytest.mark.slow
def test_two_hosts_train_as_one_process(straight, tmp_path):
    finish(start_hosts(tmp_path / "run", straight[0] / "data"))
    check_equal(tmp_path / "run", straight)


@pytest.mark.exhaustive
def test_two_hosts_that_were_stopped_go_on_as_one_process(straight, tmp_path):
    out, data = tmp_path / "run", straight[0] / "data"
    hosts = start_hosts(out, data)
    wait_for_step(out / "listops", 2, hosts)
    hosts[1].send_signal(signal.SIGTERM)
    outputs, codes, _ = end_of(hosts, timeout=120)
    assert codes == [143, 143], outputs
    assert "resumed at step" in finish(start_hosts(out, data, "resume"))[0]
    check_equal(out, straight)
