"""`python -m experiments.lra`: a run from data to figures, resume, table, and refusals."""

import dataclasses
import itertools
import json
import math
import signal

import jax
import numpy as np
import pytest
from flax import nnx

from experiments import lra, run
from experiments.data import listops
from experiments.lra import program
from experiments.lra.comparison import report
from experiments.lra.learned import example_hits, learned_stencils
from experiments.run.report.paired import compare_hits
from pdeformer import sharding, train
from pdeformer.layers import PDEAttentionConfig, StencilConfig
from pdeformer.model import Classifier, ModelConfig

QUICK = lra.PRESETS["quick"][1]
TINY = dataclasses.replace(
    QUICK,
    steps=4,
    batch=8,
    mesh=lra.Mesh(data=1),
    model=lra.Network(layers=1, width=16, heads=2, ffn=16, max_len=24, dropout=0.1),
    generated=lra.Generated(min_length=9, max_length=25, train=200, val=50, test=50),
    cadence=run.LoopIntervals(log_every=1, eval_every=2, checkpoint_every=1, keep=1),
)
DROPOUT = dataclasses.replace(TINY.model, attention_dropout=0.1)
NO_DROPOUT = dataclasses.replace(TINY.model, dropout=0.0, attention_dropout=0.0)
ROW = {
    *("variant", "seed", "steps", "parameters", "test_accuracy", "val_accuracy", "tokens_per_second"),
    *("compile_seconds", "best_step", "best_test_accuracy", "best_val_accuracy", "test_loss", "val_loss"),
    *("data", "test_examples", "accuracy_by_depth"),
}


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    """The tiny configuration, with prepared data."""
    return dataclasses.replace(TINY, data_dir=tmp_path_factory.mktemp("data"))


@pytest.fixture(scope="module")
def straight(tiny, tmp_path_factory):
    """(configuration, summary, labels of the batches of each step) of an uninterrupted run."""
    config = dataclasses.replace(tiny, out=tmp_path_factory.mktemp("straight") / "run")
    labels: dict[int, list[list[int]]] = {}

    def spy(config, split, mesh, *, seed, step, batch=program.batch):
        rows = batch(config, split, mesh, seed=seed, step=step)
        labels.setdefault(step, []).append(rows["labels"].tolist())
        return rows

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(program, "batch", spy)
        return config, lra.main(config), labels


