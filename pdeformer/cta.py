"""The official Continuous-Time Attention layers and checkpoints, formula for formula.

The published code evolves no attention matrix: it refines the hidden states (B, L, D) along L after each
encoder layer. This module gives the numbers of that code, for parity and for its checkpoints. New models take
the corrected forms:

    official                                                     corrected
    "wave" is first order in time: diffusion with α², .0225 at   `Wave`: leapfrog, second order; modes
      the initial α = .15; modes decay, none changes sign          oscillate
    causal triple i-2, i-1, i: alternating tokens gain           `evolve(causal=True)`: half-line heat
      1 + 4α a step, 1.4 at α = .1 (3.84 in 4 steps, 14.8 in       kernel, never beyond the range of its
      8), and 1.46 with advection at β = .03                       input
    causal advection: the backward difference of +β u_x is       `evolve(causal=True)`: shifts from the
      downwind, a gain of 1 + 2β even without diffusion            past
    copied ends: mass is not kept; ‖M‖₂ = 1.018, 1.070, 1.130    boundary "neumann": mass is kept,
      after 1, 4, 8 steps at α = .1                                ‖M‖₂ = 1
    reaction β u (1 - σ(u)): 0 is the only fixed point;          `ReactionDiffusion`: exact flows;
      u = -1 has become -2210 after 400 steps at β = .02           "allen_cahn" keeps [-1, 1]
    α, β unconstrained: α = .6 amplifies                         `evolve` refuses; layers stay in the
                                                                   stable set whatever they learn
    mask: packed sequences run into each other                   `segment_ids`: walls between them

[Zhang & Zhou, "Continuous-Time Attention", 2025; its code: github.com/XueqingZhou/Continuous-Time-Attention,
 March 2026]

    B batch, L tokens, D channels, N heads, H head width, F feed-forward width, S steps, V vocabulary, C classes
"""

import re
from collections.abc import Mapping
from typing import Any, Literal, NamedTuple, TypeAlias, get_args

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array, Bool, Float, Shaped

from pdeformer.pde import Coefficient, is_concrete

Kind = Literal["diffusion", "wave", "reaction-diffusion", "advection-diffusion"]
KINDS: tuple[str, ...] = get_args(Kind)
WITH_BETA = ("reaction-diffusion", "advection-diffusion")
# one encoder layer under the PyTorch names; D width, F feed-forward width
LAYER_SHAPES = {
    "self_attn.in_proj_weight": "3D D",
    "self_attn.in_proj_bias": "3D",
    "self_attn.out_proj.weight": "D D",
    "self_attn.out_proj.bias": "D",
    "linear1.weight": "F D",
    "linear1.bias": "F",
    "linear2.weight": "D F",
    "linear2.bias": "D",
    "norm1.weight": "D",
    "norm1.bias": "D",
    "norm2.weight": "D",
    "norm2.bias": "D",
}

Hidden: TypeAlias = Float[Array, "b l d"]
Seen: TypeAlias = Bool[Array, "#b #n #l k"]  # key k is seen by query l
StateDict: TypeAlias = Mapping[str, Any]  # PyTorch name -> array


