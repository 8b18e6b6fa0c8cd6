"""PDE attention with learned coefficients, and its configuration, which a command line can set.

B batch, T query tokens, S key tokens, N heads, K key heads, H head width, L layers
"""

import warnings
from collections.abc import Callable
from dataclasses import KW_ONLY, dataclass, fields
from math import prod
from typing import Any, Literal, ParamSpec, get_args

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array, Float, Key, Shaped

from pdeformer.attention import AttentionCache, init_cache, pde_attention_decode
from pdeformer.attention.keywords import check_words, keyword_options
from pdeformer.attention.options import (
    AttentionOptions,
    DecodeOptions,
    EvolutionOptions,
    SpaceOptions,
    check_meaning,
    check_options,
)
from pdeformer.layers import constraints
from pdeformer.layers.multihead import (
    FlaxArguments,
    dropout_of,
    precision_of,
    refuse_unserved,
    segments_of,
)
from pdeformer.layers.signature import InitSignature
from pdeformer.layers.stable_stencil import Segments, at_least_float32, broadcast_segments, check_dtypes
from pdeformer.pde import PDE, AdvectionDiffusion, Diffusion, Reaction, ReactionDiffusion, Wave
from pdeformer.sharding.sequence_attention import pde_attention_on_mesh
from pdeformer.stencil.arguments import check_integer, resolve_causal

P = ParamSpec("P")
Kind = Literal["none", "diffusion", "wave", "reaction-diffusion", "advection-diffusion"]
Share = Literal["head", "layer", "step"]
OWNERS: dict[str, tuple[str, ...]] = {  # the kinds that have an option; every kind has the other options
    "alpha": ("diffusion", "reaction-diffusion", "advection-diffusion"),
    "beta": ("reaction-diffusion", "advection-diffusion"),
    "speed": ("wave",),
    "reaction": ("reaction-diffusion",),
    "order": ("reaction-diffusion",),
    "precision": get_args(Kind),
}


