"""Samples in any container become the same numbers, or are refused with rule, value and remedy."""

from decimal import Decimal
from fractions import Fraction
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import ml_dtypes
import numpy as np
import pytest

import pid
from pid.features.input_arrays import read_samples
from tests.pid.door.tables import NA, Column, Frame, Tensor, category
from tests.pid.gaussian_samples import KEY, PLAIN, QUIET, small, to_array

N = 20
TARGET, X, Y = np.random.default_rng(0).integers(-4, 5, size=(3, N, 2)).astype(float)
ROWS = [f"s{i}" for i in range(N)]


def read(target, x=X, y=Y, **options):
    return read_samples(target, x, y, layers=False, **options).target


def masked(rows=()):
    array = np.ma.array(TARGET.copy(), mask=np.zeros(TARGET.shape, bool))
    array[list(rows)] = np.ma.masked
    array.data[list(rows)] = -9999
    return array


SPARSE = SimpleNamespace(toarray=lambda: TARGET, nnz=3, shape=TARGET.shape)
XARRAY = SimpleNamespace(
    dims=("row", "col"),
    values=TARGET,
    shape=TARGET.shape,
    coords={
        "row": SimpleNamespace(values=np.array(ROWS)),
        "col": SimpleNamespace(values=np.array(["a", "b"])),
    },
)
EQUAL = {
    "lists": TARGET.tolist(),
    "tuples": tuple(map(tuple, TARGET.tolist())),
    "list of arrays": list(TARGET),
    "list of JAX arrays": [jnp.asarray(row) for row in TARGET],
    "list of masked arrays": list(masked()),
    "JAX": jnp.asarray(TARGET),
    "bfloat16 of JAX": jnp.asarray(TARGET, jnp.bfloat16),
    "bfloat16": TARGET.astype(ml_dtypes.bfloat16),
    "float16": TARGET.astype(np.float16),
    "long double": TARGET.astype(np.longdouble),
    "integers": TARGET.astype(np.int8),
    "int4": TARGET.astype(ml_dtypes.int4),
    "big endian": TARGET.astype(">f4"),
    "Fortran order": np.asfortranarray(TARGET),
    "strided": np.repeat(TARGET, 2, axis=0)[::2],
    "reversed twice": TARGET[::-1][::-1],
    "read-only": np.broadcast_to(TARGET, TARGET.shape),
    "matrix": TARGET.view(np.matrix),
    "masked nowhere": masked(),
    "objects": TARGET.astype(object),
    "decimals": [[Decimal(int(a)), Fraction(int(b))] for a, b in TARGET],
    "tensor": Tensor(TARGET),
    "tensor of bfloat16": Tensor(TARGET.astype(ml_dtypes.bfloat16)),
    "sparse": SPARSE,
    "xarray": XARRAY,
    "table": Frame({"a": TARGET[:, 0], "b": TARGET[:, 1]}),
    "table of nullable columns": Frame(
        {
            "a": Column(TARGET[:, 0].astype(object), dtype="Float64"),
            "b": Column(TARGET[:, 1].astype(int).astype(object), dtype="Int64"),
        }
    ),
    "table with equal names": Frame({"a": TARGET[:, 0], "b": TARGET[:, 1]}, names=["a", "a"]),
}


@pytest.mark.parametrize("container", EQUAL)
def test_a_container_does_not_change_the_numbers(container):
    table = read(EQUAL[container])
    np.testing.assert_array_equal(table.layer(0), TARGET)
    assert table.layer(0).dtype == np.float64
    assert type(table.layer(0)) is np.ndarray


@pytest.mark.parametrize("container", ["lists", "bfloat16", "sparse", "table of nullable columns", "strided"])
def test_an_estimate_is_that_of_the_array(container):
    target, x, y = EQUAL[container], X + TARGET, Y
    result, true = (pid.estimate(t, x, y, **PLAIN, **QUIET, key=0) for t in (target, TARGET))
    np.testing.assert_array_equal(to_array(result.pid), to_array(true.pid))


def test_truth_values_and_codes_are_numbers():
    assert read(TARGET > 0).layers[0].kinds == ("boolean", "boolean")
    np.testing.assert_array_equal(read(TARGET > 0).layer(0), (TARGET > 0).astype(float))
    assert read((TARGET > 0).astype(object)).layers[0].kinds == ("boolean", "boolean")
    assert read((TARGET > 0).astype(np.uint8)).layers[0].kinds == ("integer", "integer")
    result = pid.estimate(TARGET, X > 0, Y, **PLAIN, **QUIET, key=0)
    assert np.isfinite(result.pid.mi_joint)