def refine(
    x: Shaped[Array | np.ndarray, "*s"],
    kind: Kind | str,
    *,
    alpha: Coefficient,
    beta: Coefficient | None = None,
    steps: int = 1,
    causal: bool = False,
    mask: Shaped[Array | np.ndarray, "*m"] | None = None,
) -> Shaped[Array, "*s"]:
    """The official hidden-state layer: `steps` explicit steps u_i ← u_i + δ_i, every one from the old state.

    The triple of token i is (i-1, i, i+1), or causal (i-2, i-1, i), and Λ_i = right - 2·centre + left of it:

        diffusion             δ_i = α Λ_i
        wave                  δ_i = α² Λ_i
        reaction-diffusion    δ_i = α Λ_i + β u_i (1 - σ(u_i))            σ the logistic function
        advection-diffusion   δ_i = α Λ_i + β (u_{i+1} - u_{i-1}) / 2     causal: β (u_i - u_{i-1})

    A token changes only if its whole triple lies in the row and is valid; the others are copied. Nothing is
    stable by construction: see the table above.

    Args:
        x: hidden states (B, L, D); a row with L < 3 is returned as it is. Each step is computed in at least
            float32 and rounded to the dtype of x.
        kind: "diffusion", "wave", "reaction-diffusion" or "advection-diffusion".
        alpha: any real number, or one per step, (steps,). Official initial values: .10, wave .15.
        beta: likewise, for reaction (.02) and advection (.03); the others do not read it.
        steps: number of steps, static, ≥ 0.
        causal: no output depends on a later token, bit for bit.
        mask: (B, L), 1 or True = valid; holes are allowed. Other tokens never change and are never read.

    Raises:
        ValueError: unknown kind, a missing beta, coefficients that are not finite, shapes that
            do not fit, mask values besides 0 and 1.
    """
    x = jnp.asarray(x)
    _check_layer(x, kind, alpha, beta, steps)
    mask = _check_mask(mask, x.shape[:2], "mask")
    if steps == 0 or x.shape[1] < 3:
        return x
    dtype = jnp.promote_types(x.dtype, jnp.float32)
    # zeros instead of padding: whatever stands there, NaN included, cannot reach a value or a gradient
    inside = x if mask is None else jnp.where(mask[..., None], x, 0)
    whole = None if mask is None else (mask[:, :-2] & mask[:, 1:-1] & mask[:, 2:])[..., None]
    first = 2 if causal else 1

    def per_step(c: Coefficient | None) -> Array:
        return jnp.broadcast_to(jnp.asarray(0 if c is None else c, dtype), (steps,))

    def step(u: Array, coefficients: tuple[Array, Array]) -> tuple[Array, None]:
        wide = u.astype(dtype)
        triple = wide[:, :-2], wide[:, 1:-1], wide[:, 2:]
        change = _change(kind, triple, *coefficients, causal=causal)
        change = change if whole is None else jnp.where(whole, change, 0)
        return (wide + jnp.pad(change, ((0, 0), (first, 2 - first), (0, 0)))).astype(u.dtype), None

    after = jax.lax.scan(step, inside, (per_step(alpha), per_step(beta)))[0]
    return after if mask is None else jnp.where(mask[..., None], after, x)


def _change(
    kind: str, triple: tuple[Array, Array, Array], alpha: Array, beta: Array, *, causal: bool
) -> Float[Array, "b m d"]:
    """δ of the L - 2 tokens that have a triple."""
    left, centre, right = triple
    own = right if causal else centre
    spread = right - 2 * centre + left
    if kind == "diffusion":
        return alpha * spread
    if kind == "wave":
        return alpha**2 * spread
    if kind == "reaction-diffusion":
        return alpha * spread + beta * own * (1 - jax.nn.sigmoid(own))
    slope = right - centre if causal else (right - left) / 2
    return alpha * spread + beta * slope


def load_classifier(state_dict: StateDict, *, kind: Kind | str | None, heads: int) -> "OfficialClassifier":
    """The official classifier with the weights of `state_dict`, in evaluation mode.

    Args:
        state_dict: arrays under the PyTorch names: `embedding.weight`, `pos_encoder`, `fc.weight`, `fc.bias`,
            `transformer_layers.{i}.…` and, per layer and step, `pde_layers.{i}.{s}.alpha` and `.beta`. All
            sizes follow from it. Nothing may be missing or left over.
        kind: the PDE of the layers, as in `refine`. None: the baseline (`transformer.layers.{i}.…`), or a
            model of no PDE steps. The weights do not tell diffusion from wave, nor reaction from advection.
        heads: number of attention heads; it divides the width.

    Raises:
        ValueError: names missing, left over or of the wrong shape; heads that do not divide the width.
    """
    return OfficialClassifier(read(state_dict, kind), kind=kind, heads=heads)