def contents(folder):
    return {path: path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def metrics(folder):
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


# A run.


def test_summary_has_the_promised_fields_and_is_what_main_returns(straight):
    config, summary, _ = straight
    assert json.loads((config.out / "summary.json").read_text()) == summary
    assert list(summary) == [
        *("program", "preset", "task", "title", "rows", "baselines", "ladder", "matches", "data", "versions")
    ]
    assert (summary["program"], summary["preset"]) == ("lra", "quick")
    assert [(row["variant"], row["seed"], row["steps"]) for row in summary["rows"]] == [
        ("baseline", 0, 4),
        ("after_embedding", 0, 4),
    ]
    assert all(row.keys() == ROW for row in summary["rows"])
    assert summary["rows"][0]["data"] == "generated"
    baseline, variant = (row["parameters"] for row in summary["rows"])
    assert variant == baseline + 2 * config.model.width  # rate and share of every channel


def test_ladder_is_that_of_the_data_trained_on(straight):
    config, summary, _ = straight
    splits = program.prepare(config)
    labels = [np.bincount(splits[name].labels, minlength=10) for name in ("train", "test")]
    assert summary["baselines"]["majority"] == labels[1][labels[0].argmax()] / 50
    assert summary["baselines"] == listops.baseline_accuracies(splits["train"], splits["test"])
    assert summary["ladder"] == summary["baselines"]  # the old key


def test_variants_see_the_same_batches(straight):
    _, _, labels_of_steps = straight
    assert sorted(labels_of_steps) == [0, 1, 2, 3]
    for labels in labels_of_steps.values():
        assert all(other == labels[0] for other in labels)
        assert len(labels) >= 2
    assert labels_of_steps[0][0] != labels_of_steps[1][0]


def test_every_seed_begins_with_the_weights_of_that_seed(tiny, tmp_path, monkeypatch):
    initial = {}
    monkeypatch.setattr(
        program.run, "train", lambda _, *, seed, state, **__: initial.update({seed: state.params})
    )
    splits, mesh = program.prepare(tiny), sharding.make_mesh(1)
    model = tiny.network((), len(listops.VOCABULARY), listops.CLASSES)
    for seed in (0, 1):
        program.train_one(tiny, "baseline", seed, splits, mesh, run.Run(tmp_path))
        build = program.builder(model)
        expected = train.init_state(build, tiny.optimizer, tiny.steps, mesh, seed=seed)[1].params
        jax.tree.map(np.testing.assert_array_equal, initial[seed], expected)
    heads = [params["head"]["kernel"] for params in initial.values()]
    assert not np.array_equal(*heads)


def test_accuracies_are_those_of_the_last_weights_on_the_split_they_name(straight):
    config, summary, _ = straight
    mesh, splits = sharding.make_mesh(1), program.prepare(config)
    model = config.network((), len(listops.VOCABULARY), listops.CLASSES)
    graphdef, state, _ = train.init_state(
        lambda rngs: Classifier(model, rngs), config.optimizer, config.steps, mesh, seed=0
    )
    with run.Checkpoints(run.Run(config.out).checkpoints("baseline", 0)) as checkpoints:
        params = checkpoints.restore(state, 4).params
    row = summary["rows"][0]
    for split, accuracy in (("test", row["test_accuracy"]), ("val", row["val_accuracy"])):
        data = splits[split]
        segments = (np.arange(24)[None] < data.lengths[:, None]).astype(np.int32)
        logits = nnx.merge(graphdef, params)(np.asarray(data.tokens, np.int32), segments)
        assert accuracy == pytest.approx(np.mean(np.argmax(np.asarray(logits), -1) == data.labels))


def test_figures_and_stencils_are_written(straight):
    config, _, _ = straight
    for name in ("curves.png", "stencils.png"):
        assert (config.out / name).read_bytes().startswith(b"\x89PNG")
    learned = learned_stencils.load(run.Run(config.out), "after_embedding", 0)["after_embedding"]
    assert learned.shape == (1, 16, 3)
    np.testing.assert_allclose(learned.sum(-1), 1, rtol=1e-6)
    assert 0 < np.abs(learned[..., 2] - 0.1).max() < 0.01  # it starts at 0.1 and has made four steps
    assert learned_stencils.load(run.Run(config.out), "baseline", 0) == {}


def test_hits_are_those_of_the_test_accuracies_and_the_difference_has_its_interval(straight):
    config, summary, _ = straight
    pairs = []
    for row in summary["rows"]:
        hits = example_hits.load(run.Run(config.out), row["variant"], 0)
        assert hits is not None
        accuracies = (row["test_accuracy"], row["best_test_accuracy"])
        assert (hits.last.mean(), hits.best.mean()) == pytest.approx(accuracies)
        assert hits.last.shape == (50,)
        pairs.append(hits)
    (differences,) = json.loads((config.out / "differences.json").read_text()).values()
    expected = compare_hits([pairs[1].last], [pairs[0].last])
    assert differences["last"] == pytest.approx(expected._asdict(), abs=1e-6)


def test_resuming_a_finished_run_changes_nothing(straight, monkeypatch):
    config, summary, _ = straight
    before = contents(config.out)
    monkeypatch.setattr(train, "init_state", None)  # no state may even be built
    assert lra.main(dataclasses.replace(config, resume=True)) == summary
    assert contents(config.out) == before


def test_sigterm_then_resume_leaves_the_metrics_of_an_uninterrupted_run(straight, tmp_path, monkeypatch):
    config, summary, _ = straight
    config = dataclasses.replace(config, out=tmp_path / "run")
    reference = straight[0].out
    batch = program.batch

    def batch_with_signal(config, split, mesh, *, seed, step):
        if step == 2:
            signal.raise_signal(signal.SIGTERM)
        return batch(config, split, mesh, seed=seed, step=step)

    with monkeypatch.context() as patch:
        patch.setattr(program, "batch", batch_with_signal)
        with pytest.raises(SystemExit) as stopped:
            lra.main(config)
    assert stopped.value.code == 143
    assert [record["step"] for record in metrics(config.out)] == [1, 2, 3]
    resumed = lra.main(dataclasses.replace(config, resume=True))
    assert metrics(config.out) == metrics(reference)
    timed = {"tokens_per_second", "compile_seconds"}
    for row, expected in zip(resumed["rows"], summary["rows"], strict=True):
        assert {k: v for k, v in row.items() if k not in timed} == {
            k: v for k, v in expected.items() if k not in timed
        }


def test_mesh_of_four_by_two_gives_the_losses_of_one_device(straight, tmp_path):
    config, summary, _ = straight
    wide = dataclasses.replace(
        config, out=tmp_path / "run", mesh=lra.Mesh(data=4, model=2), placement=("none",), seeds=(0,)
    )
    row = lra.main(wide)["rows"][0]
    assert row["test_loss"] == pytest.approx(summary["rows"][0]["test_loss"], rel=1e-5)
    for ours, expected in zip(metrics(wide.out), metrics(config.out), strict=False):
        assert ours["loss"] == pytest.approx(expected["loss"], rel=1e-5)


def test_evolved_attention_is_trained_beside_the_baseline_and_its_coefficients_are_summarized(
    straight, tmp_path, capsys
):
    config, summary, _ = straight
    attention = PDEAttentionConfig("advection-diffusion", share="step", steps=2)
    changes = {"placement": ("none",), "attention": attention, "steps": 2, "model": NO_DROPOUT}
    evolved = dataclasses.replace(config, out=tmp_path / "run", **changes)
    rows = lra.main(evolved)["rows"]
    assert [row["variant"] for row in rows] == ["baseline", "attention_advection-diffusion"]
    assert rows[0].keys() == ROW
    assert rows[1].keys() == ROW | {"coefficients"}
    assert rows[1]["parameters"] == rows[0]["parameters"] + 2 * 2 * config.model.heads  # α and β, two steps
    coefficients = {name: np.array(value) for name, value in rows[1]["coefficients"].items()}
    assert {name: value.shape for name, value in coefficients.items()} == {
        "alpha": (1, 2, 2),
        "beta": (1, 2, 2),
    }
    for name, initial in (("alpha", 0.1), ("beta", 0.03)):
        assert 0 < np.abs(coefficients[name] - initial).max() < 1e-3  # two steps of a warm-up
    assert "alpha 0.1000 to 0.1000 (began at 0.1), beta 0.03" in capsys.readouterr().out
    assert not (evolved.out / "stencils.png").exists()
    before = contents(evolved.out)
    assert lra.main(dataclasses.replace(evolved, resume=True))["rows"] == rows
    assert contents(evolved.out) == before


def test_accuracy_by_depth_is_that_of_the_hits(straight):
    config, summary, _ = straight
    tokens = program.prepare(config)["test"].tokens
    for row in summary["rows"]:
        hits = example_hits.load(run.Run(config.out), row["variant"], 0)
        assert hits is not None
        expected = listops.accuracy_by_depth(tokens, hits.last)
        assert row["accuracy_by_depth"] == {
            str(depth): values._asdict() for depth, values in expected.items()
        }
        assert sum(values["examples"] for values in row["accuracy_by_depth"].values()) == 50


# The table.


def test_table_has_mean_and_sd_over_seeds_binomial_error_and_paired_gain():
    def result(variant, seed, test):
        return run.Result(
            variant, seed, 10, 7, 1.0, 0.5, 10, 0.5, 1.0, test, test - 0.1, 1e3 * (1 + seed), 2.0
        )

    accuracies = {"baseline": (0.4, 0.6), "after_ffn": (0.5, 0.6)}
    results = [result(name, seed, values[seed]) for name, values in accuracies.items() for seed in (0, 1)]
    baseline, variant = report.lines(results, 100)
    assert baseline.test == pytest.approx(0.5)
    assert baseline.sd == pytest.approx(0.2 / math.sqrt(2))
    assert baseline.se == pytest.approx(0.05)
    assert baseline.best == pytest.approx(0.4)
    assert math.isnan(baseline.gain)
    assert variant.gain == pytest.approx(0.05)
    assert variant.gain_sd == pytest.approx(0.1 / math.sqrt(2))
    assert variant.tokens_per_second == 1500
    assert math.isnan(report.lines(results[:1], 100)[0].sd)


# Stencils for the figure.


@pytest.mark.parametrize(
    ("stencil", "shared", "width"),
    [
        (StencilConfig(), True, 3),
        (StencilConfig(learned=True, steps=2), True, 5),
        (StencilConfig(kind="adaptive", width=7), False, 7),
        (StencilConfig(kind="adaptive", free=True), False, 3),
        (StencilConfig(kind="multiscale", dilations=(1, 2)), False, 5),
        (StencilConfig(kind="multiscale", dilations=(1, 4), gated=True), True, 9),
    ],
)
def test_stencils_of_every_kind_are_layers_by_channels_by_taps(stencil, shared, width):
    config = ModelConfig(
        layers=2, width=8, heads=1, placements=("after_embedding", "before_ffn"), stencil=stencil
    )
    stencils = learned_stencils.of_model(Classifier(config, nnx.Rngs(0)))
    channels, layers = (
        1 if shared else 8,
        1 if stencil == StencilConfig() else 2,
    )  # a fixed number is not stacked
    assert {name: t.shape for name, t in stencils.items()} == {
        "after_embedding": (1, channels, width),
        "before_ffn": (layers, channels, width),
    }
    for learned in stencils.values():
        np.testing.assert_allclose(learned.sum(-1), 1, rtol=1e-6)


# Refusals.


def test_existing_run_folder_is_refused_and_left_alone(straight):
    config, _, _ = straight
    before = contents(config.out)
    with pytest.raises(FileExistsError, match=r"use --resume .* or another --out"):
        lra.main(config)
    assert contents(config.out) == before


def test_resume_with_another_configuration_is_refused_with_the_field(straight):
    config, _, _ = straight
    with pytest.raises(ValueError, match=r"stencil.width: saved 3, now 5"):
        lra.main(dataclasses.replace(config, resume=True, stencil=StencilConfig(kind="adaptive", width=5)))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"mesh": lra.Mesh(data=3)}, "batch=8 for 3 devices on 1 hosts"),
        ({"optimizer": train.Optimizer(accumulate=16)}, "accumulate=16; use a multiple of 16"),
        ({"batch": 208}, "drawn from 200 training examples"),
        ({"mesh": lra.Mesh(data=9)}, "cannot have more devices"),
        ({"model": dataclasses.replace(TINY.model, heads=3)}, "divisible by heads"),
        ({"stencil": StencilConfig(kind="adaptive", alpha=0.7)}, "0 < alpha < 1/2"),
        (
            {"attention": PDEAttentionConfig("diffusion", base="performer", features=8), "model": DROPOUT},
            "dropout acts on softmax weights, got 0.1",
        ),
        ({"hosts": lra.Hosts(join=True)}, "several hosts share one run folder"),
    ],
)
def test_what_cannot_be_trained_is_refused_before_anything_is_read_or_written(
    changes, message, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ValueError, match=message):
        lra.main(dataclasses.replace(TINY, **changes))
    assert list(itertools.islice(tmp_path.iterdir(), 1)) == []
