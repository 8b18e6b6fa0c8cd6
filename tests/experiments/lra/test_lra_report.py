"""Tables, paired differences and figures of `python -m experiments.lra`."""

import dataclasses
import json
import math

import matplotlib.image
import numpy as np
import pytest
from matplotlib.figure import Figure

from experiments import lra, run
from experiments.data import listops
from experiments.lra.comparison import figures, report
from experiments.lra.learned import depth_accuracy, example_hits, figures_learned, learned_coefficients
from experiments.lra.learned.example_hits import Hits
from experiments.run.figures import COLORS, label_log_axis, smooth, smoothing_window
from pdeformer.layers import PDEAttentionConfig

N = 400
BASELINES = {"majority": 0.15, "root_operator": 0.334, "depth_one": 0.646}


def result(variant, seed, test, best):
    return run.Result(variant, seed, 10, 7, 1.0, 0.5, 10, 0.5, 1.0, test, best, 1e3 * (1 + seed), 2.0)


def trainings(variants, seeds=(0,)):
    """Results and hits of variants whose share of right answers is given as (last, best)."""
    results, hits = [], {}
    for variant, shares in variants.items():
        for seed in seeds:
            pair = Hits(*(np.arange(N) < share * N for share in shares))
            results.append(result(variant, seed, *(float(x.mean()) for x in pair)))
            hits[variant, seed] = pair
    return results, hits


def test_every_difference_has_its_paired_interval_by_last_and_by_best():
    results, hits = trainings({"baseline": (0.40, 0.46), "after_ffn": (0.45, 0.45)})
    baseline, line = report.lines(results, N, hits)
    assert math.isnan(baseline.last_difference.value)
    assert line.last_difference.value == pytest.approx(line.gain)
    # 20 examples are right in one model only, and 4 by the best weights: Agresti & Min by hand
    for difference, wins, losses in ((line.last_difference, 20.5, 0.5), (line.best_difference, 0.5, 4.5)):
        center, n = (wins - losses) / (N + 2), N + 2
        half = 1.959964 * math.sqrt(wins + losses - (wins - losses) ** 2 / n) / n
        np.testing.assert_allclose(difference[1:], (center - half, center + half), rtol=1e-6)
    assert report.verdict(line.last_difference, line.best_difference) == (
        "a gain by the last weights, no difference beyond chance by the best on validation"
    )
    table, _ = report.tabulate([baseline, line], BASELINES, "title")
    cells = dict(zip(table.columns, table.rows[1], strict=True))
    assert cells["last vs baseline"] == "+5.0 [+2.8, +7.2]"
    assert cells["best vs baseline"] == "-1.0 [-2.1, +0.1]"


def test_hits_of_another_training_are_refused(tmp_path):
    folder = run.Run(tmp_path)
    (trained,), hits = trainings({"baseline": (0.40, 0.46)})
    pair = hits["baseline", 0]
    example_hits.check(folder, trained, pair, N)
    example_hits.check(folder, trained, None, N)
    for other, examples in ((Hits(pair.best, pair.best), N), (Hits(pair.last, pair.last), N), (pair, N + 1)):
        with pytest.raises(
            ValueError, match=r"hits must be those of the saved result, .* delete .*baseline-0"
        ):
            example_hits.check(folder, trained, other, examples)


def test_damaged_hits_and_coefficients_are_named_with_their_remedy(tmp_path):
    folder = run.Run(tmp_path)
    example_hits.save(folder, "baseline", 0, trainings({"baseline": (0.4, 0.5)})[1]["baseline", 0])
    path = tmp_path / "hits" / "baseline-0.npz"
    for content in (path.read_bytes()[:60], b"", bytes(50)):
        path.write_bytes(content)
        with pytest.raises(
            ValueError, match=r"baseline-0\.npz must be a whole \.npz, .* delete .*baseline-0"
        ):
            example_hits.load(folder, "baseline", 0)
    with path.open("wb") as file:
        np.savez(file, count=np.array(3))
    with pytest.raises(ValueError, match="must have the hits of a training"):
        example_hits.load(folder, "baseline", 0)
    learned_coefficients.save(folder, "a", 0, {"alpha": [0.1]})
    for content in ("[1]", '{"alpha": null}', '{"alpha": [[1], [1, 2]]}', '{"alpha": NaN}'):
        (tmp_path / "coefficients" / "a-0.json").write_text(content)
        with pytest.raises(ValueError, match=r"a-0\.json must have arrays of finite numbers, got "):
            learned_coefficients.load(folder, "a", 0)