def load_lm(state_dict: StateDict, *, kind: Kind | str | None, heads: int) -> "OfficialLM":
    """The official language model: causal attention, causal PDE steps, head `fc` (V, D) not tied.

    Arguments and errors are those of `load_classifier`; `fc` must also have one row per word.
    """
    weights = read(state_dict, kind)
    vocabulary, outputs = weights.embedding.shape[0], weights.fc["weight"].shape[0]
    if vocabulary != outputs:
        raise ValueError(
            f"a language model has one output per word, got fc.weight with {outputs} rows for {vocabulary} "
            "words; use load_classifier."
        )
    return OfficialLM(weights, kind=kind, heads=heads)


class Weights(NamedTuple):
    """A checkpoint under its PyTorch names, the layers stacked."""

    embedding: Float[Array, "v d"]
    positions: Float[Array, "1 m d"]
    layers: dict[str, Array]  # name within an encoder layer -> (layers, …)
    steps: dict[str, Array]  # "alpha", "beta" -> (layers, S)
    fc: dict[str, Array]  # "weight" (C or V, D), "bias"


class _Official(nnx.Module):
    """Embedding plus positions, then per layer: encoder layer, PDE steps."""

    def __init__(self, weights: Weights, *, kind: str | None, heads: int, causal: bool):
        width = weights.embedding.shape[1]
        if heads < 1 or width % heads:
            raise ValueError(
                f"heads must divide the width {width}, got {heads}; give the heads it was trained with."
            )
        self.kind, self.heads, self.causal = kind, heads, causal
        self.embedding = nnx.Param(weights.embedding)
        self.positions = nnx.Param(weights.positions)
        self.layers = nnx.Dict({name: nnx.Param(array) for name, array in weights.layers.items()})
        self.steps = nnx.Dict({name: nnx.Param(array) for name, array in weights.steps.items()})
        self.fc = nnx.Dict({name: nnx.Param(array) for name, array in weights.fc.items()})

    def hidden_states(self, input_ids: Array, mask: Array | None) -> Hidden:
        """What the head reads."""
        length = input_ids.shape[1]
        x = self.embedding[...][input_ids] + self.positions[...][:, :length]
        seen = jnp.ones((1, 1, length, length), bool) if mask is None else mask[:, None, None, :]
        if self.causal:
            seen = seen & jnp.tri(length, dtype=bool)[None, None]

        def layer(x: Array, weights: tuple[dict[str, Array], dict[str, Array]]) -> tuple[Array, None]:
            w, coefficients = weights
            x = encoder_layer(x, w, seen, heads=self.heads)
            if self.kind is None:
                return x, None
            steps = coefficients["alpha"].shape[0]
            return refine(x, self.kind, **coefficients, steps=steps, causal=self.causal, mask=mask), None

        layers = {name: stack[...] for name, stack in self.layers.items()}
        steps = {name: stack[...] for name, stack in self.steps.items()}
        return jax.lax.scan(layer, x, (layers, steps))[0]

    def _check(self, input_ids: Any, attention_mask: Any) -> tuple[Array, Array | None]:
        """Ids and mask as arrays.

        Raises:
            ValueError: shapes that do not fit, too many tokens, and outside `jit` unknown ids.
        """
        longest, vocabulary = self.positions.shape[1], self.embedding.shape[0]
        if jnp.ndim(input_ids) != 2 or not jnp.issubdtype(input_ids.dtype, jnp.integer):
            raise ValueError(
                f"input_ids are integers (B, L), got {input_ids.dtype} {input_ids.shape}; add a batch "
                "axis or cast."
            )
        if input_ids.shape[1] > longest:
            raise ValueError(
                f"the checkpoint has {longest} positions, got {input_ids.shape[1]} tokens; truncate."
            )
        if is_concrete(input_ids) and input_ids.size:
            values = np.asarray(input_ids)  # NumPy: under a trace jnp would stage even what is known
            if values.min() < 0 or values.max() >= vocabulary:
                raise ValueError(
                    f"input_ids lie in 0 … {vocabulary - 1}, got {values.min()} … {values.max()}; "
                    "use the tokenizer of the checkpoint."
                )
        return jnp.asarray(input_ids), _check_mask(attention_mask, input_ids.shape, "attention_mask")


