"""Cross-fitted flows: recovery, independence, folds, alignment, padding."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from pid.features.gaussianize import rank_gaussian
from pid.flow import SeparableFlow, cross_fit, cross_fitting
from tests.pid.flow.cases import (
    SMALL,
    TINY,
    gaussian_system,
    information_of_rows,
    keys,
    mutual_informations,
    random,
    to_float32,
    warped_system,
    with_layer_axis,
)


def test_the_copula_is_enough_for_warped_coordinates():
    dims = (2, 16, 16)
    m, x, y, cov = warped_system(0, 10_000, dims, rotate=False)
    estimate = information_of_rows(*(rank_gaussian(v) for v in to_float32(m, x, y)))
    # the sampling error and the bias of 34 dimensions at n = 10,000
    np.testing.assert_allclose(estimate, mutual_informations(cov, dims), rtol=0.03)


@pytest.fixture(scope="module")
def rotated():
    """Two layers of rotated, warped data, and cross-fitted latents."""
    systems = [warped_system(seed, 900, (3, 3, 3), rotate=True) for seed in (1, 2)]
    data: Any = tuple(jnp.stack([jnp.asarray(s[i], jnp.float32) for s in systems]) for i in range(3))
    return systems, data, cross_fit(SMALL, *data, keys=keys(2))


@pytest.mark.slow
def test_a_flow_recovers_what_a_rotation_hides_from_the_copula(rotated):
    systems, _, fitted = rotated
    assert jnp.all(fitted.beats_copula)
    for layer, (*variables, cov) in enumerate(systems):
        truth = mutual_informations(cov, (3, 3, 3))
        estimate = information_of_rows(*(v[layer] for v in fitted.latents[:3]))
        copula = information_of_rows(*(rank_gaussian(v) for v in to_float32(*variables)))
        assert np.all(estimate > 0.88 * truth), (estimate, truth)
        assert np.all(estimate < truth + 0.1), (estimate, truth)
        assert estimate[2] > copula[2] + 0.2


def test_one_program_serves_all_layers_of_a_shape_and_none_depends_on_the_others(rotated):
    _, data, _ = rotated
    fitted = cross_fit(TINY, *data, keys=keys(2))
    size = cross_fitting.cross_fit_layer._cache_size  # pyright: ignore[reportAttributeAccessIssue]
    before = size()
    swapped = cross_fit(TINY, *(v[::-1] for v in data), keys=keys(2)[::-1])
    assert size() == before
    np.testing.assert_array_equal(swapped.latents.x[::-1], fitted.latents.x)
    assert bool(jnp.any(swapped.latents.x != fitted.latents.x))


MIXED = SeparableFlow(couplings=0, knots=8, steps=20, rounds=2, folds=2, shared_target=False)


@pytest.mark.exhaustive
def test_layers_of_different_widths_share_a_program_and_the_padding_stays_zero():
    narrow, wide = (
        with_layer_axis(*warped_system(1, 400, dims, rotate=False)[:3]) for dims in ((2, 3, 2), (3, 4, 3))
    )
    widths = [v.shape[-1] for v in wide]
    padded = [
        jnp.concatenate([jnp.pad(a, ((0, 0), (0, 0), (0, width - a.shape[-1]))), b])
        for a, b, width in zip(narrow, wide, widths, strict=True)
    ]
    joint_fit = cross_fit(MIXED, *padded, keys=keys(2))
    size = cross_fitting.cross_fit_layer._cache_size  # pyright: ignore[reportAttributeAccessIssue]
    before = size()
    separate_fits = [
        cross_fit(MIXED, *data, keys=keys(2)[layer : layer + 1]) for layer, data in enumerate((narrow, wide))
    ]
    assert size() == before + 1  # for the narrow layer alone
    for layer, fit in enumerate(separate_fits):
        assert bool(fit.beats_copula[0]) == bool(joint_fit.beats_copula[layer])
        # padding changes the order of float32 sums, and the training amplifies the difference
        np.testing.assert_allclose(joint_fit.held_out.gain[layer], fit.held_out.gain[0], atol=1e-3)
        np.testing.assert_allclose(joint_fit.ks[layer], fit.ks[0], atol=2e-3)
        np.testing.assert_allclose(joint_fit.alignment[layer], fit.alignment[0], atol=1e-3)
        for joint, alone in zip(joint_fit.latents, fit.latents, strict=True):
            assert joint is not None
            assert alone is not None
            width = alone.shape[-1]
            np.testing.assert_allclose(joint[layer, :, :width], alone[0], atol=0.02)
            np.testing.assert_array_equal(joint[layer, :, width:], 0)
    inside = padded[0].at[0].set(padded[0][0, :, ::-1])  # zeros to the left
    with pytest.raises(ValueError, match="1 constant in target"):
        cross_fit(MIXED, inside, *padded[1:], keys=keys(2))
    with pytest.raises(ValueError, match="1 constant in target"):  # couplings accept no padding
        cross_fit(TINY, *padded, keys=keys(2))


def test_gaussian_data_stay_as_the_copula_has_them(rotated):
    systems = [gaussian_system(seed, 900, (3, 3, 3)) for seed in (1, 2)]
    data: Any = tuple(jnp.stack([jnp.asarray(s[i], jnp.float32) for s in systems]) for i in range(3))
    fitted = cross_fit(SMALL, *data, keys=keys(2))
    for layer in (0, 1):
        estimate = information_of_rows(*(v[layer] for v in fitted.latents[:3]))
        # in bits: a flow may beat the copula by chance, and then changes little
        np.testing.assert_allclose(estimate, information_of_rows(*(v[layer] for v in data)), atol=0.05)
        if not fitted.beats_copula[layer]:
            np.testing.assert_allclose(fitted.latents.x[layer], rank_gaussian(data[1][layer]), atol=1e-5)
    assert not jnp.all(fitted.beats_copula)


def test_independent_variables_stay_independent_under_a_flow_that_is_used(rotated):
    _, (target, x, y), _ = rotated
    shuffled = (target, x[:, np.random.default_rng(0).permutation(900)], y[::-1])
    fitted = cross_fit(SMALL, *shuffled, keys=keys(2))
    assert jnp.all(fitted.beats_copula)
    for layer in (0, 1):
        estimate = information_of_rows(*(v[layer] for v in fitted.latents[:3]))
        # twice the mean plug-in estimate of 3 and 6 dimensions from 900 rows, 9 and 18 / (2 · 900 ln 2)
        assert np.all(estimate < 2 * np.asarray([0.0072, 0.0072, 0.0144])), estimate


def test_what_a_fold_holds_does_not_touch_the_map_of_its_rows():
    m, x, y, _ = warped_system(0, 240, (2, 2, 2), rotate=True)
    flow = SeparableFlow(**{**vars(TINY), "folds": 3})
    order = jnp.arange(240)
    transform_fold = jax.jit(
        lambda *rows: cross_fitting.transform_fold(flow, rows, order, jnp.asarray(1), jax.random.key(0))
    )

    def shift(row):
        return transform_fold(*to_float32(*(v + 3.0 * (np.arange(240) == row)[:, None] for v in (m, x, y))))

    # fold 1 holds rows 80 to 159
    plain, inside, outside = transform_fold(*to_float32(m, x, y)), shift(85), shift(5)
    others = np.arange(80) != 5
    for before, after, other in zip(plain.latents, inside.latents, outside.latents, strict=True):
        np.testing.assert_array_equal(before[others], after[others])
        assert np.any(before[5] != after[5])
        assert np.any(before[others] != other[others])


def test_alignment_undoes_any_linear_map_of_a_folds_latents(x64):
    z, rows = random(300, 3), random(300, 3) ** 3
    fold, mixing = random(20, 3, seed=1), random(3, 3, seed=2)
    aligned, correlation = cross_fitting.align(*(jnp.asarray(v) for v in (z, fold, rows)))
    aligned_mixed, correlation_mixed = cross_fitting.align(
        *(jnp.asarray(v) for v in (z @ mixing + 7, fold @ mixing + 7, rows))
    )
    np.testing.assert_allclose(aligned, aligned_mixed, atol=1e-4)  # not equal, because of a ridge of 1e-6
    np.testing.assert_allclose(correlation, correlation_mixed, atol=1e-4)
    assert 0.8 < correlation < 1


@pytest.mark.exhaustive
def test_a_flow_recovers_sixteen_rotated_dimensions():
    dims = (2, 16, 16)
    *data, cov = warped_system(0, 10_000, dims, rotate=True)
    fitted = cross_fit(SeparableFlow(), *with_layer_axis(*data), keys=keys(1))
    assert information_of_rows(*fitted.latents[:3])[2] > 0.85 * mutual_informations(cov, dims)[2]