def test_without_hits_a_difference_says_that_its_interval_is_not_known():
    results, hits = trainings({"baseline": (0.40, 0.46), "after_ffn": (0.45, 0.45)})
    del hits["baseline", 0]
    line = report.lines(results, N, hits)[1]
    assert line.last_difference.format(100) == "+5.0 [-]"
    assert (
        report.verdict(line.last_difference, line.best_difference)
        == "the difference has no interval by last, so nothing is claimed"
    )
    assert report.lines(results, N)[1].last_difference.format(100) == "+5.0 [-]"


def test_hits_survive_the_disk_to_the_bit(tmp_path):
    random = np.random.default_rng(0)
    hits = Hits(*(random.random((2, 13)) < 0.5))
    example_hits.save(run.Run(tmp_path), "a+b", 3, hits)
    loaded = example_hits.load(run.Run(tmp_path), "a+b", 3)
    assert loaded is not None
    np.testing.assert_array_equal(loaded, hits)
    assert example_hits.load(run.Run(tmp_path), "a+b", 4) is None


def test_shares_survive_the_disk_and_are_checked_against_the_result(tmp_path):
    folder, random = run.Run(tmp_path), np.random.default_rng(0)
    hits = Hits(*(random.integers(0, 5, (2, N)) / np.float32(4)).astype(np.float32))
    example_hits.save(folder, "a", 0, hits)
    loaded = example_hits.load(folder, "a", 0)
    assert loaded is not None
    np.testing.assert_array_equal(loaded, hits)
    assert (loaded.last.dtype, loaded.last.shape) == (np.float32, (N,))
    trained = result("a", 0, float(hits.last.mean()), float(hits.best.mean()))
    example_hits.check(folder, trained, loaded, N)
    for place, value in ((3, np.nan), (3, 1 - hits.last[3] + 0.5)):
        other = hits.last.copy()
        other[place] = value
        with pytest.raises(ValueError, match="hits must be those of the saved result"):
            example_hits.check(folder, trained, Hits(other, hits.best), N)


def sequences(*depths):
    rows = [listops.encode(["[MAX"] * depth + ["1"] + ["]"] * depth) for depth in depths]
    return np.stack([np.pad(row, (0, 2 * max(depths) + 1 - len(row))) for row in rows])


def test_accuracies_by_depth_are_the_means_over_seeds_of_tests_with_several_depths():
    tokens = sequences(1, 1, 2, 2, 2, 4)
    rows = []
    for variant, values in (("baseline", (0, 1, 1, 1, 0, 0)), ("after_ffn", (1, 1, 0, 0, 0, 1))):
        for seed in (0, 1):
            last = np.array(values, bool) if seed == 0 else ~np.array(values, bool)
            by_depth = depth_accuracy.of_hits(tokens, Hits(last, last))
            rows.append({"variant": variant, "seed": seed, "accuracy_by_depth": by_depth})
    assert rows[0]["accuracy_by_depth"]["2"] == {"accuracy": pytest.approx(2 / 3), "examples": 3}
    table = depth_accuracy.tabulate_depths(rows[:1] + rows[2:])
    assert table is not None
    assert table.columns == ("variant", "1", "2", "4")
    assert table.rows == [
        ("baseline", "50.0", "66.7", "0.0"), ("after_ffn", "50.0", "50.0", "50.0"), (),
        ("test examples", "2", "3", "1"),
    ]  # fmt: skip
    assert depth_accuracy.of_hits(sequences(*6 * [9]), Hits(last, last)) == {}
    assert depth_accuracy.of_hits(tokens, None) == {}
    assert depth_accuracy.tabulate_depths([{"variant": "baseline", "seed": 0}]) is None


# Figures.


def write_run(folder, variants, seeds):
    """A run folder with the files that figures read, and its results."""
    random, files = np.random.default_rng(0), run.Run(folder)
    for variant in variants:
        for seed in seeds:
            losses = 2 - 0.01 * np.arange(40) + 0.1 * random.standard_normal(40)
            for step, loss in enumerate(losses, 1):
                record = {"variant": variant, "seed": seed, "step": step, "loss": loss}
                files.append(record | ({"val_accuracy": 0.4} if step % 10 == 0 else {}))
            if variant.startswith("attention"):
                learned_coefficients.save(files, variant, seed, {"alpha": [[0.1, 0.2], [0.3, 0.1]]})
    return files, [result(variant, seed, 0.45, 0.45) for variant in variants for seed in seeds]


