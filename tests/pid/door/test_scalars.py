"""Keys, bases, dims, covariances and numbers of options: served as what they mean, or refused in words."""

import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import pid
from pid.features.gaussianize import PCA
from pid.interface.scalars import random_key
from tests.pid.door.tables import Frame
from tests.pid.gaussian_samples import KEY, PLAIN, QUIET, small, to_array

INTEGERS = np.array([[2, 1, 1], [1, 3, 0], [1, 0, 4]])
REAL = INTEGERS.astype(float)
DIMS = (1, 1, 1)


@pytest.mark.parametrize(
    "key", [7, np.int64(7), np.uint8(7), np.array(7), jnp.asarray(7), jax.random.PRNGKey(7)]
)
def test_a_seed_is_its_key(key):
    options = {**PLAIN, "ci": pid.Bootstrap(4), "null": None}
    result, true = (pid.estimate(*small(n=60), **options, key=k) for k in (key, jax.random.key(7)))
    assert result.ci is not None
    assert true.ci is not None
    np.testing.assert_array_equal(to_array(result.ci.low), to_array(true.ci.low))
    assert result.resampling == true.resampling


def test_seeds_are_kept_apart():
    seeds = [0, 1, -1, 2**31, 2**40]
    assert len({tuple(np.asarray(jax.random.key_data(random_key(seed)))) for seed in seeds}) == len(seeds)


@pytest.mark.parametrize(
    "key",
    [
        None,
        True,
        1.0,
        "0",
        2**80,
        [0, 7],
        np.random.default_rng(0),
        jax.random.split(KEY),
        np.zeros(3, np.uint32),
    ],
)
def test_what_is_no_key_is_refused_in_words(key):
    words = r"key must be one random key of JAX or an integer seed, got .*; pass key=jax.random.key\(0\)\."
    with pytest.raises(ValueError, match=words):
        pid.estimate(*small(n=60), key=key)


@pytest.mark.parametrize(
    "base", [np.float32(2), np.float64(2), np.int64(2), np.array(2.0), jnp.asarray(2.0), jnp.asarray(2), 2]
)
def test_any_number_is_a_base(base):
    np.testing.assert_array_equal(pid.decompose(REAL, DIMS, base=base), pid.decompose(REAL, DIMS))
    np.testing.assert_array_equal(
        pid.mutual_information(REAL, DIMS, base=base), pid.mutual_information(REAL, DIMS)
    )
    nats = pid.mutual_information(REAL, DIMS, base=np.float64(math.e))
    np.testing.assert_allclose(np.array(nats), np.array(pid.mutual_information(REAL, DIMS)) * math.log(2))


@pytest.mark.parametrize("base", [True, "2", None, 1, 0.5, -2, np.nan, np.inf, np.ones(2), 2j, [2]])
def test_what_is_no_base_is_refused_in_words(base):
    for function in (pid.decompose, pid.mutual_information, pid.conditional_information):
        with pytest.raises(ValueError, match=r"base must be a number above 1 .*, got .*; pass base=2\."):
            function(REAL, DIMS, base=base)


def test_a_traced_base_is_refused_in_words():
    with pytest.raises(ValueError, match="base must be a number above 1"):
        jax.jit(lambda base: pid.decompose(REAL, DIMS, base=base).union)(2.0)


@pytest.mark.parametrize(
    "dims", [[1, 1, 1], np.ones(3, int), np.ones(3, np.uint8), tuple(np.ones(3, np.int32)), jnp.ones(3, int)]
)
def test_any_three_whole_numbers_are_dims(dims):
    np.testing.assert_array_equal(pid.decompose(REAL, dims), pid.decompose(REAL, DIMS))
    np.testing.assert_array_equal(pid.certificate(REAL, dims).union, pid.certificate(REAL, DIMS).union)


@pytest.mark.parametrize(
    "dims", [1, 3, None, "111", (1, 1, 1, 1), (True,) * 3, (1.0, 1.0, 1.0), (0, 1, 2), np.eye(3)]
)
def test_what_are_no_dims_is_refused_in_words(dims):
    for function in (pid.decompose, pid.mutual_information, pid.certificate, pid.conditional_information):
        with pytest.raises(
            ValueError, match=r"dims must be three positive integers, of target, x and y, got"
        ):
            function(REAL, dims)


COVARIANCES = {
    "integers": INTEGERS,
    "unsigned": INTEGERS.astype(np.uint16),
    "lists": INTEGERS.tolist(),
    "lists of numbers": REAL.tolist(),
    "objects": INTEGERS.astype(object),
    "integers of JAX": jnp.asarray(INTEGERS),
    "float16": INTEGERS.astype(np.float16),
    "bfloat16": jnp.asarray(INTEGERS, jnp.bfloat16),
    "long double": INTEGERS.astype(np.longdouble),
    "big endian": INTEGERS.astype(">f8"),
    "masked nowhere": np.ma.array(REAL),
    "Fortran order": np.asfortranarray(REAL),
}


@pytest.mark.parametrize("kind", COVARIANCES)
def test_covariances_of_any_numbers_are_served(kind):
    cov, tolerance = COVARIANCES[kind], 1e-12 if isinstance(COVARIANCES[kind], np.ndarray | list) else 1e-2
    for measure in ("broja", "mmi"):
        np.testing.assert_allclose(
            np.array(pid.decompose(cov, DIMS, measure=measure), float),
            np.array(pid.decompose(REAL, DIMS, measure=measure)),
            atol=tolerance,
        )
    np.testing.assert_allclose(
        np.array(pid.mutual_information(cov, DIMS), float), pid.mutual_information(REAL, DIMS), atol=tolerance
    )
    np.testing.assert_allclose(
        pid.certificate(cov, DIMS).union, pid.certificate(REAL, DIMS).union, atol=1e-12
    )


