"""Load official PyTorch checkpoints: every name and shape is checked, and no array is ignored.

D channels, F feed-forward width, S steps, V vocabulary, C classes
"""

import re
from collections.abc import Mapping
from typing import Any, TypeAlias

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from pdeformer.cta.encoder import LAYER_SHAPES
from pdeformer.cta.layer import WITH_BETA, Kind, check_kind
from pdeformer.cta.models import OfficialClassifier, OfficialLM
from pdeformer.cta.official_weights import Weights

StateDict: TypeAlias = Mapping[str, Any]
"""Map from PyTorch name to array."""


def load_classifier(state_dict: StateDict, *, kind: Kind | str | None, heads: int) -> OfficialClassifier:
    """Make the official classifier from a PyTorch checkpoint.

    Args:
        state_dict: arrays under the PyTorch names: `embedding.weight`, `pos_encoder`, `fc.weight`, `fc.bias`,
            `transformer_layers.{i}.…` and, per layer and step, `pde_layers.{i}.{s}.alpha` and `.beta`. All
            sizes follow from it. No name may be missing, and no other name may be present.
        kind: the PDE of the layers, as in `refine`. None: the baseline (`transformer.layers.{i}.…`), or a model
            without PDE steps. The weights do not show whether they are of diffusion or wave, nor whether they are
            of reaction or advection.
        heads: number of attention heads; it divides the width.

    Returns:
        A model called as `model(input_ids, attention_mask) -> logits (B, C)`, with parameters in at least float32.

    Raises:
        ValueError: a name is missing, left over or of the wrong shape, or the heads do not divide the width.

    Example:
        >>> import numpy as np
        >>> from pdeformer import cta
        >>> sizes = {"D": 4, "3D": 12, "F": 8}
        >>> state = {
        ...     f"transformer.layers.0.{name}": np.zeros([sizes[letter] for letter in letters.split()])
        ...     for name, letters in cta.LAYER_SHAPES.items()
        ... }
        >>> state |= {"embedding.weight": np.zeros((11, 4)), "pos_encoder": np.zeros((1, 16, 4))}
        >>> state |= {"fc.weight": np.zeros((3, 4)), "fc.bias": np.zeros(3)}
        >>> model = cta.load_classifier(state, kind=None, heads=2)
        >>> model(np.zeros((2, 5), int), np.ones((2, 5), int)).shape
        (2, 3)
    """
    return OfficialClassifier(parse_state_dict(state_dict, kind), kind=kind, heads=heads)


def load_lm(state_dict: StateDict, *, kind: Kind | str | None, heads: int, causal: bool = True) -> OfficialLM:
    """Make the official language model from a PyTorch checkpoint.

    Attention and PDE steps are causal by default. The head `fc` (V, D) is not tied to the embedding.

    Args:
        state_dict: as in `load_classifier`; `fc` has one row per token id.
        kind: as in `load_classifier`.
        heads: number of attention heads; it divides the width.
        causal: False is the first public code, which had neither a causal mask nor causal steps.

    Returns:
        A model called as `model(input_ids, attention_mask) -> logits (B, L, V)`.

    Raises:
        ValueError: as in `load_classifier`, or the head does not have exactly one row per token id.

    Example:
        >>> import numpy as np
        >>> from pdeformer import cta
        >>> sizes = {"D": 4, "3D": 12, "F": 8}
        >>> state = {
        ...     f"transformer.layers.0.{name}": np.zeros([sizes[letter] for letter in letters.split()])
        ...     for name, letters in cta.LAYER_SHAPES.items()
        ... }
        >>> state |= {"embedding.weight": np.zeros((11, 4)), "pos_encoder": np.zeros((1, 16, 4))}
        >>> state |= {"fc.weight": np.zeros((11, 4)), "fc.bias": np.zeros(11)}
        >>> cta.load_lm(state, kind=None, heads=2)(np.zeros((2, 5), int)).shape
        (2, 5, 11)
    """
    weights = parse_state_dict(state_dict, kind)
    vocabulary, outputs = weights.embedding.shape[0], weights.fc["weight"].shape[0]
    if vocabulary != outputs:
        raise ValueError(
            f"a language model has one output per word, got fc.weight with {outputs} rows for {vocabulary} "
            "words; use load_classifier."
        )
    return OfficialLM(weights, kind=kind, heads=heads, causal=causal)


