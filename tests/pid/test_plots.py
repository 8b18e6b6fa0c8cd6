"""Plots of a decomposition: lines, bands, labels and units, and errors."""

from typing import Any

import numpy as np
import pytest
from matplotlib.figure import Figure

from pid import PID, Certificate, Estimate, Interval, plots
from pid.estimators import Comparison
from pid.estimators.results import Resampling, pid_from_array, pid_to_array
from pid.plots.style import ATOMS, QUANTITIES

L = 5
NAMES = ("vision", "language")


def decomposition(layers: int | None = L, *, seed: int = 0) -> Any:
    """Sample atoms; the informations are their sums."""
    r, u_x, u_y, s = np.random.default_rng(seed).uniform(0.2, 1, (4, *(() if layers is None else (layers,))))
    return PID(r, u_x, u_y, s, r + u_x, r + u_y, r + u_x + u_y + s, r + u_x + u_y)


def shifted(pid: PID, by: Any) -> Any:
    return pid_from_array(pid_to_array(pid) + by)


def estimate(layers: int | None = L, **changes: Any) -> Any:
    pid = decomposition(layers)
    ci = Interval(shifted(pid, -0.1), shifted(pid, 0.15))
    null = Interval(shifted(pid, -pid_to_array(pid)), shifted(pid, 0.05 - pid_to_array(pid)))
    full_estimate = Estimate(
        pid,
        ci,
        null,
        None,
        (),
        100,
        (2, 2, 2),
        shifted(pid, 0.03),
        Resampling("parametric", 9, 0.8, (0,)),
    )
    return full_estimate._replace(**changes)


def spectrum(values) -> Certificate:
    zero, matrix = np.zeros(()), np.zeros((1, 1))
    return Certificate(zero, zero, zero, zero, np.asarray(values), matrix, matrix)


def ax_of(figure: Figure) -> Any:
    (ax,) = figure.axes
    return ax


def line(ax: Any, *, style: str = "-") -> Any:
    """Return the data of the only line with this style."""
    (result,) = [candidate for candidate in ax.lines if candidate.get_linestyle() == style]
    return result.get_ydata()


def band(collection: Any):
    """Return the lower and upper ends of a filled band at each x."""
    points = collection.get_paths()[0].vertices
    positions = np.unique(points[:, 0])
    ends = [points[points[:, 0] == x, 1] for x in positions]
    return np.array([e.min() for e in ends]), np.array([e.max() for e in ends])


def texts(legend):
    return [text.get_text() for text in legend.get_texts()]


# Layers.


def test_the_stack_has_the_atoms_as_heights_and_the_joint_information_as_its_sum():
    pid = decomposition()
    ax = ax_of(plots.stacked_atoms(pid, names=NAMES))
    assert len(ax.collections) == len(ATOMS)
    heights = [np.subtract(*band(area)[::-1]) for area in ax.collections]
    for height, atom in zip(heights, ATOMS, strict=True):
        np.testing.assert_allclose(height, getattr(pid, atom), rtol=1e-12)
    np.testing.assert_allclose(np.sum(heights, axis=0), pid.mi_joint, rtol=1e-12)
    np.testing.assert_allclose(line(ax), pid.mi_joint)
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("layer", "bits")
    labels = texts(ax.get_legend())
    assert labels == [
        "I(target; vision, language)",
        "synergy",
        "unique language",
        "unique vision",
        "redundancy",
    ]


def test_shares_are_percent_that_add_up_to_100():
    pid = decomposition()
    ax = ax_of(plots.shares(estimate(), names=NAMES, layers=range(10, 10 + L)))
    drawn = {curve.get_label(): curve.get_ydata() for curve in ax.lines}
    np.testing.assert_allclose(np.sum(list(drawn.values()), axis=0), 100)
    np.testing.assert_allclose(drawn["unique vision"], 100 * pid.unique_x / pid.mi_joint)
    np.testing.assert_array_equal(ax.lines[0].get_xdata(), np.arange(10, 10 + L))
    assert ax.get_ylabel() == "% of I(target; vision, language)"


