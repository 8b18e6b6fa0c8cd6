"""Two hosts that run `experiments.pid_llava` together."""

import json
import os
import socket
import subprocess
import sys

import pytest

from tests.helpers import toy_llava


@pytest.mark.parametrize(
    ("options", "counts"),
    [
        pytest.param("", [30, 30], marks=pytest.mark.slow, id="shares"),
        pytest.param(
            "--mesh.model 2 --target logits", [60], marks=pytest.mark.exhaustive, id="one model on two hosts"
        ),
    ],
)
def test_two_hosts_capture_and_the_first_reports_all(tmp_path, options, counts):
    folder = toy_llava.write(tmp_path / "model", vocab_size=58)  # so that two devices share the output map
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = f"""
        {sys.executable} -m experiments.pid_llava --model {folder} --config recommended --tasks QueryAttr
        --capture.rows 60 --capture.samples 60 --capture.least 30 --capture.no-only-correct --capture.no-windows
        --estimation.components 2 --estimation.draws 4 --estimation.shuffles 2 --corners.rows 0
        --out {tmp_path / "run"} --cache {tmp_path / "kept"} --hosts.coordinator 127.0.0.1:{port} --hosts.count 2
        {options}
    """.split()
    hosts = [
        subprocess.Popen(
            [*command, "--hosts.index", str(i)],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env=os.environ | {"JAX_NUM_CPU_DEVICES": "1"},
        )
        for i in (0, 1)
    ]
    outputs = [host.communicate(timeout=180)[0] for host in hosts]
    assert [host.returncode for host in hosts] == [0, 0], "\n".join(outputs)
    summary = json.loads((tmp_path / "run" / "summary.json").read_text())
    assert summary["captured"][0]["used"] == 60
    assert len(summary["decomposed"]) == 1
    (store,) = [path for path in (tmp_path / "kept" / "captures").iterdir() if path.is_dir()]
    assert counts == [
        sum(len(json.loads(line)["places"]) for line in path.read_text().splitlines())
        for path in sorted(store.glob("manifest-*.jsonl"))
    ]
    assert "Statements of the paper" in outputs[0]
    assert "Statements of the paper" not in outputs[1]