def parse_state_dict(state_dict: StateDict, kind: Kind | str | None) -> Weights:
    """Check every name of the checkpoint, and stack its layers, in at least float32."""
    if kind is not None:
        check_kind(kind)
    prefix = _layer_prefix(state_dict, kind)
    layers = [f"{prefix}.{i}" for i in range(_count(state_dict, rf"{re.escape(prefix)}\.(\d+)\."))]
    steps = 0 if kind is None else _count(state_dict, r"pde_layers\.\d+\.(\d+)\.")
    coefficients = ("alpha", "beta")[: 0 if kind is None else 1 + (kind in WITH_BETA)]
    _check_names(state_dict, layers, steps, coefficients, kind)
    _check_shapes(state_dict, layers)

    def array(name: str) -> Array:
        values = jnp.asarray(np.asarray(state_dict[name]))
        return values.astype(jnp.promote_types(values.dtype, jnp.float32))

    def coefficients_of(i: int, name: str) -> Array:
        return jnp.concatenate([array(f"pde_layers.{i}.{s}.{name}") for s in range(steps)])

    return Weights(
        embedding=array("embedding.weight"),
        positions=array("pos_encoder"),
        layers={name: jnp.stack([array(f"{layer}.{name}") for layer in layers]) for name in LAYER_SHAPES},
        steps={
            name: jnp.stack([coefficients_of(i, name) for i in range(len(layers))]) for name in coefficients
        },
        fc={name: array(f"fc.{name}") for name in ("weight", "bias")},
    )


def _layer_prefix(state_dict: StateDict, kind: str | None) -> str:
    baseline = "transformer.layers"
    is_baseline = kind is None and any(name.startswith(baseline) for name in state_dict)
    return baseline if is_baseline else "transformer_layers"


def _count(state_dict: StateDict, pattern: str) -> int:
    """Return one more than the largest index, but at least 1, so that absent names are reported as missing."""
    matches = (re.match(pattern, name) for name in state_dict)
    return 1 + max((int(match.group(1)) for match in matches if match), default=0)


def _check_names(
    state_dict: StateDict, layers: list[str], steps: int, coefficients: tuple[str, ...], kind: str | None
) -> None:
    expected = ["embedding.weight", "pos_encoder", "fc.weight", "fc.bias"]
    expected += [f"{layer}.{name}" for layer in layers for name in LAYER_SHAPES]
    expected += [
        f"pde_layers.{i}.{s}.{name}"
        for i in range(len(layers))
        for s in range(steps)
        for name in coefficients
    ]
    missing, excess = sorted(set(expected) - set(state_dict)), sorted(set(state_dict) - set(expected))
    if missing or excess:
        raise ValueError(
            f"a checkpoint of kind {kind!r} with {len(layers)} layers of {steps} PDE steps needs exactly its "
            f"own names, got missing: {_join_names(missing)}; left over: {_join_names(excess)}; check kind (None "
            "has no PDE steps) and pass the model's state_dict() alone."
        )


def _check_shapes(state_dict: StateDict, layers: list[str]) -> None:
    def size(name: str, axis: int) -> int:
        shape = np.shape(state_dict[name])
        return shape[axis] if len(shape) > axis else 0

    width, ffn = size("embedding.weight", 1), size(f"{layers[0]}.linear1.weight", 0)
    sizes = {"D": width, "3D": 3 * width, "F": ffn}
    expected: dict[str, tuple[int, ...]] = {
        "embedding.weight": (size("embedding.weight", 0), width),
        "pos_encoder": (1, size("pos_encoder", 1), width),
        "fc.weight": (size("fc.weight", 0), width),
        "fc.bias": (size("fc.weight", 0),),
    }
    for layer in layers:
        for name, letters in LAYER_SHAPES.items():
            expected[f"{layer}.{name}"] = tuple(sizes[letter] for letter in letters.split())
    for name, value in state_dict.items():
        shape, dtype = expected.get(name, (1,)), np.asarray(value).dtype
        if np.shape(value) != shape:
            raise ValueError(
                f"{name} should have the shape {shape} beside embedding.weight of width {width}, got "
                f"{np.shape(value)}; the checkpoint is damaged or of another model."
            )
        if not jnp.issubdtype(dtype, jnp.floating):
            raise ValueError(f"{name} should hold real floating numbers, got {dtype}; export it as float32.")


def _join_names(names: list[str]) -> str:
    first = ", ".join(names[:8]) or "none"
    return f"{first} and {len(names) - 8} more" if len(names) > 8 else first
