"""`python -m experiments.placement` as a whole: rows, records, figures, resumption, members that stop, selection."""

import dataclasses
import json
import signal
from typing import Any

import jax.numpy as jnp
import matplotlib.image
import numpy as np
import pytest

from experiments import placement, run
from experiments.lra.learned import example_hits, learned_stencils
from experiments.placement import family_training, program
from experiments.placement.member_files import load_sites
from experiments.placement.sites.site_states import sites_of
from experiments.run.report.paired import compare_hits
from pdeformer import sharding
from tests.experiments.placement.placement_tasks import CONFIG, TASK, small_listops
from tests.helpers.sampling import sample

VAL, TEST = 12, 20
NAMES = [
    "baseline",
    "adaptive@after_embedding",
    "adaptive@after_attention",
    "convolution@after_embedding",
    "convolution@after_attention",
]


@pytest.fixture(scope="module", autouse=True)
def miniature():
    """Shrink ListOps, for all tests of this file."""
    with small_listops():
        yield


@pytest.fixture(scope="module")
def config(tmp_path_factory):
    return dataclasses.replace(CONFIG, data_dir=tmp_path_factory.mktemp("data"))


@pytest.fixture(scope="module")
def straight(config, tmp_path_factory):
    """(configuration, summary) of an uninterrupted run."""
    own = dataclasses.replace(config, out=tmp_path_factory.mktemp("straight") / "run")
    return own, placement.main(own)


def records(folder):
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


def contents(folder, *names):
    files = sorted(path for name in names for path in folder.glob(name))
    assert files
    return {path.relative_to(folder): path.read_bytes() for path in files}


def test_every_member_has_a_row_and_the_records_of_a_training(straight):
    config, summary = straight
    rows = {(row["variant"], row["seed"]): row for row in summary["rows"]}
    assert list(rows) == [(name, seed) for seed in (0, 3) for name in NAMES]
    by_member = {}
    for record in records(config.out / "listops"):
        by_member.setdefault((record["variant"], record["seed"]), []).append(record)
    assert by_member.keys() == rows.keys()
    for member, own in by_member.items():
        assert [record["step"] for record in own] == [1, 2, 3, 4, 5, 6]
        assert [record["step"] for record in own if "val_loss" in record] == [2, 4, 6]
        row = rows[member]
        assert (row["steps"], row["stopped"]) == (6, 0)
        assert row["val_loss"] == pytest.approx(own[-1]["val_loss"], rel=1e-5)
        best = max((r["val_accuracy"], r["step"]) for r in own if "val_accuracy" in r)
        assert row["best_val_accuracy"] == pytest.approx(best[0], rel=1e-5)
        assert row["best_step"] == best[1]
    layer = {row["variant"]: row["layer_parameters"] for row in summary["rows"]}
    assert [layer[name] for name in NAMES] == [0, 32, 32, 48, 48]
    assert json.loads((config.out / "summary.json").read_text()) == summary


def test_the_weights_are_selected_on_the_validation_split(straight):
    config, _ = straight
    accuracies = [r["val_accuracy"] for r in records(config.out / "listops") if "val_accuracy" in r]
    whole = np.array(accuracies) * VAL
    np.testing.assert_allclose(whole, np.round(whole), atol=1e-5)  # not so for shares of the 20 test examples
    assert len(set(np.round(whole))) > 1


def test_differences_are_those_of_the_saved_hits(straight):
    config, summary = straight
    folder = run.Run(config.out / "listops")
    lines = {line["variant"]: line for line in summary["lines"]}
    assert list(lines) == NAMES
    hits: Any = {(v, s): example_hits.load(folder, v, s) for v in NAMES for s in (0, 3)}
    assert {len(own.last) for own in hits.values()} == {TEST}

    def column(name, weights):
        return [getattr(hits[name, seed], weights) for seed in (0, 3)]

    for name, control in (("adaptive@after_embedding", "convolution@after_embedding"), (NAMES[2], NAMES[4])):
        for field, other, weights in (
            ("difference", "baseline", "last"),
            ("best_difference", "baseline", "best"),
            ("against_convolution", control, "best"),
        ):
            expected = compare_hits(column(name, weights), column(other, weights))
            assert list(lines[name][field].values()) == pytest.approx(list(expected), abs=1e-5)
    assert lines["baseline"]["difference"]["value"] is None


