"""The picture of an evolution shows the states of `evolve`."""

from typing import Any

import jax.numpy as jnp
import numpy as np
import pytest
from matplotlib.figure import Figure

from pdeformer import AdvectionDiffusion, Diffusion, ReactionDiffusion, Wave, evolve, plots

U = jnp.linspace(0.1, 0.9, 12)[:, None] ** 2
IDS = np.array([1] * 5 + [0] * 2 + [2] * 5)


@pytest.mark.parametrize(
    "pde", [Diffusion(0.3), Wave(0.6), ReactionDiffusion(0.2, 0.4), AdvectionDiffusion(0.1, 0.3)]
)
def test_the_map_and_the_profiles_show_the_states(pde):
    figure = plots.evolution(U, pde, steps=3, dt=0.5, segment_ids=IDS)
    array: Any = figure.axes[0].images[0].get_array()
    image = np.ma.filled(array, np.nan)
    assert image.shape == (4, 12)
    for n in range(4):
        expected = np.where(IDS > 0, evolve(U, pde, steps=n, dt=0.5, segment_ids=IDS)[:, 0], np.nan)
        np.testing.assert_allclose(image[n], expected, rtol=0, atol=1e-6)
    lines = figure.axes[1].lines
    assert [line.get_label() for line in lines] == ["0", "0.5", "1", "1.5"]
    np.testing.assert_allclose(np.asarray(lines[-1].get_ydata()), image[-1])


def test_it_draws_into_axes_that_are_passed():
    ax = Figure().subplots()
    assert plots.evolution(U[:, 0], Diffusion(0.25), steps=1, ax=ax, title="one") is ax.get_figure()
    assert ax.get_title() == "one"


def test_what_cannot_be_drawn_is_refused():
    cases: Any = (
        (U[None], {"steps": 1}, "takes? one|draws one sequence"),
        (U, {"steps": 0}, "at least one step"),
        (U, {"steps": 1, "channel": 1}, "channel must be one of 0 … 0"),
    )
    for u, options, words in cases:
        with pytest.raises(ValueError, match=words):
            plots.evolution(u, Diffusion(0.25), **options)
    with pytest.raises(ValueError, match=r"alpha \* dt <= 1/2"):
        plots.evolution(U, Diffusion(0.7), steps=1)


def test_a_state_without_a_valid_number_is_drawn_blank():
    for u, ids in ((U * np.nan, None), (U, np.zeros(len(U), int))):
        figure = plots.evolution(u, Diffusion(0.2), steps=2, segment_ids=ids)
        array: Any = figure.axes[0].images[0].get_array()
        assert np.isnan(np.ma.filled(array, np.nan)).all()
