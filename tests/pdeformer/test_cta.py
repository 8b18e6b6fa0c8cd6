"""The official layers and models: by hand, against the original's numbers and NumPy, with their faults measured."""

import json
from functools import partial
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from jax.test_util import check_grads

from pdeformer import AdvectionDiffusion, Diffusion, ReactionDiffusion, Wave, cta, evolve

GOLDEN = Path(__file__).parent.parent / "golden"
LAYERS = np.load(GOLDEN / "cta_layers_visible.npz")
CASES = json.loads(str(LAYERS["meta"]))
CLASSIFIER = np.load(GOLDEN / "cta_classifier_visible.npz")
STATE = {name: CLASSIFIER[name] for name in CLASSIFIER if "." in name or name == "pos_encoder"}
INITIAL = {  # alpha, beta
    "diffusion": (0.10, None),
    "wave": (0.15, None),
    "reaction-diffusion": (0.10, 0.02),
    "advection-diffusion": (0.10, 0.03),
}
KINDS = list(INITIAL)
MASKS = np.asarray(
    [
        [1, 1, 1, 1, 1, 1, 1, 1, 1, 1],
        [1, 1, 1, 1, 1, 1, 0, 0, 0, 0],
        [0, 0, 1, 1, 1, 1, 1, 1, 1, 1],
        [1, 1, 1, 0, 1, 1, 1, 1, 0, 1],
        [1, 1, 0, 1, 1, 0, 1, 1, 0, 1],
        [0, 0, 0, 0, 0, 0, 0, 0, 0, 0],
    ]
)

run = jax.jit(cta.refine, static_argnames=("kind", "steps", "causal"))
refine = partial(run, mask=None)


def initial(kind):
    return dict(zip(("alpha", "beta"), INITIAL[kind], strict=True))


def states(batch=6, length=10, channels=3, seed=0, dtype=None):
    return jnp.asarray(np.random.default_rng(seed).normal(size=(batch, length, channels)), dtype)


def row(values):
    """One channel of one row as (1, L, 1)."""
    return jnp.asarray(values)[None, :, None]


def twin(x, kind, alpha, beta, *, causal=False, mask=None):
    """One value at a time, with one alpha and beta per step."""
    x = np.array(x, np.float64)
    valid = np.ones(x.shape[:2]) if mask is None else mask
    first, last = (2, x.shape[1]) if causal else (1, x.shape[1] - 1)
    for step, a in enumerate(alpha):
        old = x.copy()
        for b, i, d in np.ndindex(x.shape):
            places = (i - 2, i - 1, i) if causal else (i - 1, i, i + 1)
            if not first <= i < last or not all(valid[b, j] for j in places):
                continue
            left, centre, right = (old[b, j, d] for j in places)
            own, bend = old[b, i, d], right - 2 * centre + left
            x[b, i, d] += {"wave": a * a * bend}.get(kind, a * bend)
            if kind == "reaction-diffusion":
                x[b, i, d] += beta[step] * own * (1 - 1 / (1 + np.exp(-own)))
            if kind == "advection-diffusion":
                x[b, i, d] += beta[step] * (right - centre if causal else (right - left) / 2)
    return x


# By hand


@pytest.mark.parametrize(
    ("kind", "causal", "expected"),
    [
        ("diffusion", False, [0, 0.8, 0.3, 1.5, -0.3, 3]),
        ("diffusion", True, [0, 1, -0.2, 2.3, -1.5, 3.7]),
        ("wave", False, [0, 0.955, 0.0675, 1.8875, -0.8425, 3]),
        ("wave", True, [0, 1, -0.045, 2.0675, -1.1125, 3.1575]),
        ("reaction-diffusion", False, [0, 0.8053788, 0.3, 1.5047681, -0.3146212, 3]),
        ("reaction-diffusion", True, [0, 1, -0.2, 2.3047681, -1.5146212, 3.7028456]),
        ("advection-diffusion", False, [0, 0.8, 0.315, 1.485, -0.285, 3]),
        ("advection-diffusion", True, [0, 1, -0.23, 2.36, -1.59, 3.82]),
    ],
)
def test_one_step_by_hand(kind, causal, expected, x64):
    out = refine(row([0.0, 1, 0, 2, -1, 3]), kind, **initial(kind), causal=causal)
    np.testing.assert_allclose(out[0, :, 0], expected, rtol=0, atol=5e-8)