@pytest.mark.parametrize(("variants", "seeds"), [(2, (0,)), (3, (0, 1, 2)), (8, (0, 1))])
def test_curves_have_one_color_per_variant_a_band_over_seeds_and_say_so(
    tmp_path, monkeypatch, variants, seeds
):
    saved = []
    monkeypatch.setattr(figures, "save", lambda figure, *_, title: saved.append((figure, title)))
    names = [f"variant {i}" for i in range(variants)]
    figures.draw_curves(*write_run(tmp_path, names, seeds), BASELINES, "lra quick, run folder x, ListOps")
    ((figure, title),) = saved
    loss, accuracy = figure.axes
    assert title == "lra quick, run folder x, ListOps"
    assert [ax.get_ylabel() for ax in (loss, accuracy)] == ["loss (nats)", "accuracy (%)"]
    assert "centered mean of 3 logged values" in loss.get_title()
    curves = [line for line in accuracy.lines if line.get_label() in names]
    assert [line.get_color() for line in curves] == list(COLORS[:variants])
    bands = 0 if len(seeds) == 1 else variants
    assert [len(ax.collections) for ax in (loss, accuracy)] == [bands, bands]
    (legend,) = figure.legends
    text = legend.get_title().get_text()
    assert ("smallest to largest" in text) == (len(seeds) > 1)
    assert all(str(seed) in text for seed in seeds)
    figure.canvas.draw()  # the legend and the labels of the predictors stand beside the panels
    boxes = [ax.get_window_extent() for ax in figure.axes]
    assert not any(legend.get_window_extent().overlaps(box) for box in boxes)
    assert not any(label.get_window_extent().x0 < boxes[1].x1 for label in accuracy.texts)


@pytest.mark.parametrize(
    ("values", "ticks", "labels"),
    [
        ([171.0, 258.0], (), ["180", "200", "220", "240"]),
        ([1.0, 60.0], (), ["1", "2", "5", "10", "20", "50"]),
        ([1024, 16384], (1024, 4096, 16384), ["1,024", "4,096", "16,384"]),
    ],
)
def test_a_logarithmic_axis_has_plain_numbers(values, ticks, labels):
    panel = Figure().subplots()
    panel.plot(values, values)
    panel.set(xscale="log", xlim=(min(values), max(values)))
    label_log_axis(panel.xaxis, ticks)
    low, high = panel.get_xlim()
    texts = [tick.get_text() for tick in panel.get_xticklabels() if low <= tick.get_position()[0] <= high]
    assert texts == labels


def test_smoothing_is_centered_and_keeps_a_straight_line():
    line = np.linspace(3.0, 1.0, 400)
    np.testing.assert_allclose(smooth(line, smoothing_window(400)), line)
    step = np.repeat([1.0, 0.0], 50)
    np.testing.assert_allclose(smooth(step, 11)[44:56], np.clip((55 - np.arange(44, 56)) / 11, 0, 1))


def test_coefficients_of_the_evolved_attention_have_a_figure_with_the_initial_value(tmp_path):
    variants = ("baseline", "attention_diffusion")
    config = dataclasses.replace(lra.PRESETS["quick"][1], attention=PDEAttentionConfig("diffusion"))
    files, results = write_run(tmp_path, variants, (0, 1))
    path = figures_learned.draw_coefficients(files, results, config, "title")
    assert path == tmp_path / "coefficients.png"
    assert matplotlib.image.imread(tmp_path / "coefficients.png").ndim == 3
    assert figures_learned.draw_coefficients(files, results[:2], config, "title") is None
    shapes = ((), (2,), (2, 3), (2, 4, 3))
    assert [learned_coefficients.by_layer(np.zeros(shape)).shape for shape in shapes] == [
        (1, 1, 1), (2, 1, 1), (2, 1, 3), (2, 4, 3),
    ]  # fmt: skip
    assert learned_coefficients.unit_of("advection-diffusion", "beta").startswith("tokens per")
    assert json.loads((tmp_path / "coefficients" / "attention_diffusion-0.json").read_text()) == {
        "alpha": [[0.1, 0.2], [0.3, 0.1]]
    }