def test_files_and_figures_are_there(straight):
    config, summary = straight
    folder = run.Run(config.out / "listops")
    for name in ("differences", "smoothing", "spectra", "sites"):
        assert matplotlib.image.imread(folder.folder / f"{name}.png").ndim == 3
    taps = learned_stencils.load(folder, "adaptive@after_attention", 3)["after_attention"]
    assert taps.shape == (1, 16, 3)
    np.testing.assert_allclose(taps.sum(axis=-1), 1, atol=1e-6)
    sites = load_sites(folder, "baseline", 0)
    assert sites.keys() == {"best", "initial"}
    assert len(sites["best"]) == len(sites_of(1))
    for row in sites["initial"]:
        assert 0 < row["share_of_bound"] < 1.01
        assert row["share_of_energy_bound"] <= row["share_of_bound"] + 1e-6
    assert load_sites(folder, "adaptive@after_attention", 3).keys() == {"best"}
    assert len(summary["verdicts"]["listops"]) >= 2


def stop_at_step_3(config, kind, monkeypatch):
    """Run until a signal arrives before the third step of a family."""
    batches = family_training.FamilyTraining.batches

    def stop(training, first, count):
        if training.family.variants[-1].kind == kind and first == 2:
            signal.raise_signal(signal.SIGTERM)
        return batches(training, first, count)

    with monkeypatch.context() as patch:
        patch.setattr(family_training.FamilyTraining, "batches", stop)
        with pytest.raises(run.Preempted):
            placement.main(config)


@pytest.mark.parametrize("kind", sample(["convolution", "adaptive"], 2))
def test_a_run_that_is_stopped_and_resumed_is_that_of_one_start(
    kind, straight, config, tmp_path, monkeypatch
):
    reference, _ = straight
    own = dataclasses.replace(config, out=tmp_path / "run", rows=0)
    batches = family_training.FamilyTraining.batches
    stop_at_step_3(own, kind, monkeypatch)
    assert max(r["step"] for r in records(own.out / "listops") if r["variant"].startswith(kind)) == 4
    with (own.out / "listops" / "metrics.jsonl").open(
        "a"
    ) as file:  # what a kill may leave after a checkpoint
        file.write(
            json.dumps({"variant": f"{kind}@after_embedding", "seed": 3, "step": 5, "loss": 1.0}) + "\n{"
        )
    first_steps = []

    def spy(training, first, count):
        first_steps.append((training.family.variants[-1].kind, first))
        return batches(training, first, count)

    monkeypatch.setattr(family_training.FamilyTraining, "batches", spy)
    placement.main(dataclasses.replace(own, resume=True))
    assert [first for k, first in first_steps if k == kind] == [4]
    for name in ("metrics.jsonl", "hits/*", "stencils/*"):
        assert contents(own.out / "listops", name) == contents(reference.out / "listops", name)


def test_a_run_continues_on_another_mesh(straight, config, tmp_path, monkeypatch, capsys):
    """Two groups of devices pad the three variants to four, one group does not."""
    reference, _ = straight
    own = dataclasses.replace(
        config, out=tmp_path / "run", controls=(), rows=0, mesh=placement.Mesh(data=2, model=2)
    )
    stop_at_step_3(own, "adaptive", monkeypatch)
    assert "1 of 2 groups of devices repeat a variant" in capsys.readouterr().out
    assert max(r["step"] for r in records(own.out / "listops")) == 4
    placement.main(dataclasses.replace(own, resume=True, mesh=placement.Mesh(data=1)))
    expected = [r for r in records(reference.out / "listops") if "convolution" not in r["variant"]]
    for record, other in zip(records(own.out / "listops"), expected, strict=True):
        assert record.pop("variant") == other.pop("variant")
        assert record == pytest.approx(other, rel=1e-4, abs=1e-6)