@pytest.mark.parametrize(
    ("causal", "masked", "steps", "expected"),
    [
        (False, True, 1, [0, 0.8, 0.3, 2, -1, 3]),
        (True, True, 1, [0, 1, -0.2, 2.3, -1, 3]),
        (False, False, 4, [0, 0.5227, 0.6115, 0.9375, 0.8732, 3]),
        (True, False, 4, [0, 1, -0.9282, 3.6655, -3.9013, 7.2242]),
    ],
)
def test_a_mask_and_four_steps_by_hand(causal, masked, steps, expected, x64):
    mask = jnp.asarray([[1, 1, 1, 1, 0, 0]]) if masked else None
    u = row([0.0, 1, 0, 2, -1, 3])
    out = run(u, "diffusion", alpha=0.1, steps=steps, causal=causal, mask=mask)
    np.testing.assert_allclose(out[0, :, 0], expected, rtol=0, atol=5e-5)


# Laws


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("causal", [False, True])
def test_rows_of_fewer_than_three_tokens_and_no_steps_change_nothing(kind, causal):
    for length, steps in ((0, 2), (1, 2), (2, 2), (5, 0)):
        x = states(length=length)
        out = refine(x, kind, **initial(kind), steps=steps, causal=causal)
        np.testing.assert_array_equal(out, x)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("causal", [False, True])
def test_pads_never_change_and_never_reach_a_value_or_a_gradient(kind, causal):
    x, valid = states(), jnp.asarray(MASKS[..., None] > 0)

    def loss(x, coefficients):
        out = cta.refine(x, kind, **coefficients, steps=3, causal=causal, mask=MASKS)
        return jnp.sum(jnp.sin(jnp.where(valid, out, 0))), out

    coefficients = {name: c for name, c in initial(kind).items() if c is not None}
    both = jax.jit(jax.grad(loss, argnums=(0, 1), has_aux=True))
    clean, out = both(x, coefficients)
    poisoned, spoilt = both(jnp.where(valid, x, jnp.nan), coefficients)
    np.testing.assert_array_equal(jnp.where(valid, spoilt, 0), jnp.where(valid, out, 0))
    np.testing.assert_array_equal(jnp.where(valid, 0, out), jnp.where(valid, 0, x))
    jax.tree.map(np.testing.assert_array_equal, poisoned, clean)
    np.testing.assert_array_equal(jnp.where(valid, 0, clean[0]), jnp.zeros_like(x))


@pytest.mark.parametrize("kind", KINDS)
def test_causal_steps_have_exactly_no_gradient_from_later_tokens(kind):
    x = states(batch=1, length=7, channels=1)
    jacobian = jax.jacobian(lambda x: refine(x, kind, **initial(kind), steps=3, causal=True))(x)
    matrix = np.asarray(jacobian)[0, :, 0, 0, :, 0]
    np.testing.assert_array_equal(np.triu(matrix, 1), np.zeros((7, 7)))
    assert np.all(np.diag(matrix) != 0)
    before = refine(x, kind, **initial(kind), steps=3, causal=True)
    after = refine(x.at[:, 4:].set(100.0), kind, **initial(kind), steps=3, causal=True)
    np.testing.assert_array_equal(after[:, :4], before[:, :4])


@pytest.mark.parametrize("kind", KINDS)
def test_steps_round_to_the_dtype_of_the_state_after_every_step(kind):
    x = states(dtype=jnp.bfloat16)
    one_by_one = x
    for _ in range(4):
        one_by_one = refine(one_by_one, kind, **initial(kind))
    out = refine(x, kind, **initial(kind), steps=4)
    assert out.dtype == jnp.bfloat16
    np.testing.assert_array_equal(out, one_by_one)
    rounded_once = refine(x.astype(jnp.float32), kind, **initial(kind), steps=4).astype(jnp.bfloat16)
    assert jnp.any(out != rounded_once)
    # but a single step is computed in float32
    step = refine(x.astype(jnp.float32), kind, **initial(kind)).astype(jnp.bfloat16)
    np.testing.assert_array_equal(refine(x, kind, **initial(kind)), step)


