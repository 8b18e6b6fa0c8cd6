"""Tables of pandas, polars, pyarrow, xarray and SciPy where they are installed."""

import numpy as np
import pytest
from scipy import sparse

import pid
from pid.features.input_arrays import read_samples
from tests.pid.gaussian_samples import KEY, QUIET, small

N = 20
TARGET, X, Y = np.random.default_rng(0).normal(size=(3, N, 2))
LABELS = ["u", "v"] * (N // 2)


def read(target, **options):
    return read_samples(target, X, Y, layers=False, **options).target.layers[0]


def test_pandas():
    pd = pytest.importorskip("pandas")
    frame = pd.DataFrame(
        {
            "f": TARGET[:, 0],
            "i": pd.array(range(N), dtype="Int64"),
            "b": pd.array([True, False] * (N // 2), dtype="boolean"),
            "o": pd.Categorical(LABELS, categories=["v", "u"], ordered=True),
        },
        index=[f"s{i}" for i in range(N)],
    )
    table = read(frame)
    assert table.kinds == ("real", "integer", "boolean", "ordinal")
    np.testing.assert_array_equal(table.values[:2], [[TARGET[0, 0], 0, 1, 1], [TARGET[1, 0], 1, 0, 0]])
    assert read(frame["i"]).values.shape == (N, 1)
    frame.iloc[3, 1] = pd.NA
    with pytest.raises(ValueError, match=r"the first at \(3, 1\), column 'i' \(1 are masked or missing\)"):
        read(frame)
    with pytest.raises(ValueError, match="row 0 is 's0' in target and 0 in x"):
        read_samples(frame[["f"]], pd.DataFrame(X), Y, layers=False)
    assert read(pd.Series(LABELS, dtype="category"), labels=("target",)).labels == (("u", "v"),)
    result = pid.estimate(*small(), **QUIET, key=KEY)
    assert result.to_frame().to_dict("records")[0]["mi_joint"] == float(result.pid.mi_joint)


def test_polars():
    pl = pytest.importorskip("polars")
    table = read(pl.DataFrame({"f": TARGET[:, 0], "b": [True, False] * (N // 2)}))
    assert table.names == ("f", "b")
    assert table.kinds == ("real", "boolean")
    assert read(pl.Series("f", TARGET[:, 0])).values.shape == (N, 1)
    with pytest.raises(ValueError, match=r"column 'a' .*missing"):
        read(pl.DataFrame({"a": [None, *range(1, N)]}))
    with pytest.raises(ValueError, match="2 labels in column 'a' of target"):
        read(pl.DataFrame({"a": pl.Series(LABELS, dtype=pl.Categorical)}))


def test_pyarrow():
    pa = pytest.importorskip("pyarrow")
    table = read(pa.table({"f": TARGET[:, 0], "i": list(range(N)), "b": [True] * N}))
    assert table.names == ("f", "i", "b")
    assert table.kinds == ("real", "integer", "boolean")
    assert read(pa.array(range(N))).values.shape == (N, 1)
    with pytest.raises(ValueError, match=r"column 'a'.*"):
        read(pa.table({"a": [None, *range(1, N)]}))
    with pytest.raises(ValueError, match="2 labels in column 'a' of target"):
        read(pa.table({"a": pa.array(LABELS).dictionary_encode()}))
    with pytest.raises(ValueError, match="column 'a' of target of dtype timestamp"):
        read(pa.table({"a": pa.array(range(N), pa.timestamp("s"))}))


def test_xarray():
    xr = pytest.importorskip("xarray")
    array = xr.DataArray(TARGET, dims=("row", "col"), coords={"col": ["p", "q"]})
    assert read(array).names == ("p", "q")
    with pytest.raises(ValueError, match="to_array"):
        read(xr.Dataset({"a": array}))


@pytest.mark.parametrize("kind", [sparse.csr_matrix, sparse.coo_array])
def test_sparse_matrices_are_their_dense_arrays(kind):
    np.testing.assert_array_equal(read(kind(TARGET)).values, TARGET)
