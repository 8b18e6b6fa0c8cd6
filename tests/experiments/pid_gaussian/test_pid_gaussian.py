"""`python -m experiments.pid_gaussian`: planted decompositions, studies, runs and their folders, refusals."""

import dataclasses
import json
from typing import get_args

import numpy as np
import pytest

from experiments import pid_gaussian
from experiments.pid_gaussian import planted_claims, program
from experiments.pid_gaussian.config import StudyName
from experiments.pid_gaussian.studies import (
    bias,
    coverage,
    flow_recovery,
    speed,
    transduction,
    trust,
)
from experiments.pid_gaussian.systems import planted, situations, structured, warped
from pid import Interval
from pid.estimators.results import FIELDS, pid_from_array, pid_to_array
from tests.helpers import pid_oracle as oracle

QUICK, FULL = (config for _, config in pid_gaussian.PRESETS.values())
N, LAYERS, DRAWS = 64, 5, 20  # all tests use the same sizes, so that programs are compiled once
TINY = pid_gaussian.Config(
    planted=pid_gaussian.Planted(layers=LAYERS, n=N, draws=DRAWS, shuffles=2, debias="wishart", networks=2),
    bias=pid_gaussian.Bias(structured=(9,), null=(9,), n=N, repeats=2, methods=("wishart", "none")),
    coverage=pid_gaussian.Coverage(d=9, n=N, repeats=2, at_once=1, draws=DRAWS, methods=("wishart",)),
    flow=pid_gaussian.Flow(n=100, target=4, source=4),
    trust=pid_gaussian.Trust(repeats=2, draws=DRAWS),
    speed=pid_gaussian.Speed(dims=(9,), batch=2, n=N, draws=DRAWS, layers=1, sets=1, d=9),
)


@pytest.fixture(scope="module")
def ran(tmp_path_factory):
    """(configuration, summary) of the planted layers at tiny size."""
    config = dataclasses.replace(TINY, out=tmp_path_factory.mktemp("pid") / "run")
    return config, pid_gaussian.main(config)