def test_a_value_per_step_is_taken_step_by_step():
    x, alphas, betas = states(), jnp.asarray([0.3, -0.1, 0.05]), jnp.asarray([0.2, 0.0, -0.4])
    one_by_one = x
    for alpha, beta in zip(alphas, betas, strict=True):
        one_by_one = refine(one_by_one, "reaction-diffusion", alpha=alpha, beta=beta)
    out = refine(x, "reaction-diffusion", alpha=alphas, beta=betas, steps=3)
    np.testing.assert_allclose(out, one_by_one, rtol=0, atol=1e-6)


# Oracle


@pytest.mark.parametrize("case", CASES, ids=lambda c: f"{c['i']}-{c['pde']}")
def test_the_layer_gives_the_numbers_of_the_original(case):
    i, kind = case["i"], case["pde"]
    beta = case["beta"] if kind in cta.WITH_BETA else None
    mask = LAYERS[f"m{i}"] if case["masked"] else None
    options = {name: case[name] for name in ("alpha", "steps", "causal")}
    out = run(LAYERS[f"x{i}"], kind, beta=beta, mask=mask, **options)
    np.testing.assert_allclose(out, LAYERS[f"y{i}"], rtol=0, atol=5e-6)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("causal", [False, True])
def test_the_layer_equals_a_loop_over_tokens_whatever_the_holes(kind, causal, x64):
    x, alpha = states(), [0.2, -0.1, 0.3]
    beta = [0.1, 0.3, -0.2] if kind in cta.WITH_BETA else None
    for mask in (None, MASKS, MASKS > 0, np.random.default_rng(1).integers(0, 2, MASKS.shape)):
        expected = twin(x, kind, alpha, beta, causal=causal, mask=mask)
        per_step = {"alpha": np.asarray(alpha), "beta": None if beta is None else np.asarray(beta)}
        out = run(x, kind, **per_step, steps=3, causal=causal, mask=mask)
        assert out.dtype == jnp.float64
        np.testing.assert_allclose(out, expected, rtol=0, atol=1e-14)


# Gradient


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("causal", [False, True])
def test_gradients_agree_with_finite_differences(kind, causal, x64):
    coefficients = {"alpha": jnp.asarray([0.2, -0.1])}
    if kind in cta.WITH_BETA:
        coefficients["beta"] = jnp.asarray([0.3, 0.1])

    def loss(x, coefficients):
        return jnp.sum(jnp.sin(run(x, kind, **coefficients, steps=2, causal=causal, mask=MASKS)))

    check_grads(loss, (states(), coefficients), order=1, modes=["rev"], eps=1e-6, atol=1e-8, rtol=1e-7)


# The faults of the official layers, and that the corrected forms are without them


def matrix(kind="diffusion", length=32, **options):
    """The matrix of the linear layer, column by column."""
    basis = jnp.eye(length)[None]
    return np.asarray(refine(basis, kind, **options))[0]


def alternating(length=64):
    return row((-1.0) ** np.arange(length))


def test_the_official_wave_is_diffusion_and_its_modes_never_change_sign(x64):
    x = states()
    diffusion = refine(x, "diffusion", alpha=0.0225, steps=4)
    np.testing.assert_allclose(refine(x, "wave", alpha=0.15, steps=4), diffusion, rtol=0, atol=1e-15)
    amplitude = alternating()[0, 32, 0] * refine(alternating(), "wave", alpha=0.15, steps=12)[0, 32, 0]
    assert 0 < amplitude < 1
    signs = [float(evolve(alternating(), Wave(0.15), steps=n)[0, 32, 0]) > 0 for n in range(15)]
    assert set(signs) == {True, False}  # ours oscillates


@pytest.mark.parametrize(
    ("kind", "alpha", "beta", "steps", "gain"),
    [
        ("diffusion", 0.1, None, 1, 1.4),
        ("diffusion", 0.1, None, 4, 3.84),
        ("diffusion", 0.1, None, 8, 14.8),
        ("advection-diffusion", 0.1, 0.03, 1, 1.46),
        ("advection-diffusion", 0.0, 0.03, 1, 1.06),
    ],
)
def test_causal_steps_amplify_alternating_tokens_and_the_half_line_kernel_does_not(
    kind, alpha, beta, steps, gain, x64
):
    u = alternating()
    out = refine(u, kind, alpha=alpha, beta=beta, steps=steps, causal=True)
    exact = (1 + 4 * alpha + 2 * (beta or 0)) ** steps
    assert float(f"{exact:.3g}") == gain
    np.testing.assert_allclose((out / u)[0, 2 * steps :, 0], exact, rtol=1e-12)
    pde = Diffusion(alpha) if beta is None else AdvectionDiffusion(alpha, beta)
    assert jnp.max(jnp.abs(evolve(u, pde, steps=steps, causal=True))) <= 1 + 1e-14


