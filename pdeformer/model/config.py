"""`ModelConfig`: sizes of a Transformer, places of its diffusion layers, equation of its attention."""

from dataclasses import KW_ONLY, dataclass, fields
from difflib import get_close_matches
from typing import Literal, TypeAlias, get_args

import numpy as np

from pdeformer.layers import PDEAttentionConfig, StencilConfig
from pdeformer.stencil.arguments import static_number

Placement: TypeAlias = Literal[
    "after_embedding",
    "before_attention",
    "after_attention",
    "before_ffn",
    "after_ffn",
    "before_norm",
    "between_layers",
]
"""A place of the diffusion layer."""
PLACEMENTS: tuple[str, ...] = get_args(Placement)
"""The seven places, in the order in which the residual stream passes them."""
INNER_PLACEMENTS = ("in_attention", "in_ffn")
"""Places inside a sublayer, for controls: queries, keys and values after their projections; the hidden units of the
feed-forward sublayer before the nonlinearity. A layer there is wider, see `ModelConfig.hook_width`."""
POSITIONS_ONLY = "positions_only"
"""A control of the place after_embedding: the layer acts on the position code alone, before tokens are added."""


@dataclass(frozen=True, kw_only=True)
class Architecture:
    """Options of the Transformer that depend on neither the task nor the diffusion layer.

    `ModelConfig` adds the other options. A program that sets those itself exposes only an `Architecture`.

    Example:
        >>> from dataclasses import asdict
        >>> from pdeformer.model import Architecture, ModelConfig
        >>> architecture = Architecture(layers=4, width=32)
        >>> ModelConfig(vocabulary=16, **asdict(architecture)).layers
        4
    """

    layers: int = 2
    """Number of blocks L."""
    width: int = 64
    """Channels D of the residual stream."""
    heads: int = 2
    """Attention heads N."""
    head_width: int | None = None
    """Width H of one head; None is width / heads."""
    ffn: int = 128
    """Hidden width of the feed-forward sublayer."""
    classifier_width: int | None = None
    """Hidden width between the pooled features and the logits; None is one linear map (Matcher: the ffn width)."""
    max_len: int = 2048
    """Longest sequence in tokens, without the CLS token."""
    norm: Literal["pre", "post"] | str = "pre"
    """pre: LayerNorm before each sublayer, and once before the head; post: after each residual addition."""
    positions: Literal["sinusoidal", "learned", "rotary", "alibi", "none"] | str = "sinusoidal"
    """Position code; a position is the number of earlier tokens of its segment. sinusoidal, learned: a vector added to
    the embedding; rotary: queries and keys rotate; alibi: the scores of head h of N fall by 2^(-8h/N) per token of
    distance; none: no code."""
    mixer: Literal["attention", "windowed", "performer", "lru"] | str = "attention"
    """What mixes the tokens of a block. windowed: softmax attention to near tokens, see window; performer: attention by
    positive random features; lru: a linear recurrent unit in place of attention, bidirectional unless causal."""
    window: int | None = None
    """windowed: attend to the tokens at most this far away, to either side."""
    features: int | None = None
    """performer: number of random features; None is 4 times the head width."""
    states: int | None = None
    """lru: number of complex states; None gives it as many parameters as attention, to 1 %."""
    pooling: Literal["mean", "cls"] | str = "mean"
    """Input of the classifier: the mean over valid tokens, or a learned CLS token in front (one segment per row)."""
    dropout: float = 0.1
    """Dropout rate after the embedding, inside the feed-forward sublayer and after each sublayer."""
    attention_dropout: float = 0.1
    """Dropout rate of the attention weights; the mixers performer and lru have no weights to drop."""
    attention_bias: bool = False
    """Biases in the query, key, value and output maps."""
    remat: bool = False
    """Recompute each block in the backward pass: memory of one block, at the price of a forward pass."""

    @property
    def query_width(self) -> int:
        """N·H, the width of all heads together."""
        return self.heads * (self.head_width or self.width // self.heads)

    @property
    def feature_count(self) -> int | None:
        """Number of random features of the mixer performer; None for another mixer."""
        default = 4 * (self.query_width // self.heads)
        return None if self.mixer != "performer" else self.features or default

    def check_choices(self) -> None:
        """Check every field that has a fixed set of values.

        Raises:
            ValueError: the norm, position code, pooling, ... is unknown.
        """
        for field in fields(self):
            choices = [word for option in get_args(field.type) for word in get_args(option)]
            words = [word for word in choices if isinstance(word, str)]
            value = getattr(self, field.name)
            if isinstance(value, str) and words and value not in words:
                raise ValueError(f"{field.name} is one of {', '.join(words)}, got {value!r}; choose one.")
        self._check_mixer()

    def _check_mixer(self) -> None:
        for name, owner in (("window", "windowed"), ("features", "performer"), ("states", "lru")):
            value, smallest = getattr(self, name), 0 if name == "window" else 1
            if value is None:
                continue
            if self.mixer != owner:
                raise ValueError(
                    f"{name} belongs to mixer {owner!r}, got {name}={value} with mixer {self.mixer!r}; drop it or set "
                    f"mixer={owner!r}."
                )
            if not isinstance(value, int | np.integer) or isinstance(value, bool) or value < smallest:
                raise ValueError(
                    f"{name} must be an integer of at least {smallest}, got {value!r}; change it."
                )
        if self.mixer == "windowed" and self.window is None:
            raise ValueError(
                "mixer 'windowed' needs the largest distance of two tokens, got window=None; set window=64."
            )
        if self.mixer in {"rotary": ("lru",), "alibi": ("performer", "lru")}.get(self.positions, ()):
            needs = "queries and keys" if self.positions == "rotary" else "scores"
            raise ValueError(
                f"positions {self.positions!r} act on {needs}, which mixer {self.mixer!r} does not form, got both; use "
                f"positions='sinusoidal' or mixer='attention'."
            )


@dataclass(frozen=True)
class ModelConfig(Architecture):
    """Sizes and options of a model; the first argument may be `vocabulary`, all others are keyword arguments.

    Raises:
        ValueError: a size is below 1, the heads do not divide the width, a placement is unknown or repeated, or
            the diffusion layer or the attention is invalid.

    Example:
        >>> from pdeformer import ModelConfig
        >>> from pdeformer.layers import StencilConfig
        >>> config = ModelConfig(16, width=32, placements=("before_norm",), stencil=StencilConfig("adaptive"))
        >>> config.query_width
        32
    """

    vocabulary: int = 32
    """Number of token ids V, padding included."""
    _: KW_ONLY
    classes: int = 10
    """Number of classes C of Classifier and Matcher."""
    activation: Literal["gelu", "relu"] | str = "gelu"
    """Nonlinearity of the feed-forward sublayer and of the classifier."""
    placements: tuple[Placement | Literal["in_attention", "in_ffn", "positions_only"] | str, ...] = ()
    """Places of the diffusion layer, any number of them; empty means the plain Transformer. positions_only, a control
    of after_embedding: the layer smooths the position code before it is added to the token embedding. in_attention and
    in_ffn: it acts on queries, keys and values before they rotate, and on the hidden units before the nonlinearity."""
    stencil: StencilConfig = StencilConfig()
    """The diffusion layer at those places."""
    attention: PDEAttentionConfig = PDEAttentionConfig()
    """The equation that evolves the attention of every block; kind "none" is plain attention."""
    dtype: Literal["float32", "bfloat16"] | str = "float32"
    """Type of the computation; parameters, LayerNorm statistics, diffusion, pooling and logits are float32."""

    def __post_init__(self):
        """Check that the options fit together."""
        self._check_sizes()
        self._check_placements()
        self.attention.check(dropout=self.attention_dropout)
        self.check_choices()
        self._check_positions()
        for name in ("dropout", "attention_dropout"):
            if not 0 <= static_number(name, getattr(self, name)) < 1:
                raise ValueError(f"{name} is a rate in [0, 1), got {getattr(self, name)}; 0 switches it off.")

    def _check_sizes(self) -> None:
        optional = ("head_width", "classifier_width")
        for name in ("vocabulary", "width", "layers", "heads", "ffn", "max_len", "classes", *optional):
            value = getattr(self, name)
            if value is None and name in optional:
                continue
            if not isinstance(value, int | np.integer) or isinstance(value, bool) or value < 1:
                raise ValueError(f"{name} must be at least 1, got {value!r}; choose a positive integer.")
        if self.head_width is None and self.width % self.heads:
            raise ValueError(
                f"width must be divisible by heads, got width={self.width} and heads={self.heads}; "
                f"change one of them or set head_width."
            )
        if self.positions == "sinusoidal" and self.width % 2:
            raise ValueError(
                f"sinusoidal positions come in pairs and need an even width, got {self.width}; "
                f"use width={self.width + 1} or positions='learned'."
            )

    def _check_positions(self) -> None:
        if self.attention.kind != "none" and self.mixer != "attention":
            raise ValueError(
                f"an equation evolves the weights of mixer 'attention', got mixer {self.mixer!r} with kind "
                f"{self.attention.kind!r}; drop one of them, or use its own options window and base."
            )
        if self.attention.kind != "none" and self.positions == "alibi":
            raise ValueError(
                f"evolved attention has no bias of the scores, got positions 'alibi' with kind "
                f"{self.attention.kind!r}; use positions='rotary' or 'sinusoidal', or kind 'none'."
            )
        if self.positions == "rotary" and (self.query_width // self.heads) % 2:
            raise ValueError(
                f"rotary positions rotate pairs of channels and need an even head width, got "
                f"{self.query_width // self.heads}; set head_width or use another code."
            )
        if POSITIONS_ONLY in self.placements and self.positions not in ("sinusoidal", "learned"):
            raise ValueError(
                f"placement {POSITIONS_ONLY!r} smooths a code that is added to the embedding, got positions "
                f"{self.positions!r}; use positions='sinusoidal' or 'learned'."
            )

    @property
    def hooks(self) -> tuple[str, ...]:
        """The placements inside the blocks."""
        return tuple(name for name in self.placements if name not in ("after_embedding", POSITIONS_ONLY))

    def hook_width(self, site: str) -> int:
        """Return the channels of the diffusion layer at a place inside the blocks.

        Args:
            site: one of `hooks`.

        Returns:
            D at the places of the residual stream and of a sublayer; 3 N H at in_attention; the ffn width at in_ffn.
        """
        return {"in_attention": 3 * self.query_width, "in_ffn": self.ffn}.get(site, self.width)

    def _check_placements(self) -> None:
        places = *PLACEMENTS, *INNER_PLACEMENTS, POSITIONS_ONLY
        for name in self.placements:
            if name not in places:
                matches = get_close_matches(str(name), places, n=1)
                hint = f"did you mean {matches[0]!r}?" if matches else "choose among them."
                raise ValueError(f"a placement is one of {', '.join(places)}, got {name!r}; {hint}")
        if len(set(self.placements)) < len(self.placements):
            raise ValueError(f"each placement stands once, got {self.placements}; drop the repeated ones.")
        if "in_attention" in self.placements and self.mixer == "lru":
            raise ValueError(
                "in_attention acts on queries, keys and values, got mixer 'lru', which has none; drop the place or use "
                "mixer='attention'."
            )
        if self.placements:
            self.stencil.build(self.width)
