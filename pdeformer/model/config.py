"""`ModelConfig`: the shape of a Transformer, where along it a diffusion layer stands, what evolves its attention."""

from dataclasses import dataclass
from difflib import get_close_matches
from typing import Literal, get_args

from pdeformer.layers import PDEAttentionConfig, StencilConfig

Placement = Literal[
    "after_embedding",
    "before_attention",
    "after_attention",
    "before_ffn",
    "after_ffn",
    "before_norm",
    "between_layers",
]
PLACEMENTS: tuple[str, ...] = get_args(Placement)


@dataclass(frozen=True)
class ModelConfig:
    """Sizes and choices of a model. Contradictions raise ValueError when it is built."""

    vocabulary: int = 32
    """Number of token ids, padding included."""
    width: int = 64
    """Channels D of the residual stream."""
    layers: int = 2
    """Number of blocks L."""
    heads: int = 2
    """Attention heads N."""
    head_width: int | None = None
    """Width H of one head; None is width / heads."""
    ffn: int = 128
    """Hidden width of the feed-forward sublayer."""
    max_len: int = 2048
    """Longest sequence in tokens, a CLS token not counted."""
    classes: int = 10
    """Number of classes of Classifier and Matcher."""
    classifier_width: int | None = None
    """Hidden width between pooled features and logits; None is one linear map (Matcher: the ffn width)."""
    norm: Literal["pre", "post"] | str = "pre"
    """LayerNorm before each sublayer, and once before the head, or after each residual add."""
    positions: Literal["sinusoidal", "learned"] | str = "sinusoidal"
    """Position code added to the embedding; a position is the number of earlier tokens of its segment."""
    pooling: Literal["mean", "cls"] | str = "mean"
    """Mean over valid tokens, or a learned CLS token put in front (one segment per row)."""
    dropout: float = 0.1
    """Rate after the embedding, inside the feed-forward sublayer and after each sublayer."""
    attention_dropout: float = 0.1
    """Rate on the attention weights."""
    attention_bias: bool = False
    """Biases in the query, key, value and output maps."""
    activation: Literal["gelu", "relu"] | str = "gelu"
    """Nonlinearity of the feed-forward sublayer and of the classifier."""
    placements: tuple[Placement | str, ...] = ()
    """Where the diffusion layer stands, any number of places; none is the plain Transformer."""
    stencil: StencilConfig = StencilConfig()
    """The diffusion layer of those places."""
    attention: PDEAttentionConfig = PDEAttentionConfig()
    """The equation that evolves the attention of every block; none is plain attention."""
    dtype: Literal["float32", "bfloat16"] | str = "float32"
    """Type of the computation; parameters, LayerNorm statistics, diffusion, pooling, logits are float32."""
    remat: bool = False
    """Recompute each block in the backward pass: memory of one block, at the price of a forward pass."""

    def __post_init__(self):
        self._check_sizes()
        self._check_placements()
        self.attention.check(dropout=self.attention_dropout)
        for name in ("norm", "positions", "pooling", "activation", "dtype"):
            choices = get_args(get_args(ModelConfig.__annotations__[name])[0])
            if getattr(self, name) not in choices:
                raise ValueError(
                    f"{name} is one of {', '.join(choices)}, got {getattr(self, name)!r}; choose one."
                )
        for name in ("dropout", "attention_dropout"):
            if not 0 <= getattr(self, name) < 1:
                raise ValueError(f"{name} is a rate in [0, 1), got {getattr(self, name)}; 0 switches it off.")

    def _check_sizes(self) -> None:
        optional = ("head_width", "classifier_width")
        for name in ("vocabulary", "width", "layers", "heads", "ffn", "max_len", "classes", *optional):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ValueError(f"{name} must be at least 1, got {value}; choose a positive {name}.")
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

    def _check_placements(self) -> None:
        for name in self.placements:
            if name not in PLACEMENTS:
                near = get_close_matches(str(name), PLACEMENTS, n=1)
                hint = f"did you mean {near[0]!r}?" if near else "choose among them."
                raise ValueError(f"a placement is one of {', '.join(PLACEMENTS)}, got {name!r}; {hint}")
        if len(set(self.placements)) < len(self.placements):
            raise ValueError(f"each placement stands once, got {self.placements}; drop the repeated ones.")
        if self.placements:
            self.stencil.build(self.width)

    @property
    def query_width(self) -> int:
        """N·H, the width of all heads together."""
        return self.heads * (self.head_width or self.width // self.heads)