class OfficialClassifier(_Official):
    """One label per row: (B, L) -> logits (B, C), fc(Σ m x / max(Σ m, 1)) with the mask m."""

    def __init__(self, weights: Weights, *, kind: str | None, heads: int):
        super().__init__(weights, kind=kind, heads=heads, causal=False)

    def __call__(
        self,
        input_ids: Shaped[Array | np.ndarray, "*b"],
        attention_mask: Shaped[Array | np.ndarray, "*m"] | None = None,
    ) -> Float[Array, "b c"]:
        """Logits; `attention_mask` (B, L) is 1 at valid tokens, None = all. A row of padding alone gives the bias."""
        ids, mask = self._check(input_ids, attention_mask)
        with jax.default_matmul_precision("highest"):
            x = self.hidden_states(ids, mask)
            m = jnp.ones((*ids.shape, 1), bool) if mask is None else mask[..., None]
            mean = jnp.sum(jnp.where(m, x, 0), axis=1) / jnp.maximum(jnp.sum(m, axis=1), 1)
            return affine(mean, self.fc["weight"][...], self.fc["bias"][...])


class OfficialLM(_Official):
    """The next token at every position: (B, L) -> logits (B, L, V) that no later token reaches."""

    def __init__(self, weights: Weights, *, kind: str | None, heads: int):
        super().__init__(weights, kind=kind, heads=heads, causal=True)

    def __call__(
        self,
        input_ids: Shaped[Array | np.ndarray, "*b"],
        attention_mask: Shaped[Array | np.ndarray, "*m"] | None = None,
    ) -> Float[Array, "b l v"]:
        """Logits; `attention_mask` (B, L) is 1 at valid tokens, None = all. As in PyTorch, a padded token is
        never a key, but attends to the valid ones before it, so it has logits too."""
        ids, mask = self._check(input_ids, attention_mask)
        with jax.default_matmul_precision("highest"):
            x = self.hidden_states(ids, mask)
            return affine(x, self.fc["weight"][...], self.fc["bias"][...])


def encoder_layer(x: Hidden, w: Mapping[str, Array], seen: Seen, *, heads: int) -> Hidden:
    """A PyTorch encoder layer without dropout: z = LN(x + MHA(x)), y = LN(z + W₂ ReLU(W₁ z)), biases everywhere."""
    query, key, value = (
        part.reshape(*x.shape[:2], heads, -1)
        for part in jnp.split(
            affine(x, w["self_attn.in_proj_weight"], w["self_attn.in_proj_bias"]), 3, axis=-1
        )
    )
    mixed = attention(query, key, value, seen).reshape(x.shape)
    mixed = affine(mixed, w["self_attn.out_proj.weight"], w["self_attn.out_proj.bias"])
    z = layer_norm(x + mixed, w["norm1.weight"], w["norm1.bias"])
    inner = jax.nn.relu(affine(z, w["linear1.weight"], w["linear1.bias"]))
    reacted = affine(inner, w["linear2.weight"], w["linear2.bias"])
    return layer_norm(z + reacted, w["norm2.weight"], w["norm2.bias"])


