"""The stability program as a whole: states that are not finite are results, and a run continues."""

import json
from dataclasses import replace

import pytest

from experiments import stability
from experiments.run.studies import study
from experiments.stability import Horizon, Initialization, Network

TINY = replace(
    stability.PRESETS["quick"][1],
    seeds=(0, 1),
    only=("initialization", "horizon"),
    network=Network(width=8, heads=2, ffn=8, tokens=5, rows=1),
    initialization=Initialization(depths=(2, 16), gains=(1.0, 500.0), diffusivities=(0.0, 0.2)),
    horizon=Horizon(layers=8, gains=(1.0, 500.0), substeps=(1, 2)),
)


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A run folder and its summary."""
    folder = tmp_path_factory.mktemp("stability") / "run"
    return folder, stability.main(replace(TINY, out=folder))


def test_states_that_are_not_finite_are_reported_by_step_and_drawn(finished):
    folder, summary = finished
    lines = {claim: (measured, verdict) for claim, measured, verdict in summary["initialization"]["table"]}
    measured, verdict = lines["without norm a network of gain 500 explodes"]
    assert "not finite in 2 of 2 seeds" in measured
    assert "first layer that is not finite" in measured
    assert verdict == "yes"
    for name in ("initialization_layers_large_gain", "initialization_map", "horizon"):
        assert (folder / f"{name}.png").stat().st_size > 0
    json.loads((folder / "summary.json").read_text())  # NaN would be no JSON


def test_a_finished_section_is_not_measured_again(finished, monkeypatch):
    folder, summary = finished

    monkeypatch.setattr(study, "measure", None)
    assert stability.main(replace(TINY, out=folder, resume=True))["horizon"] == summary["horizon"]
