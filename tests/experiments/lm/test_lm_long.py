"""Recall on long sequences: attention of the variants, accuracy at every length, cost of a step, resume, refusals."""

import dataclasses
import json

import jax
import numpy as np
import pytest
from flax import nnx

from experiments import run
from experiments.lm import long
from experiments.lm.config import Network
from experiments.lm.long import long_program, long_training, step_cost
from experiments.lm.long.long_config import VARIANTS, WITH_EQUATION
from experiments.lm.long.long_report import LongRow, long_table
from pdeformer import sharding

MESH = sharding.make_mesh(1)
TINY = dataclasses.replace(
    long.LONG_PRESETS["long-quick"][1],
    variants=("plain", "window_pde"),
    items=2,
    vocabulary=12,
    train_length=16,
    train_rows=64,
    lengths=(64,),
    test_rows=6,
    window=4,
    features=8,
    pde_steps=2,
    steps=4,
    batch=8,
    repeats=1,
    model=Network(layers=1, width=8, heads=2, ffn=8, positions="rotary", dropout=0.0, attention_dropout=0.0),
    mesh=dataclasses.replace(long.LONG_PRESETS["long-quick"][1].mesh, data=1),
    cadence=run.LoopIntervals(log_every=1, eval_every=2, checkpoint_every=2),
)


@pytest.fixture(scope="module")
def straight(tmp_path_factory):
    """(configuration, summary) of an uninterrupted run."""
    folder = tmp_path_factory.mktemp("long")
    config = dataclasses.replace(TINY, out=folder / "run", data_dir=folder / "data")
    return config, long.run_long(config)


def test_every_variant_has_its_attention():
    config = long.LONG_PRESETS["long-quick"][1]
    networks = {name: config.network(name) for name in VARIANTS}
    assert {name for name, model in networks.items() if model.attention.kind != "none"} == set(WITH_EQUATION)
    mixers = {name: (model.mixer, model.window, model.features) for name, model in networks.items()}
    assert mixers["plain"] == mixers["evolved"] == ("attention", None, None)
    assert mixers["window"] == ("windowed", 32, None)
    assert mixers["performer"] == ("performer", None, 64)
    assert (networks["window_pde"].attention.window, networks["performer_pde"].attention.base) == (
        32,
        "performer",
    )
    assert networks["performer_pde"].attention.features == 64
    assert {model.max_len for model in networks.values()} == {4096}


def test_summary_has_accuracy_and_cost_at_every_length(straight):
    config, summary = straight
    assert json.loads((config.out / "summary.json").read_text()) == summary
    rows = [LongRow(**row) for row in summary["long"]]
    assert [(row.variant, row.length) for row in rows] == [
        (variant, length) for length in (16, 64) for variant in config.variants
    ]
    assert all(row.seconds is None and row.bytes is None for row in rows[:2])
    for row in rows[2:]:
        assert row.rows == 6
        assert (row.seconds or 0) > 0
        assert (row.bytes or 0) > 0
    assert (config.out / "long.png").read_bytes().startswith(b"\x89PNG")


def test_accuracies_are_shares_of_right_labels_of_the_last_weights(straight):
    config, summary = straight
    for variant in config.variants:
        programs = long_training.programs_of(config, variant, MESH)
        with run.Checkpoints(run.Run(config.out).checkpoints(variant, 0)) as checkpoints:
            params = checkpoints.restore(programs.init(jax.random.key(0)), config.steps).params
        model = nnx.merge(programs.graphdef, params)
        for length in config.lengths:
            blocks = list(config.rows(length, test_rows=6).blocks("test"))
            tokens, labels = (
                np.concatenate([getattr(b, name) for b in blocks]) for name in ("tokens", "labels")
            )
            right = np.argmax(np.asarray(model(tokens.astype(np.int32))), -1) == labels
            expected = np.mean([row[label >= 0].mean() for row, label in zip(right, labels, strict=True)])
            (row,) = [r for r in summary["long"] if (r["variant"], r["length"]) == (variant, length)]
            assert row["accuracy"] == pytest.approx(expected, abs=1e-5)


def test_memory_is_that_of_the_compiled_step(straight, tmp_path):
    config, summary = straight
    row = step_cost.step_cost(config, "plain", 64, MESH, run.Run(tmp_path))
    (expected,) = [r for r in summary["long"] if (r["variant"], r["length"]) == ("plain", 64)]
    assert row["bytes"] == expected["bytes"]
    assert row["rows"] == 1
    shorter = step_cost.step_cost(config, "plain", 32, MESH, run.Run(tmp_path))
    assert row["bytes"] > 1.5 * shorter["bytes"]


def test_what_is_finished_is_not_repeated(straight, monkeypatch):
    config, summary = straight
    monkeypatch.setattr(long_training.run, "make_programs", None)
    assert long.run_long(dataclasses.replace(config, resume=True)) == summary


def test_more_variants_and_lengths_are_measured_beside_the_finished_ones(straight):
    config, _ = straight
    saved, wanted = config, dataclasses.replace(config, variants=("window",), lengths=(32, 128))
    extended = long_program.LONG_CONTINUATION.extend(saved, wanted).config
    assert extended.variants == ("plain", "window_pde", "window")
    assert extended.lengths == (32, 64, 128)


def test_the_table_compares_with_the_first_variant_of_the_same_length():
    rows = [
        LongRow("plain", 32, 0.5, 0.4, 0.6, 9, 2.0, 2**21),
        LongRow("window", 32, 0.25, 0.25, 0.25, 9, 1.0, 2**20),
    ]
    cells = long_table(rows, {"chance": 0.1}, "title").rows
    assert cells[0] == ("plain", "32", "50.0 [40.0, 60.0]", "9", "2", "× 1.00", "2", "× 1.00")
    assert cells[1] == ("window", "32", "25.0", "9", "1", "× 0.50", "1", "× 0.50")
    assert cells[3][:3] == ("chance", "", "10.0")


def test_words_of_a_command_line_that_belong_to_long_sequences(straight):
    config, _ = straight
    assert long.is_long(["long-quick"])
    assert long.is_long(["longg"])
    assert long.is_long(["--steps", "3", "long"])
    assert long.is_long(["--out", str(config.out), "--resume"])
    assert not long.is_long(["quick", "--out", "long"])
    assert not long.is_long([])
