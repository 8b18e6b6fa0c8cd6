"""The official models: logits of the original code, NumPy references, and errors."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from jax.test_util import check_grads

from pdeformer import cta
from tests.pdeformer.cta.official_cta import (
    CLASSIFIER,
    KINDS,
    MASKS,
    STATE,
    numpy_refine,
)

V, D, F, M = 11, 8, 12, 16  # vocabulary, width, feed-forward width, positions
IDS = np.random.default_rng(3).integers(0, V, MASKS.shape)


def checkpoint(*, kind, outputs=V, layers=2, steps=3, seed=0, baseline=False, dtype: type = np.float64):
    """Return a random state dict with the official names."""
    rng = np.random.default_rng(seed)
    prefix = "transformer.layers" if baseline else "transformer_layers"
    shapes = {"embedding.weight": (V, D), "pos_encoder": (1, M, D), "fc.weight": (outputs, D)}
    shapes["fc.bias"] = (outputs,)
    sizes = {"D": D, "3D": 3 * D, "F": F}
    for i in range(layers):
        for name, letters in cta.LAYER_SHAPES.items():
            shapes[f"{prefix}.{i}.{name}"] = tuple(sizes[letter] for letter in letters.split())
    state = {name: 0.5 * rng.normal(size=shape) for name, shape in shapes.items()}
    for i, s in np.ndindex(layers, 0 if kind is None else steps):
        state[f"pde_layers.{i}.{s}.alpha"] = 0.2 * rng.normal(size=1)
        if kind in cta.WITH_BETA:
            state[f"pde_layers.{i}.{s}.beta"] = 0.2 * rng.normal(size=1)
    return {name: array.astype(dtype) for name, array in state.items()}


def numpy_hidden_states(
    state, ids, mask, *, kind, heads, causal, layers=2, steps=3, prefix="transformer_layers"
):
    """Return the hidden states, computed row by row and query by query."""

    def norm(x, name):
        x = (x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, keepdims=True) + 1e-5)
        return x * state[name + ".weight"] + state[name + ".bias"]

    rows = []
    for tokens, valid in zip(ids, mask, strict=True):
        x = state["embedding.weight"][tokens] + state["pos_encoder"][0, : len(tokens)]
        for i in range(layers):
            name = f"{prefix}.{i}."
            qkv = x @ state[name + "self_attn.in_proj_weight"].T + state[name + "self_attn.in_proj_bias"]
            output = np.zeros_like(x)
            for t, head in np.ndindex(len(tokens), heads):
                columns = slice(head * D // heads, (head + 1) * D // heads)
                q, k, v = (qkv[:, n * D : (n + 1) * D][:, columns] for n in range(3))
                keys = [s for s in range(len(tokens)) if valid[s] and (s <= t or not causal)]
                if keys:
                    p = np.exp(k[keys] @ q[t] / np.sqrt(D / heads))
                    output[t, columns] = p / p.sum() @ v[keys]
            output = output @ state[name + "self_attn.out_proj.weight"].T
            x = norm(x + output + state[name + "self_attn.out_proj.bias"], name + "norm1")
            inner = np.maximum(x @ state[name + "linear1.weight"].T + state[name + "linear1.bias"], 0)
            inner = inner @ state[name + "linear2.weight"].T + state[name + "linear2.bias"]
            x = norm(x + inner, name + "norm2")
            if kind is not None:
                alpha = [state[f"pde_layers.{i}.{s}.alpha"][0] for s in range(steps)]
                beta = [state.get(f"pde_layers.{i}.{s}.beta", [0])[0] for s in range(steps)]
                x = numpy_refine(x[None], kind, alpha, beta, causal=causal, mask=valid[None])[0]
        rows.append(x)
    return np.stack(rows)


def head(state, x):
    return x @ state["fc.weight"].T + state["fc.bias"]


@jax.jit
def logits(model, ids, mask=None):
    return model(ids, mask)


def test_the_classifier_gives_the_logits_of_the_original():
    kind = json.loads(str(CLASSIFIER["meta"]))["pde"]
    model = cta.load_classifier(STATE, kind=kind, heads=4)
    out = model(CLASSIFIER["input_ids"], CLASSIFIER["attention_mask"])
    np.testing.assert_allclose(out, CLASSIFIER["logits"], rtol=0, atol=1e-6)


@pytest.mark.parametrize(("kind", "baseline"), [*((k, False) for k in KINDS), (None, False), (None, True)])
def test_models_equal_a_loop_over_queries(kind, baseline, x64):
    options = {"kind": kind, "heads": 2}
    prefix = "transformer.layers" if baseline else "transformer_layers"
    state = checkpoint(kind=kind, outputs=3, baseline=baseline)
    x = numpy_hidden_states(state, IDS, MASKS, **options, causal=False, prefix=prefix)
    mean = (x * MASKS[..., None]).sum(1) / np.maximum(MASKS.sum(1, keepdims=True), 1)
    out = logits(cta.load_classifier(state, **options), IDS, MASKS)
    np.testing.assert_allclose(out, head(state, mean), rtol=0, atol=1e-11)

    state = checkpoint(kind=kind, seed=1, baseline=baseline)
    model = cta.load_lm(state, **options)
    for mask in (MASKS, None):
        valid = np.ones_like(MASKS) if mask is None else mask
        x = numpy_hidden_states(state, IDS, valid, **options, causal=True, prefix=prefix)
        np.testing.assert_allclose(logits(model, IDS, mask), head(state, x), rtol=0, atol=1e-11)


@pytest.mark.codegen
def test_models_accept_boolean_masks_and_give_one_answer_with_and_without_jit():
    model = cta.load_lm(checkpoint(kind="wave"), kind="wave", heads=4)
    compiled = logits(model, IDS, MASKS)
    assert compiled.dtype == jnp.float32
    np.testing.assert_allclose(model(IDS, MASKS > 0), compiled, rtol=0, atol=1e-5)
    np.testing.assert_allclose(logits(model, IDS), logits(model, IDS, np.ones_like(MASKS)), rtol=0, atol=2e-6)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.codegen
def test_the_language_model_reads_no_later_token_bit_for_bit(kind):
    model = cta.load_lm(checkpoint(kind=kind), kind=kind, heads=2)
    before = logits(model, IDS, MASKS)
    for t in (1, 5, 9):
        other_ids = IDS.copy()
        other_ids[:, t:] = (other_ids[:, t:] + 1) % V
        after = logits(model, other_ids, MASKS)
        np.testing.assert_array_equal(after[:, :t], before[:, :t])
        assert jnp.all(after[0, t] != before[0, t])


def test_padded_ids_reach_no_logit_of_a_valid_token_and_no_label():
    other = np.where(MASKS > 0, IDS, (IDS + 1) % V)
    lm = cta.load_lm(checkpoint(kind="diffusion"), kind="diffusion", heads=2)
    before, after = logits(lm, IDS, MASKS), logits(lm, other, MASKS)
    valid = MASKS[..., None] > 0
    np.testing.assert_array_equal(np.where(valid, after, 0), np.where(valid, before, 0))
    state = checkpoint(kind="diffusion", outputs=3)
    classifier = cta.load_classifier(state, kind="diffusion", heads=2)
    np.testing.assert_array_equal(logits(classifier, other, MASKS), logits(classifier, IDS, MASKS))
    # the last row is padding alone
    np.testing.assert_allclose(logits(classifier, IDS, MASKS)[-1], state["fc.bias"], rtol=0, atol=1e-6)


def test_every_number_of_the_checkpoint_is_loaded_once_and_learns():
    model = cta.load_classifier(STATE, kind="reaction-diffusion", heads=4)
    graphdef, params = nnx.split(model)
    assert sum(x.size for x in jax.tree.leaves(params)) == sum(x.size for x in STATE.values())
    ids, mask = CLASSIFIER["input_ids"], CLASSIFIER["attention_mask"]
    mask = np.concatenate([mask[:2], 0 * mask[2:]])  # with a row of padding alone

    def loss(params):
        return jnp.sum(jnp.sin(nnx.merge(graphdef, params)(ids, mask)))

    gradient = jax.jit(jax.grad(loss))(params)
    for path, leaf in jax.tree_util.tree_leaves_with_path(gradient):
        assert jnp.all(jnp.isfinite(leaf))
        assert jnp.any(leaf != 0), jax.tree_util.keystr(path)


def test_gradients_of_a_model_agree_with_finite_differences(x64):
    kind = "advection-diffusion"
    graphdef, params = nnx.split(cta.load_lm(checkpoint(kind=kind), kind=kind, heads=2))
    loss = jax.jit(lambda params: jnp.mean(jnp.sin(nnx.merge(graphdef, params)(IDS, MASKS))))
    check_grads(loss, (params,), order=1, modes=["rev"], eps=1e-6, atol=1e-7, rtol=1e-6)


def test_half_precision_checkpoints_are_computed_in_float32():
    state = checkpoint(kind="diffusion", dtype=np.float16)
    model = cta.load_lm(state, kind="diffusion", heads=2)
    assert {x.dtype for x in jax.tree.leaves(nnx.state(model))} == {jnp.dtype("float32")}


def test_the_old_name_of_the_attention_mask_serves_with_a_warning():
    query, key, value = jnp.asarray(np.random.default_rng(0).normal(size=(3, 2, 5, 2, 4)))
    mask = jnp.tri(5, dtype=bool)[None, None]
    with pytest.warns(DeprecationWarning, match="is now mask="):
        out = cta.attention(query, key, value, **{"seen": mask})
    np.testing.assert_array_equal(out, cta.attention(query, key, value, mask))


# Refusal


@pytest.mark.parametrize(
    ("kind", "change", "message"),
    [
        (
            "diffusion",
            {"transformer_layers.1.norm2.bias": None},
            r"missing: transformer_layers\.1\.norm2\.bias",
        ),
        ("diffusion", {"pde_layers.0.1.alpha": None}, r"missing: pde_layers\.0\.1\.alpha; left over: none"),
        ("diffusion", {"embedding.weight": None}, r"missing: embedding\.weight"),
        ("diffusion", {"logits": np.ones(3)}, "missing: none; left over: logits"),
        ("diffusion", {"pde_layers.2.0.alpha": np.ones(1)}, r"left over: pde_layers\.2\.0\.alpha"),
        ("reaction-diffusion", {}, r"missing: pde_layers\.0\.0\.beta.*; check kind"),
        (None, {}, r"left over: pde_layers\.0\.0\.alpha"),
        ("heat", {}, "kind must be one of"),
        (
            "diffusion",
            {"pos_encoder": np.ones((M, D))},
            r"pos_encoder should have the shape .* got \(16, 8\)",
        ),
        ("diffusion", {"fc.bias": np.ones(2)}, r"fc.bias should have the shape \(11,\)"),
        ("diffusion", {"embedding.weight": np.ones((V, D), int)}, "floating numbers, got int64"),
        (
            "diffusion",
            {"fc.weight": np.ones((3, D)), "fc.bias": np.ones(3)},
            "one output per word, got .* 3 rows",
        ),
    ],
)
def test_a_checkpoint_of_another_model_is_refused(kind, change, message):
    state = checkpoint(kind="diffusion") | change
    state = {name: array for name, array in state.items() if array is not None}
    with pytest.raises(ValueError, match=message):
        cta.load_lm(state, kind=kind, heads=2)


@pytest.mark.parametrize("heads", [3, 0, 16])
def test_heads_that_do_not_divide_the_width_are_refused(heads):
    with pytest.raises(ValueError, match=f"heads must divide the width 8, got {heads}"):
        cta.load_classifier(checkpoint(kind="wave"), kind="wave", heads=heads)


@pytest.mark.parametrize(
    ("ids", "mask", "message"),
    [
        (np.zeros(4, int), None, r"input_ids are integers \(B, L\)"),
        (np.zeros((1, 4)), None, "input_ids are integers"),
        (np.zeros((1, M + 1), int), None, "has 16 positions, got 17 tokens"),
        (np.full((1, 4), V), None, "lie in 0 … 10, got 11"),
        (np.zeros((1, 4), int), np.ones((1, 5)), "attention_mask must have one value per token"),
        (np.zeros((1, 4), int), np.full((1, 4), 3), "attention_mask is 1 at valid tokens"),
    ],
)
def test_inputs_that_do_not_fit_the_checkpoint_are_refused(ids, mask, message):
    model = cta.load_lm(checkpoint(kind="wave"), kind="wave", heads=2)
    with pytest.raises(ValueError, match=message):
        model(ids, mask)
