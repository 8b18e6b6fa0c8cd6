"""The runs on long sequences, on two hosts: accuracy and records are those of one process."""

import json

import pytest

from tests.experiments.run.hosts.loopback import end_of, free_address, start_modules

OPTIONS = (
    *("long-quick", "--variants", "plain", "--items", "2", "--vocabulary", "12", "--train-length", "16"),
    *("--train-rows", "64", "--lengths", "64", "--test-rows", "6", "--steps", "4", "--batch", "8"),
    *(
        "--model.layers",
        "1",
        "--model.width",
        "8",
        "--model.heads",
        "2",
        "--model.ffn",
        "8",
        "--repeats",
        "1",
    ),
    *("--cadence.log-every", "1", "--cadence.eval-every", "2", "--cadence.checkpoint-every", "2"),
)


def run_hosts(count, folder):
    """Return the summary of a run of some hosts, of one device each."""
    shared = [*OPTIONS, "--out", folder / "run", "--data-dir", folder / "data", "--mesh.data", str(count)]
    words = [shared]
    if count > 1:
        joined = [*shared, "--hosts.coordinator", free_address(), "--hosts.count", str(count)]
        words = [[*joined, "--hosts.index", str(host)] for host in range(count)]
    outputs, codes, _ = end_of(start_modules("experiments.lm", words), timeout=300)
    assert codes == [0] * count, outputs
    return json.loads((folder / "run" / "summary.json").read_text())


@pytest.mark.exhaustive
def test_two_hosts_measure_long_rows_as_one_process(tmp_path):
    one, two = (run_hosts(count, tmp_path / str(count)) for count in (1, 2))
    for name in ("accuracy", "rows"):
        assert [row[name] for row in two["long"]] == pytest.approx([row[name] for row in one["long"]])
    assert two["rows"][0]["test_loss"] == pytest.approx(one["rows"][0]["test_loss"], rel=1e-5)
    metrics = [
        [json.loads(line) for line in (tmp_path / count / "run" / "metrics.jsonl").read_text().splitlines()]
        for count in ("1", "2")
    ]
    assert [r["loss"] for r in metrics[1]] == pytest.approx([r["loss"] for r in metrics[0]], rel=1e-5)
