"""The official weights: what a checkpoint holds, and initial ones as PyTorch draws them.

D channels, F feed-forward width, S steps, V vocabulary, C classes
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from pdeformer.cta.encoder import LAYER_SHAPES
from pdeformer.cta.layer import Kind, check_kind
from pdeformer.stencil.arguments import check_integer

INITIAL_COEFFICIENTS = {
    "diffusion": {"alpha": 0.10},
    "wave": {"alpha": 0.15},
    "reaction-diffusion": {"alpha": 0.10, "beta": 0.02},
    "advection-diffusion": {"alpha": 0.10, "beta": 0.03},
}
"""Map from equation to the official initial values of its coefficients."""


class Weights(NamedTuple):
    """A checkpoint under its PyTorch names, with the layers stacked.

    Example:
        >>> from pdeformer import cta
        >>> cta.Weights._fields
        ('embedding', 'positions', 'layers', 'steps', 'fc')
    """

    embedding: Float[Array, "v d"]
    """Token embedding (V, D)."""
    positions: Float[Array, "1 m d"]
    """Learned positions (1, longest sequence, D)."""
    layers: dict[str, Array]
    """Map from a name within an encoder layer (`LAYER_SHAPES`) to the weights of all layers, stacked on axis 0."""
    steps: dict[str, Array]
    """Map from "alpha" and, if the equation has it, "beta" to one coefficient per layer and step, (layers, S)."""
    fc: dict[str, Array]
    """The head: "weight" (C, D), or (V, D) in a language model, and "bias"."""


def init_weights(
    key: PRNGKeyArray,
    *,
    vocabulary: int,
    outputs: int,
    length: int,
    width: int = 128,
    ffn: int = 256,
    layers: int = 2,
    kind: Kind | str | None = None,
    steps: int = 1,
    identical_layers: bool = False,
) -> Weights:
    """Draw initial weights of an official model from the distributions of PyTorch.

    Embeddings and positions come from N(0, 1). The fused QKV matrix is uniform within √(1.5/D) (Xavier), all other
    matrices and their biases within 1/√fan_in. The two biases of attention are 0, and the norms are the identity. The
    layers are independent. The coefficients of every step are `INITIAL_COEFFICIENTS`.

    Args:
        key: random key; equal keys and sizes give equal weights, whatever the kind.
        vocabulary: number V of token ids.
        outputs: number C of classes, or V for a language model.
        length: longest row in tokens.
        width: number D of channels.
        ffn: feed-forward width F.
        layers: number of encoder layers.
        kind: the PDE of the layers, as in `refine`; None: no PDE steps, the baseline.
        steps: number S of PDE steps of a layer; each has coefficients of its own.
        identical_layers: start all layers equal. The official baseline does so, because `nn.TransformerEncoder`
            copies one layer; the official PDE model draws its layers independently.

    Returns:
        The weights, in the default float type.

    Raises:
        ValueError: a size is not a positive integer, or the kind is unknown.

    Example:
        >>> import jax
        >>> from pdeformer import cta
        >>> weights = cta.init_weights(jax.random.key(0), vocabulary=11, outputs=3, length=16, kind="wave", steps=4)
        >>> weights.steps["alpha"].shape, weights.fc["weight"].shape
        ((2, 4), (3, 128))
        >>> model = cta.OfficialClassifier(weights, kind="wave", heads=4)

    Reference:
        Zhang & Zhou, "Continuous-Time Attention", 2025, and its code of March 2026; Glorot & Bengio, AISTATS 2010.
    """
    sizes = {"vocabulary": vocabulary, "outputs": outputs, "length": length, "width": width, "ffn": ffn}
    for name, value in (sizes | {"layers": layers, "steps": steps}).items():
        check_integer(name, value)
    if kind is not None:
        check_kind(kind)
    keys = iter(jax.random.split(key, len(LAYER_SHAPES) + 4))

    def uniform(shape: tuple[int, ...], fan_in: int) -> Array:
        return jax.random.uniform(next(keys), shape, minval=-(fan_in**-0.5), maxval=fan_in**-0.5)

    def stack(name: str, letters: str) -> Array:
        letter_sizes = {"D": width, "3D": 3 * width, "F": ffn}
        shape = (1 if identical_layers else layers, *(letter_sizes[letter] for letter in letters.split()))
        if name.startswith("norm") or (name.startswith("self_attn") and name.endswith("bias")):
            values = (jnp.ones if name in ("norm1.weight", "norm2.weight") else jnp.zeros)(shape)
        elif name == "self_attn.in_proj_weight":
            values = 1.5**0.5 * uniform(shape, width)
        else:
            values = uniform(shape, ffn if name.startswith("linear2") else width)
        return jnp.broadcast_to(values, (layers, *shape[1:]))

    return Weights(
        embedding=jax.random.normal(next(keys), (vocabulary, width)),
        positions=jax.random.normal(next(keys), (1, length, width)),
        layers={name: stack(name, letters) for name, letters in LAYER_SHAPES.items()},
        steps={} if kind is None else initial_coefficients(kind, layers, steps),
        fc={"weight": uniform((outputs, width), width), "bias": uniform((outputs,), width)},
    )


def initial_coefficients(kind: str, layers: int, steps: int) -> dict[str, Array]:
    """Return the initial coefficients of an equation, one per layer and step: name -> (layers, S)."""
    values = INITIAL_COEFFICIENTS[kind]
    return {name: jnp.full((layers, steps), value, jnp.float32) for name, value in values.items()}