@pytest.mark.parametrize(("steps", "norm"), [(1, 1.018), (4, 1.070), (8, 1.130)])
def test_copied_ends_expand_and_lose_mass_and_neumann_walls_do_not(steps, norm, x64):
    copied = matrix(alpha=0.1, steps=steps)
    assert abs(np.linalg.norm(copied, 2) - norm) < 5e-4
    assert np.max(np.abs(copied.sum(axis=0) - 1)) > 0.05
    walls = np.asarray(evolve(jnp.eye(32), Diffusion(0.1), steps=steps))
    np.testing.assert_allclose(np.linalg.norm(walls, 2), 1, rtol=0, atol=1e-14)
    np.testing.assert_allclose(walls.sum(axis=0), np.ones(32), rtol=0, atol=1e-14)
    boundary = np.asarray(evolve(jnp.eye(32), Diffusion(0.1), steps=steps, boundary="copy"))
    np.testing.assert_allclose(copied, boundary, rtol=0, atol=1e-14)


def test_the_official_reaction_runs_away_below_zero_and_the_exact_flow_does_not(x64):
    u = jnp.full((1, 3, 1), -1.0)
    out = refine(u, "reaction-diffusion", alpha=0.0, beta=0.02, steps=400)
    assert round(float(out[0, 1, 0])) == -2210
    line = row(np.concatenate([np.linspace(-30, 30, 120), [0.0, 0.0]]))  # 0 is not on the grid
    change = (refine(line, "reaction-diffusion", alpha=0.0, beta=0.02) - line)[0, 1:-1, 0]
    np.testing.assert_array_equal(change == 0, line[0, 1:-1, 0] == 0)
    exact = evolve(u, ReactionDiffusion(0.1, 0.02, "allen_cahn"), steps=400)
    assert jnp.max(jnp.abs(exact)) <= 1


def test_official_coefficients_are_unconstrained_and_evolve_refuses_them(x64):
    assert np.linalg.norm(matrix(alpha=0.6), 2) > 1.3
    assert np.linalg.norm(matrix(alpha=-0.1), 2) > 1.3
    for alpha in (0.6, -0.1):
        with pytest.raises(ValueError, match="alpha"):
            evolve(states(), Diffusion(alpha), steps=1)


def test_a_mask_does_not_part_packed_sequences_and_segments_do():
    u, ones = row([1.0, 1, 1, 5, 5, 5]), jnp.ones((1, 6))
    assert jnp.any(run(u, "diffusion", alpha=0.1, mask=ones) != u)
    segments = jnp.asarray([[1, 1, 1, 2, 2, 2]])
    np.testing.assert_array_equal(evolve(u, Diffusion(0.1), steps=1, segment_ids=segments), u)


# Models

V, D, F, M = 11, 8, 12, 16  # words, width, feed-forward width, positions
IDS = np.random.default_rng(3).integers(0, V, MASKS.shape)


def checkpoint(*, kind, outputs=V, layers=2, steps=3, seed=0, baseline=False, dtype: type = np.float64):
    """A random state dict under the official names."""
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