def attention(
    query: Float[Array, "b l n h"], key: Float[Array, "b l n h"], value: Float[Array, "b l n h"], seen: Seen
) -> Float[Array, "b l n h"]:
    """softmax(QKᵀ/√H) V over the keys that are seen; a query that sees none gets 0, where PyTorch gives NaN."""
    scores = jnp.einsum("blnh,bknh->bnlk", query, key) / query.shape[-1] ** 0.5
    # a finite floor: with -inf the gradient of a row without keys would be NaN
    floor = jnp.finfo(scores.dtype).min
    weights = jnp.where(seen, jax.nn.softmax(jnp.where(seen, scores, floor), axis=-1), 0)
    return jnp.einsum("bnlk,bknh->blnh", weights, value)


def layer_norm(x: Array, weight: Float[Array, " d"], bias: Float[Array, " d"]) -> Array:
    """(x - mean) / √(variance + 1e-5) · weight + bias over the last axis."""
    centred = x - jnp.mean(x, axis=-1, keepdims=True)
    scale = jax.lax.rsqrt(jnp.mean(jnp.square(centred), axis=-1, keepdims=True) + 1e-5)
    lead = (1,) * (x.ndim - 1)
    return centred * scale * weight.reshape(*lead, -1) + bias.reshape(*lead, -1)


def affine(x: Float[Array, "*b i"], weight: Float[Array, "o i"], bias: Float[Array, " o"]) -> Array:
    """x Wᵀ + b: a weight has one row per output."""
    return jnp.einsum("...i,oi->...o", x, weight) + bias.reshape(*(1,) * (x.ndim - 1), -1)


def read(state_dict: StateDict, kind: Kind | str | None) -> Weights:
    """The checkpoint, checked name by name and stacked over layers; in at least float32."""
    if kind is not None:
        _check_kind(kind)
    prefix = _layer_prefix(state_dict, kind)
    layers = [f"{prefix}.{i}" for i in range(_count(state_dict, rf"{re.escape(prefix)}\.(\d+)\."))]
    steps = 0 if kind is None else _count(state_dict, r"pde_layers\.\d+\.(\d+)\.")
    coefficients = ("alpha", "beta")[: 0 if kind is None else 1 + (kind in WITH_BETA)]
    _check_names(state_dict, layers, steps, coefficients, kind)
    _check_shapes(state_dict, layers)

    def array(name: str) -> Array:
        values = jnp.asarray(np.asarray(state_dict[name]))
        return values.astype(jnp.promote_types(values.dtype, jnp.float32))

    def row(i: int, name: str) -> Array:
        return jnp.concatenate([array(f"pde_layers.{i}.{s}.{name}") for s in range(steps)])

    return Weights(
        embedding=array("embedding.weight"),
        positions=array("pos_encoder"),
        layers={name: jnp.stack([array(f"{layer}.{name}") for layer in layers]) for name in LAYER_SHAPES},
        steps={name: jnp.stack([row(i, name) for i in range(len(layers))]) for name in coefficients},
        fc={name: array(f"fc.{name}") for name in ("weight", "bias")},
    )


def _layer_prefix(state_dict: StateDict, kind: str | None) -> str:
    baseline = "transformer.layers"
    is_baseline = kind is None and any(name.startswith(baseline) for name in state_dict)
    return baseline if is_baseline else "transformer_layers"


def _count(state_dict: StateDict, pattern: str) -> int:
    """One more than the largest index, at least 1: what is not there is then reported as missing."""
    found = (re.match(pattern, name) for name in state_dict)
    return 1 + max((int(match.group(1)) for match in found if match), default=0)


def _check_names(
    state_dict: StateDict, layers: list[str], steps: int, coefficients: tuple[str, ...], kind: str | None
) -> None:
    wanted = ["embedding.weight", "pos_encoder", "fc.weight", "fc.bias"]
    wanted += [f"{layer}.{name}" for layer in layers for name in LAYER_SHAPES]
    wanted += [
        f"pde_layers.{i}.{s}.{name}"
        for i in range(len(layers))
        for s in range(steps)
        for name in coefficients
    ]
    missing, excess = sorted(set(wanted) - set(state_dict)), sorted(set(state_dict) - set(wanted))
    if missing or excess:
        raise ValueError(
            f"a checkpoint of kind {kind!r} with {len(layers)} layers of {steps} PDE steps needs exactly its "
            f"own names, got missing: {_list(missing)}; left over: {_list(excess)}; check kind (None has no "
            "PDE steps) and pass the model's state_dict() alone."
        )