@pytest.mark.parametrize("dtype", [jnp.int32, jnp.bfloat16, jnp.float16])
def test_a_traced_covariance_of_any_numbers_is_served(dtype):
    traced = jax.jit(lambda cov: pid.decompose(cov, DIMS).synergy)(jnp.asarray(INTEGERS, dtype))
    assert float(traced) == pytest.approx(float(pid.decompose(REAL, DIMS).synergy), abs=1e-2)


@pytest.mark.parametrize("dtype", [jnp.float16, jnp.bfloat16])
def test_copies_rounded_to_half_precision_are_copies(dtype):
    """y = x + rounding: both sources give the same information."""
    cov = np.array([[1, 0.7, 0.7], [0.7, 1, 1], [0.7, 1, 1]]) * [1, 3, 3] * np.array([[1], [3], [3]])
    result = pid.decompose(np.asarray(jnp.asarray(cov, dtype)), DIMS)
    assert float(result.redundancy) == pytest.approx(float(result.mi_joint), abs=2e-2)


REFUSED = {
    "truth values": (np.eye(3) > 0, "real and floating, got dtype bool"),
    "complex": (REAL * 1j, "real and floating, got dtype complex128"),
    "texts": (REAL.astype(str), "real and floating, got dtype <U"),
    "ragged": ([[1, 2], [1]], "array of real numbers, got list .*; pass rows of equal length"),
    "masked": (np.ma.masked_equal(REAL, 1), "must be complete, got 4 masked entries"),
    "1-D": (REAL[0], r"must have shape \(..., 3, 3\), got \(3,\)"),
    "None": (None, r"must have shape \(..., 3, 3\), got \(\)"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_is_no_covariance_is_refused_in_words(case):
    cov, words = REFUSED[case]
    for function in (pid.decompose, pid.mutual_information, pid.certificate, pid.conditional_information):
        with pytest.raises(ValueError, match=words):
            function(cov, DIMS)


def test_a_traced_covariance_has_no_certificate():
    with pytest.raises(ValueError, match="concrete covariance, got a traced one; call it outside"):
        jax.jit(lambda cov: pid.certificate(cov, DIMS).union)(REAL)


@pytest.mark.parametrize(
    "number", [4, 4.0, np.int64(4), np.float64(4), np.uint8(4), np.array(4), jnp.asarray(4)]
)
def test_numbers_of_options_are_python_numbers(number, tmp_path):
    level: Any = np.float32(0.5)
    choices = (pid.Bootstrap(draws=number, level=level, kind="paired"), pid.Shuffle(draws=number))
    assert choices == (pid.Bootstrap(draws=4, level=0.5, kind="paired"), pid.Shuffle(draws=4))
    assert all(type(choice.draws) is int and type(choice.level) is float for choice in choices)
    assert type(PCA(number).components) is int
    result = pid.estimate(*small(n=60), reduce=PCA(number), ci=choices[0], null=choices[1], key=np.int64(0))
    pid.save_estimate(tmp_path / "a", result)
    assert pid.load_estimate(tmp_path / "a").resampling == result.resampling


@pytest.mark.parametrize(
    ("kind", "options", "words"),
    [
        (pid.Bootstrap, {"draws": True}, "draws must be a whole number, got True; 200 is usual"),
        (pid.Bootstrap, {"draws": 2.5}, "draws must be a whole number, got 2.5"),
        (pid.Shuffle, {"draws": "20"}, "draws must be a whole number, got '20'"),
        (pid.Shuffle, {"draws": np.inf}, "draws must be a whole number, got inf"),
        (pid.Bootstrap, {"level": "0.9"}, "a level is a number between 0 and 1, got '0.9'; 0.9 is usual"),
        (pid.Bootstrap, {"level": np.ones(1)}, "a level is a number between 0 and 1, got array"),
        (PCA, {"components": True}, "PCA needs a whole number of components, got True"),
        (PCA, {"components": "mle"}, "PCA needs a whole number of components, got 'mle'"),
        (PCA, {"components": None, "variance": "0.9"}, "PCA needs a share of variance, got '0.9'"),
    ],
)
def test_numbers_that_are_none_are_refused_in_words(kind, options, words):
    with pytest.raises(ValueError, match=words):
        kind(**options)


@pytest.mark.parametrize("value", [True, False, 8, "pca", np.ones(2)])
@pytest.mark.parametrize("name", ["reduce", "ci", "null", "measure", "gaussianize", "debias", "shrinkage"])
def test_a_choice_of_another_type_is_refused_in_words(name, value):
    with pytest.raises(ValueError, match=f"{name} must be .*, got"):
        pid.estimate(*small(n=60), **{**QUIET, "debias": "none", name: value}, key=KEY)


def test_a_table_is_a_covariance():
    class Table(Frame):
        def __array__(self, dtype=None, copy=None):
            return np.asarray(REAL, dtype)

    np.testing.assert_array_equal(
        pid.decompose(Table(dict(enumerate(REAL.T))), DIMS), pid.decompose(REAL, DIMS)
    )
