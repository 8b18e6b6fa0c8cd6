"""Weights of a simulation: those of `pdeformer.model.Block`, so that a simulation and a model can exchange them.

L layers
"""

from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Key

from pdeformer.model import ModelConfig
from pdeformer.model.block import Block, named_key
from pdeformer.simulator.config import Number, SimulatorConfig


@partial(jax.tree_util.register_dataclass, data_fields=("params",), meta_fields=("graphdef",))
@dataclass(frozen=True)
class SimulatorWeights:
    """Weights of all layers as a pytree of arrays."""

    params: Any
    """Parameters of `Block`; every array has a leading layer axis, unless all layers share their weights."""
    graphdef: Any
    """The structure of `Block` without its parameters."""

    def block(self) -> Block:
        """Return the block of one layer, whose parameters have no layer axis."""
        return nnx.merge(self.graphdef, self.params)

    def layer(self, index: int | Array) -> "SimulatorWeights":
        """Return the weights of layer `index`."""
        return SimulatorWeights(jax.tree.map(lambda x: x[index], self.params), self.graphdef)


def init_weights(config: SimulatorConfig, key: Key[Array, ""], *, gain: Number = 1.0) -> SimulatorWeights:
    """Draw weights: matrices are Xavier-uniform times `gain`, biases 0, scales of LayerNorm 1.

    Args:
        config: sizes, and whether the layers share their weights.
        key: random key. Layer l has the same weights for every number of layers.
        gain: factor of every matrix; it may be traced.

    Returns:
        Weights for `simulate`.

    Example:
        >>> import jax
        >>> config = SimulatorConfig(layers=3, width=8, heads=2, ffn=16)
        >>> weights = init_weights(config, jax.random.key(0))
        >>> jax.tree.leaves(weights)[0].shape[0]
        3
    """
    model = ModelConfig(
        width=config.width,
        heads=config.heads,
        ffn=config.ffn,
        activation=config.activation,
        norm="post" if config.norm == "post" else "pre",
        dropout=0.0,
        attention_dropout=0.0,
    )

    def make(key: Key[Array, ""]) -> Block:
        return Block(model, key, causal=config.causal)

    if config.shared:
        blocks = make(named_key(key, "shared"))
    else:
        layers = jax.vmap(jax.random.fold_in, (None, 0))(named_key(key, "blocks"), jnp.arange(config.layers))
        blocks = nnx.vmap(make)(layers)
    graphdef, params = nnx.split(blocks)

    def scale(path: tuple[Any, ...], x: Array) -> Array:
        is_matrix = any(getattr(entry, "key", None) == "kernel" for entry in path)
        return x * gain if is_matrix else x

    return SimulatorWeights(jax.tree_util.tree_map_with_path(scale, params), graphdef)


def weights_of(blocks: Block) -> SimulatorWeights:
    """Return the weights of the blocks of a model, `model.blocks`.

    With them a simulation of the model's norm, with dt = 1 and the other defaults, is the model's stack of blocks.

    Args:
        blocks: a stack of blocks with a leading layer axis, as every model of this package has.

    Returns:
        Weights for `simulate`. Attention that a PDE evolves is part of them.

    Raises:
        ValueError: the blocks have diffusion layers at places where the simulator has none, or another mixer than
            attention to all tokens.

    Example:
        >>> from flax import nnx
        >>> from pdeformer import Classifier, ModelConfig
        >>> model = Classifier(ModelConfig(16, width=8, heads=2), rngs=nnx.Rngs(0))
        >>> jax.tree.leaves(weights_of(model.blocks))[0].shape[0]
        2
    """
    if blocks.hooks:
        raise ValueError(
            f"the simulator has its own diffusion and no places for layers, got blocks with {blocks.hooks}; "
            f"give the diffusivity as Coefficients(diffusion=...)."
        )
    if not blocks.attention.has_plain_scores:
        raise ValueError(
            "the simulator measures attention as softmax of q·k over all tokens, got blocks with a window, a bias, "
            "random features or a recurrence; use mixer='attention' and positions other than 'alibi'."
        )
    graphdef, params = nnx.split(blocks)
    return SimulatorWeights(params, graphdef)
