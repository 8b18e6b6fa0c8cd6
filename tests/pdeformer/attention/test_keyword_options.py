"""Fields of an options dataclass are keyword arguments: visible, documented and checked; old names warn."""

import dataclasses
import inspect
from typing import Any

import jax.numpy as jnp
import pytest

from pdeformer import PDEAttention, attention
from pdeformer.attention import options
from pdeformer.attention.keywords import keyword_options
from pdeformer.layers import PDEAttentionConfig

PROMISES = dict(
    dt=1.0,
    target="weights",
    axis="key",
    segment_ids=None,
    is_causal=False,
    causal=None,
    key_segment_ids=None,
    base="softmax",
    window=None,
    scale=None,
    renormalize=None,
    method="auto",
    order="strang",
    features=None,
    precision=None,
    feature_key=None,
    dropout=0.0,
    dropout_key=None,
)
NOT_ON_WEIGHTS = {"dropout", "dropout_key"}
NOT_WHILE_DECODING = {"target", "axis", "is_causal", "causal", "key_segment_ids", *NOT_ON_WEIGHTS}
FUNCTIONS: Any = [
    (attention.pde_attention, options.AttentionOptions),
    (attention.pde_attention_weights, options.WeightsOptions),
    (attention.pde_attention_decode, options.DecodeOptions),
    (PDEAttention.__init__, PDEAttentionConfig),
]


def keywords(function):
    parameters = inspect.signature(function).parameters.values()
    return {p.name: p.default for p in parameters if p.kind is p.KEYWORD_ONLY}


@pytest.mark.parametrize(("function", "fields"), FUNCTIONS, ids=lambda x: x.__qualname__)
def test_every_field_is_a_keyword_argument_with_a_description(function, fields):
    names = [field.name for field in dataclasses.fields(fields)]
    of_every_module = ("dtype", "param_dtype", "rngs") if function is PDEAttention.__init__ else ()
    assert list(keywords(function)) == [*of_every_module, *names]
    for name in names:
        assert f"\n    {name}: " in inspect.cleandoc(function.__doc__), name


def test_the_promised_keywords_and_defaults_are_there():
    attend, weights, decode = (keywords(function) for function, _ in FUNCTIONS[:3])
    assert attend == {"steps": inspect.Parameter.empty, **PROMISES}
    assert weights == {k: v for k, v in attend.items() if k not in NOT_ON_WEIGHTS} | {
        "method": "materialized"
    }
    assert decode == {k: v for k, v in attend.items() if k not in NOT_WHILE_DECODING}
    assert keywords(PDEAttention.__init__)["kind"] == "diffusion"


def test_an_unknown_keyword_names_close_matches():
    x = jnp.ones((1, 2, 1, 2))
    pde_attention: Any = attention.pde_attention
    with pytest.raises(
        TypeError, match=r"pde_attention\(\) got .* 'casual'; did you mean 'causal' or 'is_causal'\?"
    ):
        pde_attention(x, x, x, None, steps=0, casual=True)
    with pytest.raises(TypeError, match=r"'zzz'; it takes query, key, value, pde, steps, "):
        pde_attention(x, x, x, None, steps=0, zzz=True)
    with pytest.raises(
        TypeError, match="missing a required (keyword-only )?argument: 'steps'"
    ):  # as inspect says it
        pde_attention(x, x, x, None)
    layer: Any = PDEAttention
    with pytest.raises(TypeError, match="'allpha'; did you mean 'alpha'"):
        layer(2, allpha=0.1)


def test_a_description_of_the_function_itself_wins():
    @dataclasses.dataclass(frozen=True, kw_only=True)
    class Pair:
        first: int = 1
        second: int = 2

    def add(start: int, pair: Pair) -> int:
        """Add.

        Args:
            start: Start.
            first: Own words.
            pair: The keyword arguments.
        """
        return start + 10 * pair.first + 100 * pair.second

    function: Any = keyword_options(Pair, lambda pair: add, second=3)(add)
    assert function(1) == 311
    assert function(start=1, first=4, second=5) == 541
    assert "first: Own words." in function.__doc__
    assert "pair:" not in function.__doc__


def test_old_names_still_work_and_warn():
    layer = PDEAttention(2, kind="wave")
    with pytest.warns(DeprecationWarning, match="is now config"):
        assert layer.choice is layer.config
    with pytest.warns(DeprecationWarning, match="is now initial_pde"):
        assert layer.config.initial() == layer.config.initial_pde()