def oracle(state, ids, mask, *, kind, heads, causal, layers=2, steps=3, prefix="transformer_layers"):
    """Hidden states, row by row and query by query."""

    def norm(x, name):
        x = (x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, keepdims=True) + 1e-5)
        return x * state[name + ".weight"] + state[name + ".bias"]

    rows = []
    for tokens, valid in zip(ids, mask, strict=True):
        x = state["embedding.weight"][tokens] + state["pos_encoder"][0, : len(tokens)]
        for i in range(layers):
            name = f"{prefix}.{i}."
            qkv = x @ state[name + "self_attn.in_proj_weight"].T + state[name + "self_attn.in_proj_bias"]
            mixed = np.zeros_like(x)
            for t, head in np.ndindex(len(tokens), heads):
                part = slice(head * D // heads, (head + 1) * D // heads)
                q, k, v = (qkv[:, n * D : (n + 1) * D][:, part] for n in range(3))
                keys = [s for s in range(len(tokens)) if valid[s] and (s <= t or not causal)]
                if keys:
                    p = np.exp(k[keys] @ q[t] / np.sqrt(D / heads))
                    mixed[t, part] = p / p.sum() @ v[keys]
            mixed = mixed @ state[name + "self_attn.out_proj.weight"].T
            x = norm(x + mixed + state[name + "self_attn.out_proj.bias"], name + "norm1")
            inner = np.maximum(x @ state[name + "linear1.weight"].T + state[name + "linear1.bias"], 0)
            inner = inner @ state[name + "linear2.weight"].T + state[name + "linear2.bias"]
            x = norm(x + inner, name + "norm2")
            if kind is not None:
                alpha = [state[f"pde_layers.{i}.{s}.alpha"][0] for s in range(steps)]
                beta = [state.get(f"pde_layers.{i}.{s}.beta", [0])[0] for s in range(steps)]
                x = twin(x[None], kind, alpha, beta, causal=causal, mask=valid[None])[0]
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
    x = oracle(state, IDS, MASKS, **options, causal=False, prefix=prefix)
    mean = (x * MASKS[..., None]).sum(1) / np.maximum(MASKS.sum(1, keepdims=True), 1)
    out = logits(cta.load_classifier(state, **options), IDS, MASKS)
    np.testing.assert_allclose(out, head(state, mean), rtol=0, atol=1e-11)

    state = checkpoint(kind=kind, seed=1, baseline=baseline)
    model = cta.load_lm(state, **options)
    for mask in (MASKS, None):
        seen = np.ones_like(MASKS) if mask is None else mask
        x = oracle(state, IDS, seen, **options, causal=True, prefix=prefix)
        np.testing.assert_allclose(logits(model, IDS, mask), head(state, x), rtol=0, atol=1e-11)


@pytest.mark.codegen
def test_models_accept_boolean_masks_and_give_one_answer_with_and_without_jit():
    model = cta.load_lm(checkpoint(kind="wave"), kind="wave", heads=4)
    compiled = logits(model, IDS, MASKS)
    assert compiled.dtype == jnp.float32
    np.testing.assert_allclose(model(IDS, MASKS > 0), compiled, rtol=0, atol=1e-5)
    np.testing.assert_array_equal(logits(model, IDS), logits(model, IDS, np.ones_like(MASKS)))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.codegen
def test_the_language_model_reads_no_later_token_bit_for_bit(kind):
    model = cta.load_lm(checkpoint(kind=kind), kind=kind, heads=2)
    before = logits(model, IDS, MASKS)
    for t in (1, 5, 9):
        changed = IDS.copy()
        changed[:, t:] = (changed[:, t:] + 1) % V
        after = logits(model, changed, MASKS)
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


# Refusal


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"kind": "heat"}, "kind must be one of 'diffusion'.*'heat'"),
        ({"kind": "reaction-diffusion"}, "needs beta, got None; .*02"),
        ({"kind": "advection-diffusion"}, "needs beta, got None"),
        ({"x": np.ones((5, 3), np.float32)}, r"\(B, L, D\), got float32 \(5, 3\)"),
        ({"x": np.ones((2, 5, 3), np.int32)}, "floating hidden states .* got int32"),
        ({"alpha": np.ones(3)}, r"alpha must be a scalar or one value per step, \(2,\), got shape \(3,\)"),
        ({"kind": "reaction-diffusion", "beta": np.ones(1)}, r"beta must be .* got shape \(1,\)"),
        ({"alpha": np.inf}, "alpha must be finite"),
        ({"steps": -1}, "steps must be a Python integer >= 0, got -1"),
        ({"mask": np.ones((2, 4))}, r"mask must have one value per token, \(2, 5\), got shape \(2, 4\)"),
        ({"mask": np.ones(5)}, "one value per token"),
        ({"mask": np.full((2, 5), 2)}, "1 at valid tokens and 0 elsewhere.*segment_ids"),
    ],
)
def test_refine_refuses_what_the_official_layer_does_not_define(change, message):
    arguments = {"x": np.ones((2, 5, 3), np.float32), "kind": "diffusion", "alpha": 0.1, "steps": 2}
    with pytest.raises(ValueError, match=message):
        cta.refine(**(arguments | change))


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
