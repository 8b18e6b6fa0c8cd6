"""Layers as arrays, lists and dictionaries, of equal and of different widths."""

from typing import Any

import jax.numpy as jnp
import numpy as np
import pytest

import pid
from pid.features.input_arrays import read_samples
from tests.pid.door.tables import Frame, Tensor
from tests.pid.gaussian_samples import KEY, PLAIN, QUIET, small, to_array

TARGET, X, Y = small(n=60)
WIDE = np.concatenate([X, np.random.default_rng(0).normal(size=(60, 3))], axis=1)


def layerwise(x: Any, y: Any = Y, **options):
    choices: dict[str, Any] = {**PLAIN, "debias": "wishart", **QUIET, **options}
    return pid.layerwise(TARGET, x, y, **choices, key=KEY)


@pytest.mark.parametrize(
    "options",
    [
        {"reduce": pid.PCA(4)},
        {"measure": "mmi", "gaussianize": "copula", "ci": pid.Bootstrap(4, kind="paired")},
    ],
    ids=["components", "draws"],
)
def test_layers_of_different_widths_are_estimated_as_each_alone(options):
    layers, y = [X[:, :1], WIDE], [Y, Y[:, :2]]
    result = layerwise(layers, y, **options)
    assert result.dims == ((3, 1, 3), (3, 4 if "reduce" in options else 6, 2))
    choices: dict[str, Any] = {**PLAIN, "debias": "wishart", **QUIET, **options}
    for layer in range(2):
        alone = pid.estimate(TARGET, layers[layer], y[layer], **choices, key=KEY)
        np.testing.assert_allclose(to_array(result.pid)[layer], to_array(alone.pid), atol=1e-10)
        if result.draws is not None and alone.draws is not None:
            np.testing.assert_allclose(to_array(result.draws)[:, layer], to_array(alone.draws), atol=1e-10)


EQUAL = {
    "list": [X, X * 2],
    "tuple of tensors": (Tensor(X), Tensor(X * 2)),
    "JAX": jnp.asarray(np.stack([X, X * 2])),
    "nested lists": np.stack([X, X * 2]).tolist(),
    "array of arrays": np.array([X, X * 2, None], object)[:2],
    "tables": [Frame(dict(enumerate(a.T))) for a in (X, X * 2)],
    "dictionary": {"early": X, "late": X * 2},
}


@pytest.mark.parametrize("container", EQUAL)
def test_containers_of_layers_hold_the_same_numbers(container):
    samples = read_samples(TARGET, EQUAL[container], Y, layers=True)
    assert samples.num_layers == 2
    dtype = np.float32 if container == "JAX" else np.float64
    for layer, true in enumerate((X, X * 2)):
        np.testing.assert_array_equal(samples.x.layer(layer), true.astype(dtype))
        np.testing.assert_array_equal(samples.target.layer(layer), TARGET)


def test_named_layers_are_paired_by_name_and_named_in_records(tmp_path):
    names = ("early", "late")
    result = layerwise({"early": X, "late": WIDE}, {"late": Y[:, :1], "early": Y})
    assert result.layer_names == names
    assert result.dims == ((3, 3, 3), (3, 6, 1))
    assert [(record["layer"], record["layer_name"]) for record in result.to_records()] == [
        (0, "early"),
        (1, "late"),
    ]
    pid.save_estimate(tmp_path / "named.npz", result)
    assert pid.load_estimate(tmp_path / "named.npz").layer_names == names
    assert "layer_name" not in layerwise([X, WIDE]).to_records()[0]


REFUSED = {
    "other names": (({"a": X, "b": X}, {"b": Y, "c": Y}), "got a, c in one of x and y only; pass lists"),
    "other numbers": (([X] * 3, [Y] * 2), r"of equal length .*, x \(3, 60, 3\), y \(2, 60, 3\)"),
    "other numbers and widths": (([X, WIDE, X], [Y] * 2), r"x 3 layers of \(60, 3\), \(60, 6\), \(60, 3\)"),
    "no layers": ((X, Y), "layerwise needs an axis of layers, .*; use estimate without layers"),
    "empty dictionary": (({}, Y), "at least one layer, got an empty dictionary for x"),
    "empty list": (([], Y), r"samples must have shape"),
    "other rows": (
        ([X, X[:50]], Y),
        r"same samples in the same order, got .* x 2 layers of \(60, 3\), \(50, 3\)",
    ),
    "tokens": (
        ([X[:, None]] * 2, Y),
        r"a layer must have shape \(n, d\), got \(60, 1, 3\) for layer 0 of x; pass one",
    ),
    "vectors": (({"a": X[:, 0]}, Y), r"a layer must have shape \(n, d\), got \(60,\) for layer a of x"),
    "lists of lists": (([X.tolist(), WIDE.tolist()], Y), "layers of different widths a list of arrays"),
    "NaN": (([X, np.where(X > 1, np.nan, X)], Y), "values of layer 1 of x that are not"),
    "texts": (({"a": X, "b": X.astype(str)}, Y), "layer b of x with texts of numbers"),
    "masked": (([X, np.ma.masked_greater(X, 1)], Y), "layer 1 of x that are not, .* are masked or missing"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_are_no_layers_is_refused_in_words(case):
    (x, y), words = REFUSED[case]
    with pytest.raises(ValueError, match=words):
        layerwise(x, y)
