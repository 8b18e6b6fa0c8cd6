"""The Linear Recurrent Unit: a diagonal complex recurrence along the tokens of every run, by an associative scan.

B batch, T tokens, D channels, P states, L stacked blocks
"""

from math import pi, prod
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Complex, Int

from pdeformer import stencil
from pdeformer.layers.signature import InitSignature
from pdeformer.layers.stable_stencil import (
    HiddenStates,
    Segments,
    at_least_float32,
    broadcast_segments,
    check_dtypes,
    check_hidden_states,
)
from pdeformer.stencil.arguments import check_flag, check_integer

RADII = 0.9, 0.999
"""Smallest and largest initial modulus of the eigenvalues: those of the long tasks of the paper."""
SMALLEST_PHASE = 2e-3 * pi  # the logarithm of a phase of 0 is not finite


def linear_recurrence(
    decay: Complex[Array, " p"],
    inputs: Complex[Array, "b t p"],
    segment_ids: Int[Array, "b t"] | None = None,
    *,
    reverse: bool = False,
) -> Complex[Array, "b t p"]:
    """Return the states x_t = λ x_{t-1} + v_t of every run, by an associative scan of depth log T.

    The state is 0 before the first token of a run, and at padding.

    Args:
        decay: λ, one complex number per state.
        inputs: v.
        segment_ids: integers (B, T); 0 is padding. None: one segment.
        reverse: run from the last token of every run to its first one.

    Returns:
        The states x.
    """
    factors = jnp.broadcast_to(decay, (1, inputs.shape[1], decay.shape[0]))
    if segment_ids is not None:
        runs = stencil.run_ids(segment_ids)
        inputs = jnp.where((runs > 0)[..., None], inputs, 0)
        joined = (runs[:, 1:] == runs[:, :-1]) & (runs[:, 1:] > 0)
        joined = jnp.pad(joined, ((0, 0), (0, 1) if reverse else (1, 0)))
        factors = jnp.where(joined[..., None], decay[None, None], 0)

    def combine(earlier: tuple[Array, Array], later: tuple[Array, Array]) -> tuple[Array, Array]:
        return earlier[0] * later[0], later[0] * earlier[1] + later[1]

    return jax.lax.associative_scan(combine, (factors, inputs), reverse=reverse, axis=1)[1]


