"""`python -m experiments.lm`: what a token costs, a run from text to figures, resume, more variants."""

import dataclasses
import itertools
import json
import math
import signal

import jax
import numpy as np
import pytest
from flax import nnx

from experiments import lm, run
from experiments.lm import cells, figures, next_token, program, report, scores
from experiments.run.report.paired import compare_scores
from pdeformer import sharding
from pdeformer.model import CausalLM
from tests.experiments.lm.small_text import TINY, small_manual

MESH = sharding.make_mesh(1)


@pytest.fixture(scope="module", autouse=True)
def tiny_text():
    with small_manual():
        yield


@pytest.fixture(scope="module")
def straight(tmp_path_factory):
    """(configuration, summary) of an uninterrupted run with windows, and a control."""
    folder = tmp_path_factory.mktemp("straight")
    config = dataclasses.replace(TINY, out=folder / "run", data_dir=folder / "data", stride=4)
    return config, lm.main(config)


def metrics(folder):
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


def contents(folder):
    return {path: path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def trained(config, name, step=None):
    """Model of a training after a step."""
    cell = next(cell for cell in cells.cells(config) if cell.name == name)
    build = program.builder(config.network(config.variants()[cell.variant], 256, cell.length))
    programs = run.make_programs(build, config.optimizer, config.steps, MESH, next_token.next_token_loss)
    with run.Checkpoints(run.Run(config.out).checkpoints(name, 0)) as checkpoints:
        params = checkpoints.restore(programs.init(jax.random.key(0)), step or config.steps).params
    return programs.graphdef, params


def slow_nats(model, blocks):
    """Nats of every target of blocks (n, T + 1), by log-softmax in NumPy."""
    logits = np.asarray(model(blocks[:, :-1].astype(np.int32)), np.float64)
    log_p = logits - np.log(np.exp(logits - logits.max(-1, keepdims=True)).sum(-1, keepdims=True))
    log_p -= logits.max(-1, keepdims=True)
    return -np.take_along_axis(log_p, blocks[:, 1:, None].astype(np.int64), axis=-1)[..., 0]


# The loss.


def successor(ids, key=None):
    """Logits that are sure of x_{t+1} = 3 x_t + 1 mod 7."""
    return 50.0 * jax.nn.one_hot((3 * ids + 1) % 7, 7)


def sequence(rows=4, length=9):
    ids = np.zeros((rows, length), np.uint8)
    ids[:, 0] = np.arange(rows)
    for t in range(1, length):
        ids[:, t] = (3 * ids[:, t - 1] + 1) % 7
    return ids


def test_the_target_of_a_position_is_the_token_after_the_last_one_that_is_read():
    batch = {"tokens": sequence(), "weights": np.ones(4, np.float32)}
    sums = next_token.next_token_loss(successor, batch, None)
    assert float(sums.loss) < 1e-6
    assert float(sums.weight) == float(sums.correct) == pytest.approx(4)
    copy = next_token.next_token_loss(lambda ids, key=None: 50.0 * jax.nn.one_hot(ids, 7), batch, None)
    assert (
        float(copy.loss) / 4 > 25
    )  # who repeats its input is wrong, so the target is not among what is read


def test_the_loss_is_the_mean_over_all_targets_of_all_rows_that_count():
    model = CausalLM(TINY.network((), 7, 8), nnx.Rngs(0))
    ids, weights = sequence(), np.array([1, 0, 1, 1], np.float32)
    sums = next_token.next_token_loss(model, {"tokens": ids, "weights": weights}, None)
    expected = slow_nats(model, ids)[weights > 0]
    assert expected.shape == (3, 8)
    assert float(sums.loss / sums.weight) == pytest.approx(expected.mean(), rel=1e-5)


@pytest.mark.parametrize("stride", [4, 16])
def test_windows_count_every_target_once_with_a_long_context(stride, straight):
    config, _ = straight
    split = program.prepare(config, 16)["test"]
    split = cells.first_blocks(split, 12 / len(split.labels))
    stream = np.concatenate([split.tokens[0, :1], split.tokens[:, 1:].ravel()])
    graphdef, params = trained(config, "baseline")
    moved = next_token.windows(split, stride)
    nats = next_token.count_once(next_token.measure_nats(graphdef, params, moved, MESH, 8), stride).nats
    assert nats.shape == (12, 16)
    model, flat = nnx.merge(graphdef, params), []
    for target in range(
        1, len(stream)
    ):  # the last window start, of those that are possible, that counts the target
        start = max(0, -(-(target - 16) // stride) * stride)
        window = stream[None, start : start + 17]
        flat.append(slow_nats(model, window)[0, target - start - 1])
        assert target - start >= min(target, 17 - stride)
    np.testing.assert_allclose(nats.ravel(), flat, rtol=1e-4)


# A run.


def test_summary_is_what_main_returns_and_has_a_row_for_every_training(straight):
    config, summary = straight
    assert json.loads((config.out / "summary.json").read_text()) == summary
    assert [row["variant"] for row in summary["rows"]] == ["baseline", "attention_diffusion_2", "shift"]
    assert [line["name"] for line in summary["lines"]] == [row["variant"] for row in summary["rows"]]
    baseline, evolved, shift = (row["parameters"] for row in summary["rows"])
    assert (evolved - baseline, shift - baseline) == (2, 8)  # α of two heads; a share for each channel
    for name in ("curves", "context"):
        assert (config.out / f"{name}.png").read_bytes().startswith(b"\x89PNG")
    assert set(summary["floors"]) == {"1-gram", "2-gram", "3-gram", "5-gram"}
    assert summary["floors"]["1-gram"] > summary["floors"]["2-gram"]


def test_bits_per_byte_and_perplexities_are_those_of_the_text(straight):
    config, summary = straight
    text = config.text.documents(config.data_dir, None)["test"].read()
    stream = b"".join(document + b"\0" for document in text)
    count = (len(stream) - 1) // 16
    covered = stream[1 : 1 + 16 * count]
    text_bytes = len(covered) - covered.count(b"\0")
    words = sum(
        not covered[i : i + 1].isspace()
        and covered[i] != 0
        and (stream[i : i + 1].isspace() or stream[i] == 0)
        for i in range(len(covered))
    )
    blocks = np.stack([np.frombuffer(stream[16 * i : 16 * i + 17], np.uint8) for i in range(count)])
    for row in summary["rows"]:
        nats = slow_nats(nnx.merge(*trained(config, row["variant"])), blocks)
        assert row["test_loss"] == pytest.approx(nats.mean(), rel=1e-5)
        assert row["bits_per_byte"] == pytest.approx(nats.sum() / text_bytes / math.log(2), rel=1e-5)
        assert row["word_perplexity"] == pytest.approx(math.exp(nats.sum() / words), rel=1e-3)
        assert row["token_perplexity"] == pytest.approx(math.exp(nats.mean()), rel=1e-4)
        np.testing.assert_allclose(row["position_nats"], figures.binned(nats.mean(axis=0)), rtol=1e-4)
        saved = scores.load(
            run.Run(config.out),
            run.Result(**{k: row[k] for k in run.Result._fields}),
            scores.TextSize.of(program.prepare(config, 16)["test"]),
        )
        np.testing.assert_allclose(saved.last, nats.mean(axis=1), rtol=1e-4)


def test_validation_is_on_the_validation_split_and_selects_the_best_weights(straight):
    config, summary = straight
    splits = program.prepare(config, 16)
    for row in summary["rows"]:
        means = {}
        for name in ("val", "test"):
            graphdef, params = trained(config, row["variant"])
            means[name] = next_token.measure_nats(graphdef, params, splits[name], MESH, 8).evaluation()
        assert row["val_loss"] == pytest.approx(means["val"].loss, rel=1e-5)
        assert row["test_loss"] == pytest.approx(means["test"].loss, rel=1e-5)
        assert abs(means["val"].loss - means["test"].loss) > 1e-3  # so one cannot stand for the other
        records = [r for r in metrics(config.out) if r["variant"] == row["variant"] and "val_accuracy" in r]
        best = max(records, key=lambda r: (r["val_accuracy"], r["step"]))
        assert row["best_step"] == best["step"]
        graphdef, params = trained(config, row["variant"], best["step"])
        nats = next_token.measure_nats(graphdef, params, splits["test"], MESH, 8).evaluation()
        assert row["best_bits_per_byte"] == pytest.approx(
            scores.TextSize.of(splits["test"]).bits_per_byte(nats.loss), rel=1e-5
        )


def test_the_test_text_is_read_only_after_the_training(straight, tmp_path, monkeypatch):
    config, summary = straight
    prepare = program.prepare

    def prepare_with_another_test(config, length):
        splits = prepare(config, length)
        return splits | {"test": splits["test"]._replace(tokens=np.asarray(splits["test"].tokens)[::-1] % 97)}

    monkeypatch.setattr(program, "prepare", prepare_with_another_test)
    other = lm.main(dataclasses.replace(config, out=tmp_path / "run", controls=(), stride=0))
    for row, expected in zip(other["rows"], summary["rows"], strict=False):
        assert row["test_loss"] != expected["test_loss"]
        for name in ("val_loss", "val_accuracy", "best_step", "best_val_accuracy"):
            assert row[name] == expected[name]


def test_differences_are_paired_by_block(straight):
    config, summary = straight
    size = scores.TextSize.of(program.prepare(config, 16)["test"])
    own = {}
    for row in summary["rows"]:
        result = run.Result(**{name: row[name] for name in run.Result._fields})
        own[row["variant"]] = scores.load(run.Run(config.out), result, size)
    for line in summary["lines"][1:]:
        x = (own[line["name"]].last - own["baseline"].last) * 16 * size.blocks / size.bytes / math.log(2)
        assert line["difference"]["value"] == pytest.approx(x.mean(), rel=1e-5)
        half = 1.959964 * x.std(ddof=1) / math.sqrt(len(x))
        assert line["difference"]["high"] - line["difference"]["value"] == pytest.approx(half, rel=1e-4)
        assert line["difference"]["value"] == pytest.approx(
            line["bits"] - summary["lines"][0]["bits"], abs=3e-5
        )
        assert math.isfinite(line["window_bits"])


def test_variants_see_the_same_blocks_and_programs_are_shared(straight):
    config, _ = straight
    split = program.prepare(config, 16)["train"]
    first, again = (next_token.training_batch(split, 8, MESH, 3, seed=0) for _ in range(2))
    np.testing.assert_array_equal(first["tokens"], again["tokens"])
    assert set(first) == {"tokens", "weights"}
    model = config.network(("shift",), 256, 16)
    assert program.builder(model) is program.builder(dataclasses.replace(model))


def test_a_killed_run_continues_as_if_nothing_had_happened(straight, tmp_path, monkeypatch):
    config, summary = straight
    config = dataclasses.replace(config, out=tmp_path / "run")
    batch = next_token.training_batch

    def batch_with_signal(split, size, mesh, step, *, seed):
        if step == 2:
            signal.raise_signal(signal.SIGTERM)
        return batch(split, size, mesh, step, seed=seed)

    with monkeypatch.context() as patch:
        patch.setattr(program, "training_batch", batch_with_signal)
        with pytest.raises(SystemExit) as stopped:
            lm.main(config)
    assert stopped.value.code == 143
    assert [record["step"] for record in metrics(config.out)] == [1, 2, 3]
    resumed = lm.main(dataclasses.replace(config, resume=True))
    assert metrics(config.out) == metrics(straight[0].out)
    timed = {"tokens_per_second", "compile_seconds"}
    for row, expected in zip(resumed["rows"], summary["rows"], strict=True):
        assert {k: v for k, v in row.items() if k not in timed} == {
            k: v for k, v in expected.items() if k not in timed
        }


def test_more_variants_and_seeds_are_trained_beside_the_finished_ones(straight, tmp_path):
    config, summary = straight
    config = dataclasses.replace(config, out=tmp_path / "run", controls=(), stride=0)
    lm.main(config)
    rows = contents(config.out / "rows")
    words = ["--out", str(config.out), "--resume", "--controls", "shift", "--seeds", "1"]
    extended = lm.command_line(words)
    assert (extended.controls, extended.seeds, extended.equations) == (("shift",), (0, 1), ("diffusion",))
    longer = lm.main(extended)
    assert len(longer["rows"]) == 6
    assert contents(config.out / "rows").items() >= rows.items()
    line = next(line for line in longer["lines"] if line["name"] == "shift")
    assert line["seeds"] == 2
    assert math.isfinite(line["bits_sd"])
    assert lm.main(dataclasses.replace(extended, resume=True)) == longer


def test_cells_are_all_lengths_and_shares_with_their_baselines(straight, tmp_path):
    config, _ = straight
    config = dataclasses.replace(
        config,
        out=tmp_path / "run",
        lengths=(8, 16),
        shares=(0.5, 1.0),
        stride=0,
        equations=("none",),
        steps=2,
    )
    trainings = cells.cells(config)
    assert [cell.name for cell in trainings[:3]] == [
        *("baseline_T8_50percent", "shift_T8_50percent", "baseline_T8_100percent")
    ]
    assert len(trainings) == 8
    assert all(cell.baseline == cell.name.replace(cell.variant, "baseline", 1) for cell in trainings)
    config = dataclasses.replace(config, shares=(0.5,))
    summary = lm.main(config)
    assert [row["variant"] for row in summary["rows"]] == [cell.name for cell in cells.cells(config)]
    assert [cell.name for cell in cells.cells(config)][1::2] == ["shift_T8", "shift_T16"]
    assert (config.out / "ablation.png").exists()
    train_split = program.prepare(config, 8)["train"]
    half = cells.first_blocks(train_split, 0.5)
    assert len(half.labels) == math.ceil(len(train_split.labels) / 2)
    np.testing.assert_array_equal(half.tokens, train_split.tokens[: len(half.labels)])


# Tables and figures.


def test_bins_cover_every_position_once():
    for length in (1, 2, 7, 128, 512):
        edges = figures.position_bins(length)
        assert edges[0] == 0
        assert edges[-1] == length
        assert np.all(np.diff(edges) >= 1)
        curve = np.arange(length, dtype=float)
        expected = [curve[a:b].mean() for a, b in itertools.pairwise(edges)]
        np.testing.assert_allclose(figures.binned(curve), expected)


def test_scores_of_other_results_are_refused(straight):
    config, summary = straight
    size = scores.TextSize.of(program.prepare(config, 16)["test"])
    result = run.Result(**{name: summary["rows"][0][name] for name in run.Result._fields})
    for other in (result._replace(test_loss=9.0), result._replace(seed=7)):
        with pytest.raises((ValueError, FileNotFoundError), match="delete"):
            scores.load(run.Run(config.out), other, size)


def test_verdicts_need_an_interval_without_zero():
    values = np.random.default_rng(0).normal(2, 0.1, 100)
    lower = compare_scores([values - 0.5], [values])
    same = compare_scores([values], [values + 0.0])
    line = report.Line("a", 1, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, lower, same, math.nan, 0, 0.0, 0.0)
    assert report.verdict(line).startswith("fewer bits than the baseline by the last weights, no difference")


def test_a_training_lowers_the_loss_of_the_tiny_text(straight, tmp_path):
    config, _ = straight
    longer = dataclasses.replace(
        config, out=tmp_path / "run", steps=40, stride=0, equations=("none",),
        optimizer=dataclasses.replace(config.optimizer, learning_rate=1e-2, warmup=5),
        cadence=run.LoopIntervals(log_every=20, eval_every=20, checkpoint_every=40),
    )  # fmt: skip
    rows = lm.main(longer)["rows"]
    assert all(row["token_perplexity"] < 40 for row in rows)