def test_a_finished_run_trains_nothing_and_more_seeds_train_only_these(
    straight, config, tmp_path, monkeypatch
):
    reference, summary = straight
    monkeypatch.setattr(program, "train_and_save", None)  # nothing may be trained
    assert placement.main(dataclasses.replace(reference, resume=True)) == summary
    words = ["--out", str(reference.out), "--resume", "--seeds", "1", "--controls", "shift"]
    more = placement.command_line(words)
    assert (more.seeds, more.controls) == ((0, 3, 1), ("convolution", "shift"))
    folder = run.Run(reference.out / "listops")
    splits = dict(TASK.data().prepare(config.data_dir))
    families = program.unfinished_families(more, "listops", splits, folder)
    assert [([v.name for v in f.variants], f.seeds) for f in families] == [
        (NAMES[:3], (1,)),
        (NAMES[3:], (1,)),
        (["shift@after_embedding", "shift@after_attention"], (0, 3, 1)),
    ]
    with pytest.raises(ValueError, match="steps: saved"):
        placement.main(dataclasses.replace(reference, resume=True, steps=(7,)))


def test_the_perturbation_bound_is_that_of_the_first_seed_also_for_seeds_that_come_later(
    straight, config, tmp_path, monkeypatch
):
    reference, _ = straight
    more, bounds = dataclasses.replace(reference, seeds=(0, 3, 1)), []
    splits = dict(TASK.data().prepare(config.data_dir))
    finished = run.Run(reference.out / "listops")
    family = program.unfinished_families(more, "listops", splits, finished)[0]
    assert family.seeds == (1,)
    monkeypatch.setattr(program, "train_family", lambda *_: (None, []))
    monkeypatch.setattr(program, "save_files", lambda *_, bound_of: bounds.append(bound_of))
    mesh = sharding.make_mesh(1)
    program.train_and_save(more, family, splits, mesh, run.Run(tmp_path), run.open_console())
    assert bounds == [0]


def test_a_member_that_is_not_finite_has_a_row_that_says_so(straight, config, tmp_path, monkeypatch, capsys):
    reference, _ = straight
    start = family_training.FamilyTraining.start

    def broken(training):
        state = start(training)
        kernel = state.states.params["head"]["kernel"]
        index = [v.place for v in training.family.variants].index("after_attention")
        state.states.params["head"]["kernel"] = kernel.at[1, index, 0, 0].set(jnp.nan)
        return state

    monkeypatch.setattr(family_training.FamilyTraining, "start", broken)
    own = dataclasses.replace(config, out=tmp_path / "run", controls=(), rows=0)
    summary = placement.main(own)
    rows = {(row["variant"], row["seed"]): row for row in summary["rows"]}
    member = "adaptive@after_attention", 3
    assert (rows[member]["stopped"], rows[member]["best_step"], rows[member]["val_loss"]) == (1, 0, None)
    assert rows[member]["test_accuracy"] == 0
    own_records = [r for r in records(own.out / "listops") if (r["variant"], r["seed"]) == member]
    assert own_records == [{"variant": member[0], "seed": 3, "step": 1, "stopped": 1}]
    others = [r for r in records(own.out / "listops") if (r["variant"], r["seed"]) != member]
    expected = [
        r
        for r in records(reference.out / "listops")
        if (r["variant"], r["seed"]) != member and "convolution" not in r["variant"]
    ]
    assert others == expected
    assert "stopped" in capsys.readouterr().out
    monkeypatch.setattr(program, "train_and_save", None)
    assert placement.main(dataclasses.replace(own, resume=True)) == summary