class LinearRecurrence(nnx.Module):
    """Mix the tokens of every run by a Linear Recurrent Unit, in O(T P) memory and O(log T) depth.

    x_t = λ x_{t-1} + exp(γ) ⊙ B u_t,   y_t = Re(C x_t) + d ⊙ u_t,   λ = exp(-exp(ν) + i exp(φ))

    B and C are complex matrices, and |λ| < 1 for all parameters. The bidirectional form has a second state, which
    runs from the last token to the first with the same λ and B; C reads both. The initial |λ|² is uniform in
    [0.9², 0.999²], exp(φ) is uniform in [0, 2π], and exp(γ) = √(1 - |λ|²) normalizes the inputs.

    Args:
        channels: number of channels D.
        states: number of complex states P.
        bidirectional: read later tokens as well; no causal form.
        dtype: dtype of the result; None is that of the hidden states. The arithmetic is in at least float32.
        param_dtype: dtype of the parameters, which are real.
        rngs: draws the initial values, from the stream `params`.

    Raises:
        ValueError: a size is below 1, or a dtype is not floating.

    Example:
        >>> import jax.numpy as jnp
        >>> from flax import nnx
        >>> from pdeformer.layers import LinearRecurrence
        >>> layer = LinearRecurrence(4, states=8, rngs=nnx.Rngs(0))
        >>> layer(jnp.ones((2, 5, 4))).shape
        (2, 5, 4)

    Reference:
        Orvieto et al., "Resurrecting Recurrent Neural Networks for Long Sequences", ICML 2023.
    """

    __signature__ = InitSignature()

    def __init__(
        self,
        channels: int,
        states: int,
        *,
        bidirectional: bool = False,
        dtype: Any = None,
        param_dtype: Any = float,
        rngs: nnx.Rngs,
    ):
        """Draw the parameters."""
        check_integer("LinearRecurrence: channels", channels)
        check_integer("LinearRecurrence: states", states)
        check_dtypes("LinearRecurrence", dtype, param_dtype)
        check_flag("LinearRecurrence: bidirectional", bidirectional)
        self.bidirectional, self.dtype = bidirectional, dtype

        def normal(*shape: int, deviation: float) -> nnx.Param:
            return nnx.Param(deviation * jax.random.normal(rngs.params(), shape, param_dtype))

        def uniform(low: float, high: float) -> Array:
            return jax.random.uniform(rngs.params(), (states,), param_dtype, low, high)

        square = uniform(RADII[0] ** 2, RADII[1] ** 2)
        self.log_rate = nnx.Param(jnp.log(-0.5 * jnp.log(square)))
        self.log_phase = nnx.Param(jnp.log(uniform(SMALLEST_PHASE, 2 * pi)))
        self.log_gain = nnx.Param(0.5 * jnp.log(1 - square))
        self.input = normal(channels, 2, states, deviation=(2 * channels) ** -0.5)
        directions = 2 if bidirectional else 1
        self.output = normal(directions, 2, states, channels, deviation=states**-0.5)
        self.skip = normal(channels, deviation=1.0)

    @property
    def causal_form(self) -> bool:
        """Whether the layer can be called with `causal=True`: True unless it is bidirectional."""
        return not self.bidirectional

    def decay(self) -> Complex[Array, "*l p"]:
        """Return the eigenvalues λ.

        Returns:
            (P,), or (L, P) for a layer stacked over L blocks.
        """
        rate, phase = (jnp.exp(at_least_float32(x)) for x in (self.log_rate, self.log_phase))
        return jnp.exp(jax.lax.complex(-rate, phase))

    def __call__(
        self, u: HiddenStates, segment_ids: Segments | None = None, *, causal: bool = False
    ) -> HiddenStates:
        """Mix tokens.

        Args:
            u: hidden states (..., T, D), floating point.
            segment_ids: integers (..., T), broadcast against the leading axes of `u`. 0 is padding; the state starts
                at 0 in every run, and a hole of zeros in a segment ends a run. None: one segment.
            causal: no output depends on a later token, which is always so unless the layer is bidirectional.

        Returns:
            Hidden states (..., T, D) in the `dtype` of the layer, or that of `u`; 0 at padding.

        Raises:
            ValueError: `causal` is True and the layer is bidirectional, or a shape or dtype does not fit.
        """
        check_flag("causal", causal)
        if causal and self.bidirectional:
            raise ValueError(
                "LinearRecurrence(bidirectional=True) has no causal form: it reads later tokens; "
                "use bidirectional=False."
            )
        u = jnp.asarray(u)
        check_hidden_states(u, "LinearRecurrence", self.skip.shape[-1])
        shape, dtype = u.shape, u.dtype if self.dtype is None else self.dtype
        ids = None if segment_ids is None else broadcast_segments(segment_ids, shape[:-1])
        if u.size == 0:
            return u.astype(dtype)
        rows = prod(shape[:-2]), *shape[-2:]
        u = u.astype(jnp.promote_types(u.dtype, jnp.float32)).reshape(rows)
        if ids is not None:
            ids = ids.reshape(rows[:2])
            u = jnp.where(ids[..., None] > 0, u, 0)
        return self._outputs(u, ids).reshape(shape).astype(dtype)

    def _outputs(self, u: Array, segment_ids: Array | None) -> Array:
        """Return y; it is 0 where u and the states are."""
        gain, skip = jnp.exp(at_least_float32(self.log_gain)), at_least_float32(self.skip)
        real, imaginary = jnp.moveaxis(jnp.einsum("btd,dzp->btzp", u, at_least_float32(self.input)), 2, 0)
        inputs, decay = jax.lax.complex(real, imaginary) * gain[None, None], self.decay()
        states = [linear_recurrence(decay, inputs, segment_ids)]
        if self.bidirectional:
            states.append(linear_recurrence(decay, inputs, segment_ids, reverse=True))
        # Re(C x) = Re(C) Re(x) - Im(C) Im(x); the second part of `output` is -Im(C)
        parts = jnp.stack([jnp.stack([x.real, x.imag]) for x in states])
        return jnp.einsum("fzbtp,fzpd->btd", parts, at_least_float32(self.output)) + skip[None, None] * u
