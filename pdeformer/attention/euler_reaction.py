"""One Euler reaction step without the matrix: powers of a softmax are softmaxes.

    A^p = exp(lse_p − p · lse_1) · softmax(p S),  lse_p = log Σ exp(p S)       p = 2: fisher, p = 3: allen_cahn

R(A) = β (A − A^p), followed by linear steps, is therefore two folded attentions [Zhang & Zhou 2025, R = βA(1 − A)]:

    reaction first, then n steps M:   M((1 + β) A − β A^p)
    one joint Euler step:             (1 + β + αL) A − β A^p = (1 + β) (1 + α/(1+β) L) A − β A^p

The steps conserve the row sum, which is therefore 1 + β − β exp(lse_p − p · lse_1).
"""

from dataclasses import replace

import jax.numpy as jnp

from pdeformer.attention.folded import base_attention, folded_attention
from pdeformer.attention.materialized import EvolutionSpec
from pdeformer.attention.types import AttentionInputs, AttentionOutput
from pdeformer.pde import Diffusion, ReactionDiffusion


def euler_reaction(spec: EvolutionSpec, pde: ReactionDiffusion, inputs: AttentionInputs) -> AttentionOutput:
    """Compute order "reaction_first", or a single "euler" step, as two attentions without dropout."""
    power = {"fisher": 2, "allen_cahn": 3}[pde.reaction]
    growth = jnp.broadcast_to(pde.beta.sum(0), (inputs.query.shape[2],))[None, None, :, None]
    linear = replace(spec, renormalize=False)
    if spec.order == "reaction_first":
        first = folded_attention(linear, pde.diffusion(), inputs)
        second = folded_attention(linear, pde.diffusion(), inputs._replace(query=power * inputs.query))
    else:
        diffusion = Diffusion(pde.alpha / (1 + pde.beta))
        first = folded_attention(linear, diffusion, inputs)
        second = base_attention(linear, inputs._replace(query=power * inputs.query))
    any_key = first.log_sum_exp > -jnp.inf
    exponent = jnp.where(any_key, second.log_sum_exp, 0) - power * jnp.where(any_key, first.log_sum_exp, 0)
    power_sum = jnp.where(any_key, jnp.exp(exponent), 0)[..., None]  # Σ_s A^p
    output = (1 + growth) * first.output - growth * power_sum * second.output
    if spec.renormalize:
        output = output / (1 + growth * (1 - power_sum))
    return AttentionOutput(output, first.log_sum_exp)