def test_trajectories_show_interval_plugin_null_and_truth_of_every_quantity():
    result, truth = estimate(), decomposition(seed=1)
    figure = plots.trajectories(result, truth=truth, names=NAMES)
    assert len(figure.axes) == len(QUANTITIES)
    for ax, field in zip(figure.axes, QUANTITIES, strict=True):
        np.testing.assert_allclose(line(ax), getattr(result.pid, field))
        np.testing.assert_allclose(line(ax, style="--"), getattr(result.plugin, field))
        np.testing.assert_allclose(line(ax, style=":"), getattr(truth, field))
        for drawn, ends in zip(ax.collections, (result.null, result.ci), strict=True):
            np.testing.assert_allclose(band(drawn), [getattr(end, field) for end in ends])
        assert (ax.get_xlabel(), ax.get_ylabel()) == ("layer", "bits")
        assert ax.get_ylim()[0] == 0
    titles = [ax.get_title() for ax in figure.axes]
    assert titles[1] == "unique vision"
    assert titles[-1] == "I(target; vision, language)"
    labels = ["estimate", "80 % interval", "plug-in", "null: target shuffled", "truth"]
    assert texts(figure.legends[0]) == labels


def test_what_was_not_measured_is_neither_drawn_nor_in_the_legend():
    figure = plots.trajectories(estimate(ci=None, null=None, resampling=None), fields=("synergy",))
    ax = ax_of(figure)
    assert not ax.collections
    assert texts(figure.legends[0]) == ["estimate", "plug-in"]


def test_differences_have_their_paired_interval_and_the_line_of_no_difference():
    change = shifted(decomposition(), -0.6)
    comparison = Comparison(change, Interval(shifted(change, -0.2), shifted(change, 0.1)))
    figure = plots.differences(comparison, truth=change, fields=("unique_x", "mi_joint"), names=NAMES)
    for ax, field in zip(figure.axes, ("unique_x", "mi_joint"), strict=True):
        value = getattr(change, field)
        np.testing.assert_allclose(band(ax.collections[0]), [value - 0.2, value + 0.1])
        zero, drawn = (np.asarray(curve.get_ydata()) for curve in ax.lines[:2])
        assert list(zero) == [0, 0]
        np.testing.assert_allclose(drawn, value)
    assert figure.axes[0].get_title() == "Δ unique vision"
    assert texts(figure.legends[0]) == ["difference", "paired interval", "truth"]


def test_layers_that_are_not_finite_are_left_out_and_named():
    pid = pid_from_array(np.where(np.arange(L)[:, None] == 2, np.inf, pid_to_array(decomposition())))
    ax = ax_of(plots.stacked_atoms(pid))
    assert ax.get_title() == "information on the target\n(not finite in layer 2)"
    assert np.isnan(line(ax)[2])
    assert np.isfinite(np.delete(line(ax), 2)).all()
    everywhere = pid_from_array(np.full((L, len(pid)), np.nan))
    assert "not finite in 5 of 5 layers" in ax_of(plots.shares(everywhere)).get_title()


def test_given_axes_are_drawn_into_and_their_figure_comes_back():
    figure = Figure()
    left, right, *four = np.ravel(figure.subplots(2, 3))
    assert plots.stacked_atoms(decomposition(), ax=left, title="mine") is figure
    assert plots.shares(decomposition(), ax=right) is figure
    assert plots.trajectories(estimate(), fields=ATOMS, axes=four) is figure
    assert left.get_title() == "mine"
    assert all(ax.lines for ax in four)


# Without layers.


