"""One Euler reaction step without the matrix: powers of a softmax are softmaxes.

    A^p = exp(lse_p − p · lse_1) · softmax(p S),  lse_p = log Σ exp(p S)       p = 2: fisher, p = 3: allen_cahn

so that R(A) = β (A − A^p) followed by linear steps is two folded attentions [Zhang & Zhou 2025, R = βA(1 − A)]:

    reaction first, then n steps M:   M((1 + β) A − β A^p)
    one joint Euler step:             (1 + β + αL) A − β A^p = (1 + β) (1 + α/(1+β) L) A − β A^p

Steps conserve the row sum, which is therefore 1 + β − β exp(lse_p − p · lse_1).

    B batch, T query tokens, S key tokens, N heads, K key heads, H head width, D value width
"""

from dataclasses import replace

import jax.numpy as jnp
from jaxtyping import Array, Float

from pdeformer.attention.chunked import AttentionMask, AttentionOutput
from pdeformer.attention.folded import attend, folded
from pdeformer.attention.materialized import Evolution
from pdeformer.pde import Diffusion, ReactionDiffusion


def two_calls(
    evolution: Evolution,
    pde: ReactionDiffusion,
    query: Float[Array, "b t n h"],
    key: Float[Array, "b s k h"],
    value: Float[Array, "b s k d"],
    seen: AttentionMask,
) -> AttentionOutput:
    """Both orders of an Euler reaction; "euler" for a single step. `query` is scaled."""
    power = {"fisher": 2, "allen_cahn": 3}[pde.reaction]
    growth = jnp.broadcast_to(pde.beta.sum(0), (query.shape[2],))[None, None, :, None]
    linear = replace(evolution, renormalize=False)
    if evolution.order == "reaction_first":
        first = folded(linear, pde.diffusion(), query, key, value, seen, None)
        second = folded(linear, pde.diffusion(), power * query, key, value, seen, None)
    else:
        faster = Diffusion(pde.alpha / (1 + pde.beta))
        first = folded(linear, faster, query, key, value, seen, None)
        second = attend(linear, power * query, key, value, seen, None)
    any_key = first.log_sum_exp > -jnp.inf
    exponent = jnp.where(any_key, second.log_sum_exp, 0) - power * jnp.where(any_key, first.log_sum_exp, 0)
    share = jnp.where(any_key, jnp.exp(exponent), 0)[..., None]  # Σ_s A^p
    output = (1 + growth) * first.output - growth * share * second.output
    if evolution.renormalize:
        output = output / (1 + growth * (1 - share))
    return AttentionOutput(output, first.log_sum_exp)