@dataclass(frozen=True)
class PDEAttentionConfig(SpaceOptions, EvolutionOptions):
    """Which equation evolves the attention, and how; every option must belong to the kind of equation.

    The fields of `EvolutionOptions` and `SpaceOptions` are options of `pde_attention` as well.

    Raises:
        ValueError: Options do not fit together, or initial coefficients are outside the stable set.

    Example:
        >>> from pdeformer.layers import PDEAttentionConfig
        >>> PDEAttentionConfig("diffusion", steps=2).initial_pde()
        Diffusion(alpha=0.1)
    """

    kind: Kind = "none"
    """The equation that weights or logits obey in pseudo-time; "none" is plain attention."""
    _: KW_ONLY
    steps: int = 4
    """Number of explicit steps, each of pseudo-time 1; 0 is plain attention."""
    share: Share = "head"
    """"head": one coefficient per head; "layer": one for all heads; "step": one per step and head."""
    learned: bool = True
    """Learn the coefficients, which stay in the stable set; otherwise they keep their initial values."""
    alpha: float | None = None
    """Initial diffusivity, up to 1/2. None means 0.10."""
    beta: float | None = None
    """Initial drift, where beta > 0 moves weight to earlier keys (None means 0.03), or growth of the reaction, where
    beta > 0 spreads the rows, beta < 0 sharpens them, and training keeps the sign (None means 0.02)."""
    speed: float | None = None
    """wave: initial speed, up to 1. None means 0.15."""
    reaction: Reaction = "fisher"
    """reaction-diffusion: "fisher", u (1 - u), on weights; "allen_cahn", u (1 - u²), on weights or logits."""
    feature_seed: int = 0
    """Seed of the random features of base "performer"."""

    def __post_init__(self) -> None:
        """Refuse options that do not fit together."""
        check_words(type(self), vars(self))
        self._check_owners()
        if self.kind != "none":
            self.check()
            options: dict[str, Any] = {"order": self.order, "steps": self.steps}
            constraints.check_initial(self.initial_pde(), **options, learned=self.learned)

    def _check_owners(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            owners = OWNERS.get(field.name, get_args(Kind)[1:])
            if field.name != "kind" and value != field.default and self.kind not in owners:
                raise ValueError(
                    f"{field.name} belongs to kind {' or '.join(owners)}, got {field.name}={value} with kind "
                    f"{self.kind!r}; drop it or set the kind."
                )
        if self.feature_seed and self.base != "performer":
            raise ValueError(
                f"feature_seed belongs to base 'performer', got {self.feature_seed} with base {self.base!r}; "
                f"drop it or set the base."
            )
        if self.share == "step" and (self.steps == 0 or not self.learned):
            raise ValueError(
                f"share='step' learns one coefficient for each of one or more steps, got steps={self.steps}, "
                f"learned={self.learned}; use share='head'."
            )

    def initial_pde(self) -> PDE:
        """Return the equation with its initial coefficients.

        Raises:
            ValueError: The kind is "none".
        """
        alpha = 0.10 if self.alpha is None else self.alpha
        beta = {"reaction-diffusion": 0.02, "advection-diffusion": 0.03}.get(self.kind, 0.0)
        beta = beta if self.beta is None else self.beta
        if self.kind == "diffusion":
            return Diffusion(alpha)
        if self.kind == "wave":
            return Wave(0.15 if self.speed is None else self.speed)
        if self.kind == "reaction-diffusion":
            return ReactionDiffusion(alpha, beta, self.reaction)
        if self.kind == "advection-diffusion":
            return AdvectionDiffusion(alpha, beta)
        raise ValueError("kind 'none' has no equation, it is plain attention; use dot_product_attention.")

    def initial(self) -> PDE:
        """Return `initial_pde()`, of which this is the deprecated name."""
        warnings.warn("PDEAttentionConfig.initial is now initial_pde", DeprecationWarning, stacklevel=2)
        return self.initial_pde()

    def check(self, *, is_causal: bool = False, dropout: float = 0.0) -> None:
        """Check that these options allow causal rows or dropout. The check makes no array.

        Args:
            is_causal: The attention is causal.
            dropout: Probability of dropping a weight.

        Raises:
            ValueError: The options do not allow it.
        """
        if self.kind == "none":
            return
        options = self.options(is_causal=is_causal, dropout=dropout)
        check_options(options)
        initial = self.initial_pde()
        check_meaning(initial, options)
        if not isinstance(initial, ReactionDiffusion):
            return
        if self.target == "logits" and (initial.beta < 0 or self.order != "strang"):
            raise ValueError(
                f"logits leave [-1, 1], where only the exact flow of a reaction with beta > 0 is stable, got "
                f"beta={initial.beta}, order={self.order!r}; use those, or target='weights'."
            )
        if dropout and self.target == "weights" and (initial.beta < 0 or self.order != "strang"):
            raise ValueError(
                f"attention dropout lifts weights above 1, where only the exact flow of a reaction with beta > 0 is "
                f"stable, got dropout={dropout}, beta={initial.beta}, order={self.order!r}; use dropout 0, or "
                f"beta > 0 and order='strang'."
            )

    def options(self, **call: Any) -> AttentionOptions:
        """Return the options of `pde_attention`: those of this configuration, and those of one call."""
        names = {field.name for options in (EvolutionOptions, SpaceOptions) for field in fields(options)}
        return AttentionOptions(**{name: getattr(self, name) for name in names}, **call)

    def build(self, heads: int) -> "PDEAttention | None":
        """Build the attention.

        Args:
            heads: Number of query heads N.

        Returns:
            The layer, or None for kind "none", which is plain attention.
        """
        return None if self.kind == "none" else PDEAttention(heads, **vars(self))


def _layer_signature(options: Callable[P, Any]):
    def function(
        self: Any,
        heads: int,
        dtype: Any = None,
        param_dtype: Any = float,
        rngs: nnx.Rngs | None = None,
        *args: P.args,
        **options: P.kwargs,
    ) -> None: ...

    return function


class PDEAttention(nnx.Module):
    """`pde_attention` with learned coefficients.

    Its parameters are unconstrained real numbers that are mapped into the stable set (`layers.constraints`), so that
    no optimizer step can make the evolution unstable: α = 1/2 σ(a), c = σ(a), 2α + |β| ≤ 1, a bounded growth. The
    keyword arguments are the fields of `PDEAttentionConfig`; here `kind` is "diffusion" by default.

    The call takes the arguments of `pde_attention`, and those with which `nnx.MultiHeadAttention` calls its
    `attention_fn`. `decode` attends from new tokens over a cache of the earlier ones.

    Attributes:
        config: The options, a `PDEAttentionConfig`.
        free: The unconstrained parameters by the name of their coefficient; empty if they are not learned.

    Example:
        >>> import jax.numpy as jnp
        >>> from flax import nnx
        >>> from pdeformer import PDEAttention
        >>> layer = PDEAttention(heads=2, kind="wave", steps=3)
        >>> layer(*[jnp.ones((1, 5, 2, 4))] * 3, is_causal=True).shape
        (1, 5, 2, 4)
        >>> mix = nnx.MultiHeadAttention(2, 8, decode=False, attention_fn=layer, rngs=nnx.Rngs(0))
        >>> mix(jnp.ones((1, 5, 8)), is_causal=True).shape
        (1, 5, 8)

    Reference:
        Zhang & Zhou, "Continuous-Time Attention", 2025.
    """

    __signature__ = InitSignature()

    @keyword_options(PDEAttentionConfig, _layer_signature, kind="diffusion")
    def __init__(
        self,
        heads: int,
        *,
        dtype: Any = None,
        param_dtype: Any = float,
        rngs: nnx.Rngs | None = None,
        config: PDEAttentionConfig,
    ) -> None:
        """Build the layer; its parameters start at the initial coefficients.

        Args:
            heads: Number of query heads N.
            dtype: dtype to which query, key and value are converted; None leaves them. Sums have at least float32.
            param_dtype: dtype of the parameters.
            rngs: Not used; the initial values are constants.
            config: The keyword arguments, fields of `PDEAttentionConfig`.

        Raises:
            ValueError: As in `PDEAttentionConfig`, or kind "none".
            TypeError: An unknown keyword argument.
        """
        check_integer("PDEAttention: heads", heads)
        check_dtypes("PDEAttention", dtype, param_dtype)
        self.config, self.heads, self.dtype = config, heads, dtype
        initial, options = config.initial_pde(), {"order": config.order, "steps": config.steps}
        shape = {"head": (heads,), "layer": (), "step": (config.steps, heads)}[config.share]
        parameters = constraints.unconstrain(initial, **options) if config.learned else {}
        self.free = nnx.Dict(
            {name: nnx.Param(jnp.full(shape, value, param_dtype)) for name, value in parameters.items()}
        )

    @property
    def choice(self) -> PDEAttentionConfig:
        """Deprecated name of `config`."""
        warnings.warn("PDEAttention.choice is now config", DeprecationWarning, stacklevel=2)
        return self.config

    def pde(self) -> PDE:
        """Return the equation with its current coefficients.

        Returns:
            Floats if the coefficients are not learned, else arrays of shape (N,), () or (steps, N) for share "head",
            "layer" or "step"; stacked over L blocks, `(L, ...)`.
        """
        config, initial = self.config, self.config.initial_pde()
        if not config.learned:
            return initial
        # names from the equation, because `nnx.tabulate` cannot trace the methods of a Dict
        parameters = {name: at_least_float32(self.free[name]) for name in initial.coefficients()}
        return constraints.constrain(initial, parameters, order=config.order, steps=config.steps)

    def __call__(
        self,
        query: Shaped[Array | np.ndarray, "..."],
        key: Shaped[Array | np.ndarray, "..."],
        value: Shaped[Array | np.ndarray, "..."],
        *,
        segment_ids: Segments | None = None,
        is_causal: bool = False,
        dropout: float = 0.0,
        dropout_key: Key[Array, ""] | None = None,
        mask: Any = None,
        bias: Any = None,
        dropout_rng: Any = None,
        dropout_rate: float = 0.0,
        broadcast_dropout: bool = False,
        deterministic: bool = False,
        dtype: Any = None,
        precision: Any = None,
        module: Any = None,
        key_segment_ids: Segments | None = None,
        causal: bool | None = None,
    ) -> Float[Array, "*b t n h"]:
        """Attend with the current coefficients; arguments are those of `pde_attention`, or as Flax names them.

        Args:
            query: Shape (B, T, N, H); more or fewer leading axes than B are served alike.
            key: Shape (B, S, K, H).
            value: Shape (B, S, K, H).
            segment_ids: int or bool (B, T), 0 is padding. Needs T = S, or `key_segment_ids`.
            is_causal: Query t attends only to the keys s <= t + S − T.
            dropout: Probability in [0, 1) of dropping a weight.
            dropout_key: Random key, needed if dropout > 0.
            mask: (B, 1, 1, S), False at padded keys, as another form of `key_segment_ids`, or of `segment_ids` unless
                the axis is "key". A mask of pairs is refused.
            bias: Refused: no evolution along a path has one.
            dropout_rng: The name of `dropout_key` in Flax.
            dropout_rate: The name of `dropout` in Flax; without effect if `deterministic`.
            broadcast_dropout: Without effect: every head of every row has its own dropout mask.
            deterministic: Leave out the dropout of `dropout_rate`.
            dtype: dtype to which query, key and value are converted; None is that of the layer.
            precision: Precision of products of float32, a name or a `jax.lax.Precision`; None is that of the layer.
            module: Refused: the weights are never formed, and cannot be sown.
            key_segment_ids: int or bool (B, S), segment ids of the keys if they are other tokens than the queries.
            causal: Another name of `is_causal`; None means that it is left out.

        Returns:
            Shape (B, T, N, H), dtype of `value`.

        Raises:
            ValueError: As in `pde_attention`, dropout on weights whose reaction is unstable above 1, or an argument of
                Flax without a meaning here.
        """
        del broadcast_dropout
        flax = FlaxArguments(mask, bias, dropout_rng, dropout_rate, deterministic, precision, module)
        refuse_unserved(flax)
        dropout, dropout_key = dropout_of(flax, dropout, dropout_key)
        is_causal = resolve_causal(is_causal=is_causal, causal=causal)
        self.config.check(is_causal=is_causal, dropout=dropout)
        query, key, value = jnp.asarray(query), jnp.asarray(key), jnp.asarray(value)
        leading = self._check_heads(query, key, value)
        query, key, value = self._flat(leading, dtype, query, key, value)
        if 0 in (*query.shape, *key.shape):
            return jnp.zeros((*leading, *query.shape[1:]), value.dtype)
        ids = _flat_ids(segment_ids, leading, query.shape[1])
        key_ids = _flat_ids(key_segment_ids, leading, key.shape[1])
        ids, key_ids = segments_of(mask, ids, key_ids, key.shape[:2], keys_alone=self.config.axis == "key")
        options = self.config.options(
            segment_ids=ids,
            key_segment_ids=key_ids,
            is_causal=is_causal,
            dropout=dropout,
            dropout_key=dropout_key,
            feature_key=self._feature_key(),
        )
        output = pde_attention_on_mesh(query, key, value, self.pde(), **vars(options) | precision_of(flax))
        return output.reshape(*leading, *output.shape[1:])

    def init_cache(
        self,
        batch: int,
        max_len: int,
        kv_heads: int,
        head_width: int,
        dtype: Any = None,
        *,
        segments: bool = False,
    ) -> AttentionCache:
        """Make an empty cache for `decode`; see `pdeformer.init_cache`.

        Args:
            batch: Number of sequences B.
            max_len: Number of places: the most tokens that the cache can hold.
            kv_heads: Number of key heads K.
            head_width: Head width H.
            dtype: dtype of keys and values; None is that of the layer, or else float32.
            segments: Also store the segment id of every token. Needed for rows of unequal length.

        Returns:
            A cache of length 0.

        Raises:
            ValueError: A size is below 1, or the layer has no causal form.
        """
        self.config.check(is_causal=True)
        dtype = dtype or self.dtype or jnp.float32
        return init_cache(batch, max_len, kv_heads, head_width, dtype, segments=segments)

    def decode(
        self,
        query: Shaped[Array | np.ndarray, "..."],
        key: Shaped[Array | np.ndarray, "..."],
        value: Shaped[Array | np.ndarray, "..."],
        cache: AttentionCache,
        *,
        segment_ids: Segments | None = None,
    ) -> tuple[Float[Array, "b t n h"], AttentionCache]:
        """Append T tokens to the cache and attend from them; see `pde_attention_decode`.

        Args:
            query: New queries (B, T, N, H).
            key: New keys (B, T, K, H).
            value: New values (B, T, K, H).
            cache: All earlier tokens; see `init_cache`.
            segment_ids: int or bool (B, T), for a cache made with `segments`; 0 is padding. None means 1.

        Returns:
            The output (B, T, N, H), equal to those rows of a causal call, and the cache with the new tokens.

        Raises:
            ValueError: As in `pde_attention_decode`, or the layer has no causal form.
        """
        self.config.check(is_causal=True)
        query, key, value = jnp.asarray(query), jnp.asarray(key), jnp.asarray(value)
        self._check_heads(query, key, value)
        query, key, value = self._flat(query.shape[:-3], None, query, key, value)
        options = self.config.options(segment_ids=segment_ids, feature_key=self._feature_key())
        names = [field.name for field in fields(DecodeOptions)]
        keywords: Any = {name: getattr(options, name) for name in names}
        return pde_attention_decode(query, key, value, cache, self.pde(), **keywords)

    def _feature_key(self) -> Array | None:
        return jax.random.key(self.config.feature_seed) if self.config.base == "performer" else None

    def _check_heads(self, query: Array, key: Array, value: Array) -> tuple[int, ...]:
        """Check ranks, leading axes and the number of query heads, and return the leading axes."""
        shapes = query.shape, key.shape, value.shape
        if query.ndim < 3 or any(shape[:-3] != query.shape[:-3] for shape in shapes):
            raise ValueError(
                f"PDEAttention needs query (..., T, N, H) and key, value (..., S, K, H) of the same leading axes, got "
                f"{', '.join(map(str, shapes))}; add the missing axes."
            )
        heads = query.shape[-2]
        if heads != self.heads:
            raise ValueError(
                f"PDEAttention(heads={self.heads}) has not one value per head, ({heads},), for query {query.shape}; "
                f"make it with heads={heads}."
            )
        return query.shape[:-3]

    def _flat(self, leading: tuple[int, ...], dtype: Any, *arrays: Array) -> tuple[Array, ...]:
        """Flatten the leading axes to one, and convert the arrays to `dtype` or that of the layer, if any."""
        dtype = self.dtype if dtype is None else dtype
        flat = (x.reshape(prod(leading), *x.shape[-3:]) for x in arrays)
        return tuple(x if dtype is None else x.astype(dtype) for x in flat)


def _flat_ids(segment_ids: Any, leading: tuple[int, ...], length: int) -> Array | None:
    """Return segment ids of the shape (B, length), with the leading axes as one."""
    if segment_ids is None:
        return None
    return broadcast_segments(segment_ids, (*leading, length)).reshape(prod(leading), length)
