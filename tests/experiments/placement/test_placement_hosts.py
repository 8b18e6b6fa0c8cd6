"""Two hosts share the members of a run, are stopped and go on: the records are those of one process."""

import dataclasses
import json
import signal

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


def records(folder):
    lines = (folder / "listops" / "metrics.jsonl").read_text().splitlines()
    parsed = [json.loads(line) for line in lines]
    return {(record["variant"], record["seed"], record["step"]): record for record in parsed}


@pytest.mark.slow
def test_two_hosts_stop_and_go_on_as_one_process(tmp_path):
    with small_listops():
        straight = placement.main(
            dataclasses.replace(SHARED, out=tmp_path / "straight", data_dir=tmp_path / "data")
        )
    out = tmp_path / "run"
    hosts = start_hosts(out, tmp_path / "data")
    wait_for_step(out / "listops", 2, hosts)
    hosts[1].send_signal(signal.SIGTERM)
    outputs, codes, _ = end_of(hosts, timeout=120)
    assert codes == [143, 143], outputs
    outputs, codes, _ = end_of(start_hosts(out, tmp_path / "data", "resume"), timeout=300)
    assert codes == [0, 0], outputs
    assert "resumed at step" in outputs[0]

    expected, own = records(tmp_path / "straight"), records(out)
    assert own.keys() == expected.keys()
    for key, record in expected.items():
        for name in ("loss", "gradient_norm", "val_loss"):
            assert own[key].get(name, 0.0) == pytest.approx(record.get(name, 0.0), rel=1e-4), (key, name)
    summary = json.loads((out / "summary.json").read_text())
    assert [row["variant"] for row in summary["rows"]] == [row["variant"] for row in straight["rows"]]
    one, two = (run.Run(folder / "listops") for folder in (tmp_path / "straight", out))
    for row in straight["rows"]:
        member = row["variant"], row["seed"]
        hits, expected_hits = example_hits.load(two, *member), example_hits.load(one, *member)
        assert np.array_equal(hits.last, expected_hits.last)
        sites, expected_sites = load_sites(two, *member), load_sites(one, *member)
        assert sites.keys() == expected_sites.keys() != set()
