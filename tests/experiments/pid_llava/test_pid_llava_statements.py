"""Statements, known effects and tables of `experiments.pid_llava` on planted results."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments.pid_llava import checkpoint, known_effects, paper_claims, report
from experiments.pid_llava.stages import capturing, decomposing
from pid import Flag, estimate, toyworld
from pid.estimators import Estimate
from pid.estimators.results import Resampling, pid_from_array, pid_to_array
from pid.llava import TokenType
from pid.measures import PID
from tests.helpers import toy_llava

# Statements.


def planted(vision, language, redundancy=0.1, synergy=0.0, *, noise=0.01, seed=0, count=40) -> Estimate:
    """An estimate with these atoms by layer, and draws around it."""
    vision, language = np.asarray(vision, float), np.asarray(language, float)
    r, s = (np.broadcast_to(np.asarray(atom, float), vision.shape) for atom in (redundancy, synergy))

    def all_quantities(v, u, r, s):
        return np.stack([r, v, u, s, r + v, r + u, r + v + u + s, r + v + u], axis=-1)

    value = all_quantities(vision, language, r, s)
    shifts = noise * np.random.default_rng(seed).standard_normal((count, len(vision), 4))
    draws = all_quantities(*np.moveaxis(np.stack([vision, language, r, s], axis=-1) + shifts, -1, 0))
    pid = pid_from_array(value)
    resampling = Resampling("paired", count, 0.9, (0, 0))
    flags, dims = (Flag("layer 0: planted."),), ((1, 1, 1),) * len(vision)
    return Estimate(pid, None, None, pid_from_array(draws), flags, 900, dims, pid, resampling)


def decomposed(result, knockout=None, model="a", task="QueryAttr") -> decomposing.Decomposition:
    layers = np.arange(len(result.dims))
    return decomposing.Decomposition(model, task, "recommended", layers, result, result, knockout)


FALLING, RISING = np.linspace(2, 0.1, 33), np.r_[np.zeros(21), np.linspace(0, 2, 12)]


@pytest.mark.parametrize(
    ("vision", "language", "synergy", "noise", "expected"),
    [
        (FALLING, RISING, 0.0, 0.01, ["holds", "holds", "holds"]),
        (FALLING[::-1], RISING[::-1], 0.5, 0.01, ["does not", "does not", "does not"]),
        (FALLING, RISING, 0.0, 3.0, ["not decidable", "not decidable", "not decidable"]),
        # a peak that does not decay to its half; a rise that is as steep before as after
        (np.linspace(2, 1.5, 33), np.linspace(0, 2, 33), 0.0, 0.01, ["does not", "does not", "holds"]),
    ],
)
def test_statements_on_planted_trajectories(vision, language, synergy, noise, expected):
    statements = paper_claims.judge_trajectory(
        decomposed(planted(vision, language, synergy=synergy, noise=noise))
    )
    assert [statement.verdict for statement in statements] == expected
    if vision is FALLING and noise < 1:
        assert statements[0].numbers.startswith("2.00 bits at point 0 of 32, 0.10 in the last; margin [")


def test_the_knockout_raises_what_is_raised_and_pairs_cancel():
    base = planted(FALLING, RISING, noise=5.0)
    draws = pid_to_array(base.draws) if base.draws is not None else pytest.fail("no draws")
    step = np.array([0, 0.2, 0, 0.2, 0.2, 0, 0.4, 0.2])  # U_V and S by 0.2 each
    knockout = base._replace(
        pid=pid_from_array(pid_to_array(base.pid) + step), draws=pid_from_array(draws + step)
    )
    statements = paper_claims.judge_knockout(decomposed(base, knockout))
    assert [s.verdict for s in statements] == ["holds"] * 3  # the noise is large, but it cancels in pairs
    assert "mean over layers +0.200" in statements[0].numbers
    reversed_ = paper_claims.judge_knockout(decomposed(knockout, base))
    assert [s.verdict for s in reversed_] == ["does not"] * 3
    assert paper_claims.judge_knockout(decomposed(base)) == []


def test_trajectories_of_two_models_correlate_or_not():
    first = decomposed(planted(FALLING, RISING))
    similar = decomposed(planted(1.1 * FALLING, RISING + 0.3, seed=1), model="b")
    different = decomposed(planted(FALLING[::-1], RISING, seed=2), model="c")
    other_task = decomposed(planted(FALLING, RISING), model="d", task="ChooseCat")
    statements = paper_claims.judge_pairs([first, similar, different, other_task])
    verdicts = {statement.model: statement.verdict for statement in statements}
    assert verdicts == {"a, b": "holds", "a, c": "does not", "b, c": "does not"}
    constant = decomposed(planted(np.zeros(33), RISING, noise=0.0), model="e")
    (pair,) = paper_claims.judge_pairs([first, constant])
    assert pair.verdict == "not decidable"


def test_the_correlation_is_pearsons():
    a, b = np.random.default_rng(0).standard_normal((2, 9))
    assert float(paper_claims.correlation(a, b)) == pytest.approx(np.corrcoef(a, b)[0, 1])


def test_an_atom_that_is_zero_in_nearly_all_draws_decides_nothing():
    assert paper_claims.basic_interval(0.0, np.r_[np.zeros(198), 0.1, 0.3], 0.9) == (
        0.0,
        pytest.approx(0.002),
    )
    assert paper_claims.basic_interval(0.0, -np.r_[np.zeros(198), 0.1, 0.3], 0.9) == (
        pytest.approx(-0.002),
        0.0,
    )


def test_verdicts_follow_the_interval():
    assert [
        paper_claims.verdict(*interval) for interval in ((0.1, 1), (-1, -0.1), (-1, 1), (np.nan, np.nan))
    ] == [
        "holds",
        "does not",
        "not decidable",
        "not decidable",
    ]
    draws = np.r_[np.full(90, 0.0), np.full(10, 10.0)]
    low, high = paper_claims.basic_interval(5.0, draws, 0.9)
    assert (low, high) == (5.0 - (10 - 1.0), 5.0 - (0 - 1.0))  # reflected, centered on their mean


# Known effects.


@pytest.mark.parametrize("corner", toyworld.EXPECTED)
def test_the_gap_is_above_zero_where_the_expected_atom_holds_all(corner):
    expected = toyworld.EXPECTED[corner]
    atoms = {name: float(name == expected.atom) for name in ("redundancy", "unique_x", "unique_y", "synergy")}
    r, x, y, s = atoms.values()
    pid = PID(*map(jnp.asarray, (r, x, y, s, r + x, r + y, 1.0, 1.0 - s)))
    assert known_effects.signed_gap(expected, pid) == 1
    assert "(by 1 bit in the inputs)" in known_effects.claim_of(expected, "QueryAttr")


def test_a_source_that_tells_the_answer_fully_tells_one_bit_and_never_more():
    answers = np.array(["left", "right"] * 4000)
    target = known_effects.encode_answers(answers, 0)
    signs = np.where(answers == "left", -1.0, 1.0)[:, None]
    noise = np.random.default_rng(1).standard_normal((8000, 1))
    options = {"reduce": None, "gaussianize": "none", "measure": "mmi", "ci": None, "null": None}
    result = estimate(target, signs, noise, key=jax.random.key(0), **options)
    assert float(result.pid.mi_x) == pytest.approx(1, abs=0.03)
    assert float(result.pid.mi_y) == pytest.approx(0, abs=0.01)


class PlantedStore:
    """A store of three layers whose states have the information of a corner's scene and question on the answer (±1).

    Where both are needed the answer is the product of their second coordinates.
    """

    def __init__(self, signs, expected=toyworld.EXPECTED["both needed"]):
        rng = np.random.default_rng(0)
        leak_rates = {
            TokenType.IMAGE: expected.leak_rates.vision,
            TokenType.QUESTION: expected.leak_rates.language,
        }
        key = rng.choice([-1.0, 1.0], len(signs)) * (sum(leak_rates.values()) == 0)
        second = {TokenType.IMAGE: signs * key, TokenType.QUESTION: key}
        self._states = {
            group: np.stack([rate * signs, second[group]], axis=-1)
            + 0.2 * rng.standard_normal((3, len(signs), 2))
            for group, rate in leak_rates.items()
        }
        self.p_base = np.full(len(signs), 0.9)
        self._drop = 0.5 * (expected.knockout == "falls")

    def states(self, condition, group):
        return self._states[group]

    def p_new(self, condition):
        assert condition == "all"
        return self.p_base - self._drop * np.linspace(0.5, 1.5, len(self.p_base))

    def captured(self, name, *, wrong=0):
        count = len(self.p_base)
        store: Any = self
        return capturing.Capture("a", "t", name, store, np.arange(count) >= wrong, np.arange(count))


def test_the_fall_is_that_of_the_right_answers_alone():
    capture = PlantedStore(np.ones(3)).captured("planted", wrong=1)
    np.testing.assert_allclose(known_effects.probability_drops(capture), [0.5, 0.75])
    means = known_effects.bootstrap_means(np.array([0.5, 0.0]), 400, 0)
    assert means.mean() == pytest.approx(0.25, abs=0.05)


def test_corners_of_a_model_that_reads_the_inputs_come_out(tmp_path, monkeypatch):
    """All effects come out. No linear readout detects the synergy of a product; products of the sources do."""
    folder = toy_llava.write(tmp_path / "model")
    config = toy_llava.tiny(folder, cache=tmp_path)
    model = checkpoint.ModelFolder(folder, config.capture, config.mesh)
    config = dataclasses.replace(
        config, corners=dataclasses.replace(config.corners, rows=60, product_rows=1200)
    )
    verdicts = {}
    for corner, expected in toyworld.EXPECTED.items():

        def capture(_, task, *__, corner=corner, expected=expected, **___):
            signs = np.where(np.array(task.answers) == "left", -1.0, 1.0)
            return PlantedStore(signs, expected).captured(f"{corner} {len(signs)}")

        monkeypatch.setattr(known_effects, "capture_states", capture)
        verdicts[corner] = [row.verdict for row in known_effects.measure(model, corner, "QueryAttr", config)]
    assert verdicts == {
        "both needed": ["not decidable", "holds", "not decidable", "holds"],
        "words suffice": ["holds", "holds"],
        "image suffices": ["holds"],
        "either suffices": ["holds", "holds"],
    }


# Tables.


def test_the_table_on_planted_results():
    base = planted(FALLING, RISING)
    draws = pid_to_array(base.draws) if base.draws is not None else pytest.fail("no draws")
    step = np.array([0, 0.2, 0, 0.2, 0.2, 0, 0.4, 0.2])
    knockout = base._replace(
        pid=pid_from_array(pid_to_array(base.pid) + step), draws=pid_from_array(draws + step)
    )
    decompositions = [decomposed(base, knockout), decomposed(base, knockout, model="b")]
    layers, changes, correlations, flags = (
        report.layer_table(decompositions, "final"),
        report.knockout_table(decompositions, "final"),
        report.correlation_table(decompositions),
        report.flag_table(decompositions),
    )
    first = ("QueryAttr", "a", "900", "0", "32", "0", "0", "32", "4.5 %", "90.9 %", "4.5 %", "0.0 %", "2.20")
    assert layers.rows[0] == (*first, "1 doubtful, 32 sound")
    assert changes.rows[0] == ("QueryAttr", "a", "U_V", "0.200", "[0.200, 0.200]")
    assert changes.rows[4][2:] == ("total", "0.400", "[0.400, 0.400]")
    assert correlations.rows[0][:4] == ("QueryAttr", "a, b", "1.000", "1.000")
    assert flags.rows == [("doubt", "planted.", "2 layers, first in QueryAttr (a, recommended)")]
    means = report.layer_table(decompositions, "mean_layers")
    assert "the mean over layers" in means.title
    assert means.rows[0][-2] == f"{float(np.mean(FALLING + RISING)) + 0.1:.2f}"


def test_one_number_for_all_layers_has_draws_of_the_same_kind():
    base = planted(FALLING, RISING)
    for aggregation, layer in {"final": -1, "mean_layers": None}.items():
        aggregated = decomposing.aggregate_draws(base, aggregation)
        assert base.draws is not None
        assert aggregated.draws is not None
        by_layer = np.asarray(base.draws.unique_x)
        expected = by_layer[:, layer] if layer is not None else by_layer.mean(axis=1)
        np.testing.assert_allclose(aggregated.draws.unique_x, expected)
        assert np.shape(aggregated.pid.unique_x) == ()