def test_bars_have_the_values_and_the_ends_of_the_interval():
    result = estimate(None)
    ax = ax_of(plots.bars(result, truth=result.plugin, names=NAMES))
    lengths = [patch.get_width() for patch in ax.patches[: len(QUANTITIES)]]
    np.testing.assert_allclose(lengths, [getattr(result.pid, field) for field in QUANTITIES])
    (ends,) = [c for c in ax.collections if len(c.get_segments()) == len(QUANTITIES)]
    drawn = np.array([segment[:, 0] for segment in ends.get_segments()])
    for row, field in zip(drawn, QUANTITIES, strict=True):
        np.testing.assert_allclose(row, [getattr(end, field) for end in result.ci])
    assert ax.get_xlabel() == "bits"
    assert {"plug-in", "truth", "80 % interval", "null: target shuffled"} == set(texts(ax.get_legend()))
    assert [label.get_text() for label in ax.get_yticklabels()][1:3] == [
        "unique vision",
        "unique language",
    ]


def test_an_infinite_bar_says_so_and_a_bare_pid_needs_no_legend():
    pid = decomposition(None)._replace(mi_joint=np.float64(np.inf), synergy=np.float64(np.inf))
    ax = ax_of(plots.bars(pid))
    assert [text.get_text() for text in ax.texts] == ["not finite"] * 2
    assert ax.get_legend() is None


@pytest.mark.parametrize("values", [[4.0, 1.0, 0.5], np.array([[4.0, 0.5]] * 3)], ids=["one", "layers"])
def test_eigenvalues_are_split_at_1_on_a_logarithmic_axis(values):
    ax = ax_of(plots.eigenvalues(spectrum(values), names=NAMES))
    assert ax.get_yscale() == "log"
    assert ax.get_xlabel() == ("layer" if np.ndim(values) == 2 else "rank of λ")
    assert ax.get_ylabel() == "λ: variance left by language / by vision"
    assert texts(ax.get_legend()) == ["λ > 1: vision knows better", "λ < 1: language knows better"]
    for field, value in (("unique_x", 4), ("unique_y", 0.5)):
        drawn = [
            curve.get_ydata() for curve in ax.lines if curve.get_color() == plots.SERIES_STYLE[field].color
        ]
        assert set(np.ravel(drawn)[np.isfinite(np.ravel(drawn))]) == {value}


# Refusals.


@pytest.mark.parametrize("picture", [plots.stacked_atoms, plots.shares], ids=lambda p: p.__name__)
@pytest.mark.parametrize("layers", [None, 1])
def test_pictures_of_layers_refuse_what_has_none(picture, layers):
    with pytest.raises(
        ValueError, match=f"{picture.__name__} needs fields of shape .* draw one PID with `bars`"
    ):
        picture(decomposition(layers))


def test_bars_refuse_layers_and_name_what_draws_them():
    with pytest.raises(ValueError, match="bars draws one PID, got fields of shape .5,.; use `stacked_atoms`"):
        plots.bars(decomposition())


def test_numbers_of_layers_must_be_as_many_as_layers():
    with pytest.raises(ValueError, match="one number for each of 5 layers, got shape .2,."):
        plots.shares(decomposition(), layers=(1, 2))


def test_eigenvalues_refuse_more_axes_than_layers():
    with pytest.raises(ValueError, match="take one axis of layers"):
        plots.eigenvalues(spectrum(np.ones((2, 3, 4))))


# Former names.


def test_former_keywords_and_names_work_and_warn():
    ax, other = Figure().subplots(1, 2)
    with pytest.warns(DeprecationWarning, match=r"shares\(panel=\.\.\.\) is now called ax="):
        assert plots.shares(decomposition(), panel=ax) is ax.figure  # pyright: ignore[reportCallIssue]
    with pytest.warns(DeprecationWarning, match="axes="):
        plots.trajectories(estimate(), fields=("synergy",), panels=[other])  # pyright: ignore[reportCallIssue]
    assert other.lines
    with pytest.warns(DeprecationWarning, match="SERIES_STYLE"):
        assert getattr(plots, "LOOKS") is plots.SERIES_STYLE  # noqa: B009  a former name
    with pytest.warns(DeprecationWarning, match="SeriesStyle.color"):
        assert getattr(plots.SERIES_STYLE["synergy"], "colo" + "ur") == "#CC79A7"
    with pytest.raises(AttributeError, match="no attribute 'figures'"):
        plots.figures  # noqa: B018  # pyright: ignore[reportAttributeAccessIssue]