def contents(folder):
    return {path: path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


# Systems.


def test_the_planted_layers_have_the_published_decomposition():
    t = np.array(list(oracle.PLANTED)) / 32
    base, knocked_out = (planted.truth(t, knockout=knockout) for knockout in (False, True))
    atoms = np.stack(
        [
            getattr(knocked_out if name.startswith("knockout_") else base, name.removeprefix("knockout_"))
            for name in oracle.PLANTED_COLUMNS
        ],
        axis=1,
    )
    np.testing.assert_allclose(atoms, list(oracle.PLANTED.values()), atol=1e-6)


@pytest.mark.parametrize("knockout", [False, True])
def test_planted_covariances_are_those_of_the_mixture_and_samples_have_them(knockout):
    t = planted.depths(2)
    covs = planted.covariances(t, knockout=knockout)
    for cov, depth in zip(covs, t, strict=True):
        np.testing.assert_allclose(cov, oracle.planted_layer(depth, knockout=knockout)[0], atol=1e-12)
    samples = planted.sample(t, 20_000, 0)
    y = np.stack([samples.y_knocked_out] * 2) if knockout else samples.y
    for layer, cov in enumerate(covs):
        rows = np.hstack([samples.target, samples.x[layer], y[layer]])
        np.testing.assert_allclose(rows.T @ rows / len(rows), cov, atol=0.2)


def test_the_structured_system_has_its_known_answer_and_nothing_has_none():
    known, truth = oracle.structured_system(9), structured.truth(structured.gains(9))
    np.testing.assert_allclose(structured.covariance(structured.gains(9)), known.cov, atol=1e-12)
    for name, value in known.truth.items():
        assert getattr(truth, name) == pytest.approx(value, abs=1e-10)
    assert np.abs(structured.truth(structured.zero_gains(9))).max() < 1e-12


def test_series_and_heavy_tails_have_the_moments_of_the_structured_system():
    gains = structured.gains(4)
    cov = structured.covariance(gains)
    series = np.concatenate(structured.sample_series(gains, 40, 900, 0), axis=-1)
    np.testing.assert_allclose(np.einsum("rni,rnj->ij", series, series) / 36_000, cov, atol=0.35)
    lagged = np.einsum("rni,rnj->ij", series[:, 1:], series[:, :-1]) / 35_960
    np.testing.assert_allclose(lagged, 0.9 * cov, atol=0.35)
    tails = np.concatenate(structured.sample_heavy_tails(gains, 40, 900, 0), axis=-1).reshape(36_000, 12)
    np.testing.assert_allclose(np.cov(tails.T), 5 / 3 * cov, atol=0.25)  # variance of t(5)
    assert np.mean((tails[:, 0] / tails[:, 0].std()) ** 4) > 5


@pytest.mark.parametrize("rows", [pytest.param("student", marks=pytest.mark.exhaustive), "series"])
def test_coverage_of_other_rows_is_measured_by_the_same_program(rows):
    size = pid_gaussian.Coverage(
        d=4, n=400, rows=rows, repeats=2, at_once=2, draws=DRAWS, methods=("thinned",)
    )
    row = coverage.measure("thinned", 0, size, 0)
    assert row["rows"] == rows
    truth = structured.truth(structured.gains(4)).mi_joint
    low, value, high = (np.array(row[end]["mi_joint"]) for end in ("low", "value", "high"))
    assert np.all((low < value) & (value < high))
    np.testing.assert_allclose(value, truth, atol=1.0)


def test_warps_share_one_gaussian_system_and_are_undone_by_their_inverses():
    elementwise, rotated = (warped.generate(50, 4, 4, 1, rotated=flag) for flag in (False, True))
    np.testing.assert_allclose(pid_to_array(elementwise.truth), pid_to_array(rotated.truth))
    for before, after in zip(elementwise[:3], rotated[:3], strict=True):
        np.testing.assert_allclose((before**2).sum(1), (after**2).sum(1), rtol=1e-9)
        assert np.abs(before - after).max() > 0.01
    gaussian = elementwise.target**3
    assert abs(gaussian.std() - 1) < 0.3
    rotation = warped.rotation(np.random.default_rng(0), 5)
    np.testing.assert_allclose(rotation @ rotation.T, np.eye(5), atol=1e-12)


# Statements and counting.


def test_statements_hold_and_fail_where_they_must():
    t = planted.depths(LAYERS)
    truth, knocked_out = planted.truth(t), planted.truth(t, knockout=True)
    change = pid_from_array(pid_to_array(knocked_out) - pid_to_array(truth))
    peaks, last, decays, surges, small = planted_claims.judge_layers(truth, truth, ("vision", "language"))
    assert peaks.truth == "0, 4, 2, 0, 0"
    assert last.estimate == "0.0 %, 85.8 %, 10.8 %, 3.4 %"
    assert [claim.truth.split(":")[0] for claim in (decays, surges, small)] == ["holds", "holds", "fails"]
    comparison = transduction.Comparison(change, Interval(change, change))
    raised = planted_claims.judge_knockout(change, comparison, ("vision", "language"))
    assert [claim.truth.split(" layers")[0] for claim in raised] == [
        "holds: higher in 4 of 4",
        "in part: higher in 1 of 4",
        "fails: higher in 0 of 4",
    ]
    assert raised[1].estimate.endswith("interval above 0 in 1, below in 3")


def test_inside_counts_the_layers_whose_interval_has_the_truth():
    truth = planted.truth(planted.depths(LAYERS))
    low = pid_from_array(pid_to_array(truth) - np.array([0.1, 0, -0.1, 0.1, 0.1])[:, None])
    assert set(transduction.inside(Interval(low, truth), truth).values()) == {0.8}


def test_coverage_and_bias_are_counted_over_chunks_and_seeds():
    def row(seed, values):
        numbers = {role: {f: values for f in FIELDS} for role in ("value", "low")}
        high = {"high": {f: [v + 1 for v in values] for f in FIELDS}}
        labels = {
            "method": "wishart",
            "d": 9,
            "n": N,
            "level": 0.9,
            "rows": "independent",
            "truth": dict.fromkeys(FIELDS, 2.5),
        }
        return {"part": "", "seed": seed, **labels, **numbers, **high}

    result = coverage.count_coverage([row(0, [1.0, 2.0]), row(1, [2.5, 4.0])])
    assert [row["field"] for row in result] == list(FIELDS)
    first = result[0]
    assert (first["count"], first["coverage"], first["width"]) == (4, 0.5, 1)
    assert first["bias"] == pytest.approx(9.5 / 4 - 2.5)
    assert coverage.error(0.9, 100) == pytest.approx(0.03)


# The planted run.


def test_a_run_writes_what_it_says(ran):
    config, summary = ran
    assert json.loads((config.out / "summary.json").read_text()) == summary
    assert (summary["program"], summary["study"], summary["seeds"]) == ("pid_gaussian", "planted", [0])
    for name in ("planted", "stack", "shares", "trajectories", "knockout", "spectrum"):
        assert (config.out / f"{name}.png").read_bytes().startswith(b"\x89PNG")
    (part,) = summary["parts"]
    assert len(part["layers"]) == LAYERS
    assert len(part["covered"]) == len(part["covered_difference"]) == 2
    np.testing.assert_allclose(
        part["truth"]["mi_joint"], [record[0] for record in oracle.PLANTED.values()], atol=1e-5
    )
    for record in part["layers"]:
        assert record["unique_x"] + record["redundancy"] == pytest.approx(record["mi_x"], abs=1e-4)
        assert record["mi_joint_low"] < record["mi_joint"] < record["mi_joint_high"]
        assert record["flags"] == ""
    few, statements, coverages = summary["tables"]
    assert few["columns"] == ["layer", "bits", "truth", "plug-in", "corrected", "90 % interval", "null up to"]
    assert len(few["rows"]) == LAYERS * 5
    assert len(statements["rows"]) == 8
    assert [row[:2] for row in coverages["rows"]][:2] == [["estimate", "shown"], ["estimate", "all 2"]]


def test_the_knockout_changes_nothing_at_the_first_layer(ran):
    (part,) = ran[1]["parts"]
    for field in FIELDS:
        record = part["knockout"][field]
        assert [record[role][0] for role in ("truth", "difference", "low", "high")] == [0, 0, 0, 0]
    assert part["knockout"]["mi_joint"]["truth"][-1] < -1


def test_resuming_repeats_nothing_and_leaves_the_folder_as_it_was(ran, monkeypatch):
    config, summary = ran
    before = contents(config.out)
    monkeypatch.setattr(transduction, "measure", None)
    assert pid_gaussian.main(dataclasses.replace(config, resume=True)) == summary
    assert contents(config.out) == before
    changed = dataclasses.replace(config, resume=True, planted=dataclasses.replace(TINY.planted, n=N + 1))
    with pytest.raises(ValueError, match="planted.n"):
        pid_gaussian.main(changed)


def test_an_existing_folder_is_refused_and_left_alone(ran):
    config, _ = ran
    before = contents(config.out)
    with pytest.raises(FileExistsError, match=r"use --resume .* or another --out"):
        pid_gaussian.main(config)
    assert contents(config.out) == before


# Studies.


@pytest.mark.parametrize(
    ("study", "columns", "rows", "parts"),
    [
        ("bias", ["system", "correction"], 6, 2),
        (
            "coverage",
            ["correction", "bits", "truth", "mean", "bias", "sd", "bias / sd", "width", "coverage"],
            7,
            2,
        ),
        ("flow", ["data", "by"], 6, 4),
        ("trust", ["situation", "kind", "sound", "doubtful", "not to be used"], 2, 2),
        ("speed", ["d", "ms per decomposition", "decompositions per second", "draws per second"], 1, 2),
    ],
)
def test_a_study_has_its_columns_and_its_parts(study, columns, rows, parts, tmp_path, monkeypatch):
    monkeypatch.setattr(
        flow_recovery, "METHODS", {"raw": "none", "copula": "copula"}
    )  # the flow has its own tests
    few = ("Gaussian, 1-1-1, n = 300", "rows repeated three times")
    monkeypatch.setattr(trust, "SITUATIONS", {name: situations.SITUATIONS[name] for name in few})
    summary = pid_gaussian.main(dataclasses.replace(TINY, study=study, out=tmp_path / "run"))
    first = summary["tables"][0]
    assert first["columns"][: len(columns)] == columns
    assert len(first["rows"]) == rows
    assert all(len(row) == len(first["columns"]) for row in first["rows"])
    assert len(summary["parts"]) == parts
    assert (tmp_path / "run" / f"{study}.png").exists() == (study != "speed")


def test_a_study_that_was_stopped_goes_on_with_the_parts_that_are_missing(tmp_path, monkeypatch):
    config = dataclasses.replace(TINY, study="coverage", out=tmp_path / "run")
    measured, measure = [], coverage.measure

    def stopped(method, chunk, *rest):
        if chunk == 1 and not measured:
            measured.append(chunk)
            raise KeyboardInterrupt
        return measure(method, chunk, *rest)

    monkeypatch.setattr(coverage, "measure", stopped)
    with pytest.raises(KeyboardInterrupt):
        pid_gaussian.main(config)
    resumed = pid_gaussian.main(dataclasses.replace(config, resume=True))
    uninterrupted = pid_gaussian.main(dataclasses.replace(config, out=tmp_path / "whole"))
    assert resumed["tables"] == uninterrupted["tables"]


def test_bias_pools_the_data_sets_of_all_seeds():
    def row(seed, value):
        values = {field: [value, value + 1] for field in FIELDS}
        truth = dict.fromkeys(FIELDS, 1.0)
        return {
            "system": "structured",
            "d": 9,
            "n": N,
            "seed": seed,
            "truth": truth,
            "estimates": {"plug-in": values},
        }

    (pooled,) = bias.pool_seeds([row(0, 1.0), row(1, 3.0)])
    assert pooled["estimates"]["plug-in"]["synergy"] == [1, 2, 3, 4]
    (result,) = bias.report([row(0, 1.0), row(1, 3.0)])
    assert result.rows == [("structured, d = 9", "plug-in", *["1.500 ± 0.645"] * 7)]


def test_a_median_time_is_that_of_warm_calls():
    calls = []
    assert speed.seconds(lambda: calls.append(0)) < 1
    assert len(calls) == 1 + speed.CALLS


# The command line.


def test_no_word_is_quick_and_every_preset_is_itself_on_the_command_line():
    assert pid_gaussian.command_line([]) == QUICK
    assert pid_gaussian.command_line(["full"]) == FULL
    words = "--study coverage --seeds 4 5 --out o --coverage.methods thinned --coverage.repeats 50"
    config = pid_gaussian.command_line(words.split())
    assert (config.study, config.seeds, str(config.out)) == ("coverage", (4, 5), "o")
    assert config.coverage == dataclasses.replace(QUICK.coverage, methods=("thinned",), repeats=50)
    for name, (_, preset) in pid_gaussian.PRESETS.items():
        assert preset.preset == name


def test_help_documents_every_field(capsys):
    with pytest.raises(SystemExit):
        pid_gaussian.command_line(["quick", "--help"])
    text = capsys.readouterr().out
    for field in dataclasses.fields(pid_gaussian.Config):
        assert (f"--{field.name}" in text) == (field.name != "preset")


@pytest.mark.parametrize(
    ("words", "message"),
    [("quik", "did you mean quick?"), ("nonsense", "choose among them"), ("--study biases", "bias")],
)
def test_what_cannot_be_read_exits_with_2_and_a_suggestion(words, message, capsys):
    with pytest.raises(SystemExit) as stopped:
        pid_gaussian.command_line(words.split())
    assert stopped.value.code == 2
    output = capsys.readouterr()
    assert message in " ".join((output.out + output.err).replace("│", " ").split())


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"seeds": (1, 1)}, "one or more different numbers"),
        ({"resume": True}, "got no --out"),
        ({"npz": "a.npz", "study": "bias"}, "takes the place of a study"),
        ({"npz": "a.npz", "seeds": (0, 1)}, "estimated with one seed"),
        ({"planted": pid_gaussian.Planted(layers=2)}, "three layers or more"),
        ({"bias": pid_gaussian.Bias(structured=(8,))}, "raise --bias.structured"),
        ({"coverage": pid_gaussian.Coverage(d=3)}, "raise --coverage.d"),
        ({"coverage": pid_gaussian.Coverage(repeats=1)}, "raise --coverage.repeats"),
        ({"coverage": pid_gaussian.Coverage(repeats=30)}, "multiple of coverage.at_once, got 30 and 25"),
        ({"speed": pid_gaussian.Speed(n=300)}, "raise --speed.n"),
    ],
)
def test_contradictions_are_refused_when_the_configuration_is_made(changes, message):
    with pytest.raises(ValueError, match=message):
        dataclasses.replace(QUICK, **changes)


def test_every_study_of_the_command_line_has_a_program():
    assert set(get_args(StudyName)) | {"activations"} == set(program.STUDIES)