def test_a_table_says_the_names_and_kinds_of_its_columns():
    frame = Frame(
        {
            "age": np.arange(N),
            "old": Column((np.arange(N) > 9).astype(object), dtype="boolean"),
            ("size", 2): category(["s", "l"] * (N // 2), ["s", "l"], ordered=True),
        },
        index=ROWS,
    )
    table = read(frame).layers[0]
    assert table.names == ("age", "old", "size/2")
    assert table.kinds == ("integer", "boolean", "ordinal")
    assert table.rows == tuple(ROWS)
    assert table.labels == ((), (), ("s", "l"))
    np.testing.assert_array_equal(table.values[:4, 2], [0, 1, 0, 1])
    assert read(XARRAY).layers[0].names == ("a", "b")


def test_a_single_column_of_a_table_is_one_feature():
    table = read(Column(TARGET[:, 0], name="size"))
    np.testing.assert_array_equal(table.layer(0), TARGET[:, :1])
    assert table.layers[0].names == ("size",)
    result = pid.estimate(Column(TARGET[:, 0]), X, Y, **PLAIN, **QUIET, key=0)
    assert result.dims == (1, 2, 2)


def test_labels_are_codes_where_they_are_allowed():
    texts = np.array([["b"], ["a"]] * (N // 2))
    for labels in (texts, texts.astype(object), texts.astype(bytes), category(list(texts[:, 0]), ["a", "b"])):
        table = read(labels, labels=("target",)).layers[0]
        np.testing.assert_array_equal(table.values, [[1], [0]] * (N // 2))
        assert table.kinds == ("category",)
        assert table.labels == (("a", "b"),)


TEXTS = np.array([["b"], ["a"]] * (N // 2))
LABELS = r"got 2 labels in .*target, such as 'a', 'b'; .* categorical with `kinds`, or .*`pid.discrete`"
WITH_NAN = np.where(np.arange(N)[:, None] == [3, 5], np.nan, TARGET)
MISSING = (
    r"got {} values of target .* \({} are masked or missing\); drop these samples \({} of 20 rows\) from"
)
REFUSED = {
    "1-D": (TARGET[:, 0], r"got target \(20,\), x .* target is 1-D; pass target\[:, None\]"),
    "flat list": (TARGET[:, 0].tolist(), r"target is 1-D; pass target\[:, None\]"),
    "0-d": (np.float64(3), r"must have shape \(n, d\), got target \(\), x"),
    "None": (None, "got target of type NoneType; pass a NumPy array"),
    "file name": ("data.csv", "got target of type str; pass a NumPy array"),
    "number too large": ([[10**400]] * N, "got 20 values of target that are not"),
    "generator": ((row for row in TARGET), "got target of type generator; pass a NumPy array"),
    "masked": (masked([3, 5]), MISSING.format(4, 4, 2)),
    "list of masked": (list(masked([3])), MISSING.format(2, 2, 1)),
    "None in objects": (np.where(TARGET > 3, None, TARGET.astype(object)), "are masked or missing"),
    "null": (
        Frame({"a": Column([NA, *TARGET[1:, 0]], dtype="Float64"), "b": TARGET[:, 1]}),
        r"got 1 values of target .*, the first at \(0, 0\), column 'a' \(1 are masked or missing\); drop",
    ),
    "no category": (category(["s", "?"] * (N // 2), ["s"], ordered=True), MISSING.format(10, 10, 10)),
    "NaN": (WITH_NAN, r"got 2 values of target that are not, the first at \(3, 0\); drop .*2 of 20 rows"),
    "infinite float16": (
        np.where(TARGET > 3, np.float16(np.inf), TARGET.astype(np.float16)),
        "got .* values of target that are not",
    ),
    "texts": (TEXTS, LABELS),
    "bytes": (TEXTS.astype(bytes), LABELS),
    "texts of type str": (TEXTS.astype(np.dtypes.StringDType()), LABELS),
    "category": (category(["b", "a"] * (N // 2), ["a", "b"]), LABELS),
    "column of categories": (
        Frame({"a": TARGET[:, 0], "k": category(["b", "a"] * (N // 2), ["a", "b"])}),
        "2 labels in column 'k' of target",
    ),
    "texts of numbers": (
        TARGET.astype(str),
        r"texts of numbers such as '-?\d\.0'; convert it by astype\(float\)",
    ),
    "numbers and texts": (
        np.array([[1, "a"]] * N, object),
        "got target with 20 of type str; .* convert the rest by astype",
    ),
    "column of vectors": (
        Column(list(map(list, TARGET))),
        r"one number for each sample|join them by np.stack",
    ),
    "objects": ([[object()]] * N, "20 of type object"),
    "dates": (TARGET.astype("M8[s]"), r"dtype datetime64\[s\]; pass times as numbers, such as seconds"),
    "column of dates": (
        Frame({"t": Column(np.arange(N), dtype="datetime64[ns, UTC]")}),
        "column 't' of target of dtype",
    ),
    "complex": (
        TARGET + 1j,
        "real numbers, got target of dtype complex128; pass its real and imaginary parts",
    ),
    "structured": (
        np.zeros(N, [("a", float), ("b", float)]),
        "fields a, b; convert it by .*structured_to_unstr",
    ),
    "void": (np.zeros((N, 2), "V4"), "got target of dtype .*V4; convert it to float"),
    "ragged": ([[1, 2], [1]] * (N // 2), "rows need equal lengths"),
    "dictionary": ({"a": TARGET}, "got a dictionary of 1 arrays for target; use layerwise"),
    "list of layers": ([TARGET, TARGET], "got a list of 2 arrays for target; use layerwise"),
    "layers": (np.stack([TARGET] * 2), r"got target \(2, 20, 2\), .*; use layerwise"),
    "no features": (np.zeros((N, 0)), r"got target \(20, 0\)"),
    "fewer rows": (TARGET[:9], r"same samples in the same order, got target \(9, 2\), x \(20, 2\)"),
    "lazy table": (
        SimpleNamespace(collect=None, lazy=None),
        r"lazy table for target; pass target.collect\(\)",
    ),
    "data set": (SimpleNamespace(data_vars=None), r"pass target.to_array\(\)"),
    "nested column": (
        Frame({"a": Column(np.zeros((N, 2)))}),
        "one number for each sample, got column 'a' of target",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_is_no_table_of_numbers_is_refused_in_words(case):
    data, words = REFUSED[case]
    are_labels = "labels" in words  # which a target may have
    arrays = (TARGET, data) if are_labels else (data, X)
    with pytest.raises(ValueError, match=words.replace("target", "x") if are_labels else words):
        pid.estimate(*arrays, Y, key=KEY)


@pytest.mark.parametrize("case", ["bytes", "category"])
def test_a_target_of_labels_is_served(case):
    """Texts and categories are labels of a target, whose information is at most their entropy of one bit."""
    result = pid.estimate(REFUSED[case][0], X, Y, key=KEY)
    assert 0 <= result.pid.mi_joint <= 1
    assert any(flag.kind == "categorical target" for flag in result.flags)


def test_traced_samples_are_refused_in_words():
    with pytest.raises(
        ValueError, match=r"samples must be concrete, got traced ones for target; .* outside jax.jit"
    ):
        jax.jit(lambda target: pid.estimate(target, X, Y, key=KEY).pid.union)(TARGET)


def test_masked_samples_never_become_numbers():
    """The estimate of the complete rows is .5 bits and more; the values under the mask would make it 0."""
    target, x, y = small(n=300)
    hidden = np.ma.array(target.copy(), mask=np.zeros(target.shape, bool))
    hidden[:30] = np.ma.masked
    hidden.data[:30] = -9999
    with pytest.raises(ValueError, match=r"drop these samples \(30 of 300 rows\)"):
        pid.estimate(hidden, x, y, **QUIET, key=KEY)
    assert pid.estimate(hidden[30:], x[30:], y[30:], **QUIET, key=KEY).pid.mi_joint > 0.5


def test_tables_of_different_rows_are_refused():
    def frame(array, index):
        return Frame({"a": array[:, 0], "b": array[:, 1]}, index=index)

    read_samples(frame(TARGET, ROWS), frame(X, ROWS), Y, layers=False)
    read_samples(frame(TARGET, ROWS), X, Y, layers=False)
    for index in (ROWS[::-1], range(N)):
        with pytest.raises(ValueError, match=r"row 0 is 's0' in target and .* in y; .* pass .to_numpy\(\)"):
            read_samples(frame(TARGET, ROWS), X, frame(Y, index), layers=False)