def _check_shapes(state_dict: StateDict, layers: list[str]) -> None:
    def size(name: str, axis: int) -> int:
        shape = np.shape(state_dict[name])
        return shape[axis] if len(shape) > axis else 0

    width, ffn = size("embedding.weight", 1), size(f"{layers[0]}.linear1.weight", 0)
    sizes = {"D": width, "3D": 3 * width, "F": ffn}
    wanted: dict[str, tuple[int, ...]] = {
        "embedding.weight": (size("embedding.weight", 0), width),
        "pos_encoder": (1, size("pos_encoder", 1), width),
        "fc.weight": (size("fc.weight", 0), width),
        "fc.bias": (size("fc.weight", 0),),
    }
    for layer in layers:
        for name, letters in LAYER_SHAPES.items():
            wanted[f"{layer}.{name}"] = tuple(sizes[letter] for letter in letters.split())
    for name, value in state_dict.items():
        shape, dtype = wanted.get(name, (1,)), np.asarray(value).dtype
        if np.shape(value) != shape:
            raise ValueError(
                f"{name} should have the shape {shape} beside embedding.weight of width {width}, got "
                f"{np.shape(value)}; the checkpoint is damaged or of another model."
            )
        if not jnp.issubdtype(dtype, jnp.floating):
            raise ValueError(f"{name} should hold real floating numbers, got {dtype}; export it as float32.")


def _list(names: list[str]) -> str:
    shown = ", ".join(names[:8]) or "none"
    return f"{shown} and {len(names) - 8} more" if len(names) > 8 else shown


def _check_kind(kind: str) -> None:
    if kind not in KINDS:
        raise ValueError(f"kind must be one of {', '.join(map(repr, KINDS))}, got {kind!r}.")


def _check_layer(x: Array, kind: str, alpha: Coefficient, beta: Coefficient | None, steps: int) -> None:
    _check_kind(kind)
    if x.ndim != 3 or not jnp.issubdtype(x.dtype, jnp.floating):
        raise ValueError(
            f"refine needs real floating hidden states (B, L, D), got {x.dtype} {x.shape}; add the missing "
            "axes or cast."
        )
    if not isinstance(steps, int | np.integer) or isinstance(steps, bool) or steps < 0:
        raise ValueError(f"steps must be a Python integer >= 0, got {steps!r}.")
    if kind in WITH_BETA and beta is None:
        raise ValueError(
            f"{kind!r} needs beta, got None; the official initial values are .02 (reaction) and .03 (advection)."
        )
    for name, value in (("alpha", alpha), ("beta", beta)):
        if value is None:
            continue
        if jnp.shape(value) not in ((), (steps,)):
            raise ValueError(
                f"{name} must be a scalar or one value per step, ({steps},), got shape {jnp.shape(value)}."
            )
        if is_concrete(value) and not np.all(np.isfinite(np.asarray(value, np.float64))):
            raise ValueError(f"{name} must be finite, got {value}; the checkpoint has diverged.")


def _check_mask(mask: Any, shape: tuple[int, ...], name: str) -> Bool[Array, "b l"] | None:
    """The mask as booleans."""
    if mask is None:
        return None
    if jnp.shape(mask) != shape:
        raise ValueError(f"{name} must have one value per token, {shape}, got shape {jnp.shape(mask)}.")
    if is_concrete(mask) and not np.all(np.isin(np.asarray(mask, np.float64), (0, 1))):
        raise ValueError(
            f"{name} is 1 at valid tokens and 0 elsewhere, got other values; it knows no segments: use "
            "`evolve` with segment_ids for packed rows."
        )
    return jnp.asarray(mask) != 0
