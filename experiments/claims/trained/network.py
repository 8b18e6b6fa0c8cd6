"""The Transformer of the trainings: the official encoder, with diffusion on attention or on hidden states.

    plain       an encoder layer is z = LN(x + MHA(x)), y = LN(z + W₂ ReLU(W₁ z))
    attention   the paper's text: A(0) = softmax(QKᵀ/√H), n steps of dA/dτ = α d²A/ds² along the keys, out = A(n) V
    hidden      the paper's code: n steps of the official layer on the hidden states after every encoder layer

α is fixed, so all three have the parameters of the official checkpoints. α = 0 is exactly the plain network, so all
three share one compiled program. [Zhang & Zhou, "Continuous-Time Attention", 2025]

    B batch, L tokens, D channels, N heads, H head width, F feed-forward width, V vocabulary, C outputs
"""

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, Key

from pdeformer import Diffusion, cta, pde_attention


class Shape(NamedTuple):
    """The sizes of a network."""

    vocabulary: int
    outputs: int
    length: int
    width: int
    heads: int
    ffn: int
    layers: int


class Alpha(NamedTuple):
    """Diffusivity of both forms, tokens² per step, in [0, 1/2]; 0 switches a form off. It may be traced."""

    attention: float = 0.0
    """Diffusivity on the attention weights, along the keys."""
    hidden: float = 0.0
    """Diffusivity on the hidden states after every encoder layer."""


class Steps(NamedTuple):
    """Steps of both forms. They are static; 0 leaves a form out of the program."""

    attention: int
    hidden: int


def init(key: Key[Array, ""], shape: Shape) -> cta.Weights:
    """Draw initial weights from the distributions of PyTorch, independently for every layer."""
    sizes = {name: size for name, size in shape._asdict().items() if name != "heads"}
    return cta.init_weights(key, **sizes)


def hidden_states(
    weights: cta.Weights,
    ids: Int[Array, "b l"],
    mask: Bool[Array, "b l"] | None,
    alpha: Alpha,
    *,
    steps: Steps,
    heads: int,
) -> Float[Array, "b l d"]:
    """Return the input of the head.

    Attention and the official steps are bidirectional and ignore padding (`mask` False). The attention form allows only
    rows without padding.
    """
    x = weights.embedding[ids] + weights.positions[:, : ids.shape[1]]
    attention_mask = jnp.ones((1, 1, 1, ids.shape[1]), bool) if mask is None else mask[:, None, None]
    evolved_attention = partial(
        pde_attention, pde=Diffusion(alpha.attention), steps=steps.attention, method="materialized"
    )

    def layer(x: Array, w: dict[str, Array]) -> tuple[Array, None]:
        x = cta.encoder_layer(
            x,
            w,
            evolved_attention if steps.attention else partial(cta.attention, mask=attention_mask),
            heads=heads,
        )
        return cta.refine(x, "diffusion", alpha=alpha.hidden, steps=steps.hidden, mask=mask), None

    return jax.lax.scan(layer, x, weights.layers)[0]


def classify(
    weights: cta.Weights, ids: Int[Array, "b l"], alpha: Alpha, *, steps: Steps, heads: int
) -> Float[Array, "b c"]:
    """Return the logits of the mean hidden state of a row."""
    x = hidden_states(weights, ids, None, alpha, steps=steps, heads=heads)
    return cta.affine(jnp.mean(x, axis=1), **weights.fc)
