"""The official hidden-state layer: explicit steps of a three-point stencil with copied ends.

B batch, L tokens, D channels, S steps
"""

from typing import Any, Literal, TypeAlias, get_args

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Shaped

from pdeformer.integrators.compilation import compile_once
from pdeformer.pde import Coefficient, is_concrete

Kind: TypeAlias = Literal["diffusion", "wave", "reaction-diffusion", "advection-diffusion"]
KINDS: tuple[str, ...] = get_args(Kind)
"""The equations of the official layer."""
WITH_BETA = ("reaction-diffusion", "advection-diffusion")
"""The equations with a second coefficient, beta."""


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
    """Refine hidden states with the explicit steps u_i ← u_i + δ_i of the official layer.

    The triple of token i is (i-1, i, i+1), or (i-2, i-1, i) if causal. With Λ_i = right - 2·center + left of the
    triple, and σ the logistic function:

        diffusion             δ_i = α Λ_i
        wave                  δ_i = α² Λ_i
        reaction-diffusion    δ_i = α Λ_i + β u_i (1 - σ(u_i))
        advection-diffusion   δ_i = α Λ_i + β (u_{i+1} - u_{i-1}) / 2     causal: β (u_i - u_{i-1})

    All δ of a step are computed from the old state. A token changes only if its whole triple lies in the row and is
    valid; other tokens are copied. No equation is stable by construction: see the table of `pdeformer.cta`.

    Args:
        x: hidden states (B, L, D); a row with L < 3 is returned unchanged. Each step is computed in at least
            float32 and rounded to the dtype of x.
        kind: "diffusion", "wave", "reaction-diffusion" or "advection-diffusion".
        alpha: any real number, or one per step, (steps,). Official initial values: .10, wave .15.
        beta: the same for reaction (.02) and advection (.03); the other kinds ignore it.
        steps: number of steps, static, ≥ 0.
        causal: no output depends on a later token, bit for bit.
        mask: (B, L), 1 or True is valid; holes are allowed. Other tokens never change and are never read.

    Returns:
        Hidden states (B, L, D) in the dtype of `x`.

    Raises:
        ValueError: the kind is unknown, beta is missing, a coefficient is not finite, shapes do not fit, or the
            mask has values other than 0 and 1.

    Example:
        >>> import jax.numpy as jnp
        >>> from pdeformer import cta
        >>> x = jnp.array([[[0.0], [1.0], [0.0]]])
        >>> [round(float(value), 3) for value in cta.refine(x, "diffusion", alpha=0.1)[0, :, 0]]
        [0.0, 0.8, 0.0]

    Reference:
        Zhang & Zhou, "Continuous-Time Attention", 2025, and its code of March 2026.
    """
    x = jnp.asarray(x)
    _check_layer(x, kind, alpha, beta, steps)
    mask = check_mask(mask, x.shape[:2], "mask")
    if steps == 0 or x.shape[1] < 3:
        return x
    return _refine(x, alpha, beta, mask, kind=kind, steps=steps, causal=causal)


@compile_once("kind", "steps", "causal")
def _refine(
    x: Array, alpha: Coefficient, beta: Coefficient | None, mask: Any, *, kind: str, steps: int, causal: bool
) -> Array:
    dtype = jnp.promote_types(x.dtype, jnp.float32)
    # zeros in place of padding, so that no number there, NaN included, reaches a value or a gradient
    clean = x if mask is None else jnp.where(mask[..., None], x, 0)
    has_triple = None if mask is None else (mask[:, :-2] & mask[:, 1:-1] & mask[:, 2:])[..., None]
    first = 2 if causal else 1

    def per_step(c: Coefficient | None) -> Array:
        return jnp.broadcast_to(jnp.asarray(0 if c is None else c, dtype), (steps,))

    def step(u: Array, coefficients: tuple[Array, Array]) -> tuple[Array, None]:
        wide = u.astype(dtype)
        triple = wide[:, :-2], wide[:, 1:-1], wide[:, 2:]
        change = _change(kind, triple, *coefficients, causal=causal)
        change = change if has_triple is None else jnp.where(has_triple, change, 0)
        return (wide + jnp.pad(change, ((0, 0), (first, 2 - first), (0, 0)))).astype(u.dtype), None

    refined = jax.lax.scan(step, clean, (per_step(alpha), per_step(beta)))[0]
    return refined if mask is None else jnp.where(mask[..., None], refined, x)


def _change(
    kind: str, triple: tuple[Array, Array, Array], alpha: Array, beta: Array, *, causal: bool
) -> Float[Array, "b m d"]:
    """Return δ of the L - 2 tokens that have a triple."""
    left, center, right = triple
    u = right if causal else center
    curvature = right - 2 * center + left
    if kind == "diffusion":
        return alpha * curvature
    if kind == "wave":
        return alpha**2 * curvature
    if kind == "reaction-diffusion":
        return alpha * curvature + beta * u * (1 - jax.nn.sigmoid(u))
    slope = right - center if causal else (right - left) / 2
    return alpha * curvature + beta * slope


def check_kind(kind: str) -> None:
    """Refuse an unknown equation."""
    if kind not in KINDS:
        raise ValueError(f"kind must be one of {', '.join(map(repr, KINDS))}, got {kind!r}.")


def _check_layer(x: Array, kind: str, alpha: Coefficient, beta: Coefficient | None, steps: int) -> None:
    check_kind(kind)
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


def check_mask(mask: Any, shape: tuple[int, ...], name: str) -> Bool[Array, "b l"] | None:
    """Check the mask and return it as booleans; None stays None.

    Raises:
        ValueError: the shape is not `shape`, or a concrete value is not 0 or 1.
    """
    if mask is None:
        return None
    if jnp.shape(mask) != shape:
        raise ValueError(f"{name} must have one value per token, {shape}, got shape {jnp.shape(mask)}.")
    if is_concrete(mask) and not np.all(np.isin(np.asarray(mask, np.float64), (0, 1))):
        raise ValueError(
            f"{name} is 1 at valid tokens and 0 elsewhere, got other values; it has no segments: use "
            "`evolve` with segment_ids for packed rows."
        )
    return jnp.asarray(mask) != 0
