"""`pde_attention` and `pde_attention_weights`: attention whose weights or logits a PDE evolves over pseudo-time.

B batch, T query tokens, S key tokens, N heads, K key heads, H head width
"""

from collections.abc import Callable
from typing import Any, ParamSpec

import jax.numpy as jnp
from jaxtyping import Array, Float

from pdeformer.attention.dispatch import EvolutionProblem, check_call, prepare, run
from pdeformer.attention.keywords import keyword_options
from pdeformer.attention.materialized import materialized_weights
from pdeformer.attention.options import AttentionOptions, WeightsOptions, select_method
from pdeformer.attention.types import attention_mask

P = ParamSpec("P")


def _attention_signature(options: Callable[P, Any]):
    def function(
        query: Array, key: Array, value: Array, pde: Any, *args: P.args, **options: P.kwargs
    ) -> Array: ...

    return function


def _weights_signature(options: Callable[P, Any]):
    def function(query: Array, key: Array, pde: Any, *args: P.args, **options: P.kwargs) -> Array: ...

    return function


@keyword_options(AttentionOptions, _attention_signature)
def pde_attention(
    query: Float[Array, "b t n h"],
    key: Float[Array, "b s k h"],
    value: Float[Array, "b s k h"],
    pde: Any,
    options: AttentionOptions,
) -> Float[Array, "b t n h"]:
    """Compute attention with evolved weights: A(n) V, or softmax of the evolved logits times V.

        weights   A(0) = softmax(scale · QKᵀ),  dA/dτ = P A,  out = A(n·dt) V
        logits    S(0) = scale · QKᵀ,           dS/dτ = P S,  out = softmax(S(n·dt)) V

    P is the right-hand side of `pde` on the path of tokens. The path has walls at the ends of every run of connected
    tokens of a segment; a causal row also has a wall behind its query. With `pde` None or `steps` 0 the result is
    exactly plain attention. Values and gradients of all methods agree to 3e-5 in float32 and 1e-11 in float64.

    Args:
        query: Shape (B, T, N, H): float32, float64, or a shorter float that is computed in float32.
        key: Shape (B, S, K, H). N is a multiple of K; query head n reads key head n·K // N.
        value: Shape (B, S, K, H).
        pde: Diffusion, Wave, ReactionDiffusion, AdvectionDiffusion, or None. A coefficient is a scalar, one value per
            head (N,), or one per step and head (steps, N). Concrete coefficients are checked; traced ones are the
            caller's responsibility.
        options: The keyword arguments, fields of `AttentionOptions`.

    Returns:
        Shape (B, T, N, H), dtype of `value`. A padded query returns 0.

    Raises:
        ValueError: Shapes or options do not fit, a combination of options has no meaning, coefficients are unstable,
            or the method is not exact for the options.
        TypeError: An unknown keyword argument.

    Example:
        >>> import jax.numpy as jnp
        >>> from pdeformer import Diffusion, pde_attention
        >>> query = jnp.zeros((1, 1, 1, 2))
        >>> key = jnp.array([[900.0, 0.0], [0.0, 0.0], [0.0, 0.0]]).reshape(1, 3, 1, 2)
        >>> value = jnp.array([[4.0, 0.0], [8.0, 0.0], [16.0, 1.0]]).reshape(1, 3, 1, 2)
        >>> query = query.at[..., 0].set(1.0)  # the query attends to key 0 alone: weights 1, 0, 0
        >>> output = pde_attention(query, key, value, Diffusion(0.25), steps=1)  # weights 3/4, 1/4, 0
        >>> output.ravel().tolist()
        [5.0, 0.0]

    Reference:
        Zhang & Zhou, "Continuous-Time Attention", 2025.
    """
    problem = _prepare_call(query, key, value, pde, options)
    method = select_method(pde, options)
    if options.method == "auto" and options.is_causal and 2 * options.steps > key.shape[1]:
        method = "tiled"  # windows of 2n keys would be longer than the rows
    return run(problem, method).output.astype(value.dtype)


@keyword_options(WeightsOptions, _weights_signature, method="materialized")
def pde_attention_weights(
    query: Float[Array, "b t n h"], key: Float[Array, "b s k h"], pde: Any, options: WeightsOptions
) -> Float[Array, "b n t s"]:
    """Return the evolved attention weights as a matrix: the definition, in O(T · S) memory.

    Args:
        query: Shape (B, T, N, H), as in `pde_attention`.
        key: Shape (B, S, K, H).
        pde: The equation or None, as in `pde_attention`.
        method: "materialized" or "auto", which are the same here.
        options: The keyword arguments, fields of `WeightsOptions`.

    Returns:
        Shape (B, N, T, S), at least float32. The row of a padded query is 0.

    Raises:
        ValueError: As in `pde_attention`, or another method.
        TypeError: An unknown keyword argument.

    Example:
        >>> import jax.numpy as jnp
        >>> from pdeformer import Diffusion, pde_attention_weights
        >>> query = jnp.ones((1, 1, 1, 1))
        >>> key = jnp.array([900.0, 0.0, 0.0]).reshape(1, 3, 1, 1)
        >>> pde_attention_weights(query, key, Diffusion(0.25), steps=1).ravel().tolist()
        [0.75, 0.25, 0.0]

    Reference:
        Zhang & Zhou, "Continuous-Time Attention", 2025.
    """
    if options.method not in ("materialized", "auto"):
        raise ValueError(f"the weights are materialized, got method={options.method!r}; leave it out.")
    problem = _prepare_call(query, key, None, pde, AttentionOptions(**vars(options)))
    return materialized_weights(*problem)[0]


def _prepare_call(
    query: Array, key: Array, value: Array | None, pde: Any, options: AttentionOptions
) -> EvolutionProblem:
    """Check a call and prepare its arrays."""
    ids = None if options.segment_ids is None else jnp.asarray(options.segment_ids)
    length, keys = query.shape[1], key.shape[1]
    checked_value = key if value is None else value
    check_call(query, key, checked_value, pde, options, ids, same_tokens=length == keys)
    mask = attention_mask(length, keys, ids, is_causal=options.is_causal, window=options.window)
    return prepare(query, key, value, pde, options, mask)
