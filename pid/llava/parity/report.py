"""Check a checkpoint: its keys and config, its answer to a prompt, and every layer against eager torch.

    python -m pid.llava verify FOLDER

V vocabulary, L layers
"""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import tyro
from flax import nnx

from pid.llava.checkpoint.key_mapping import canonical_key, is_buffer, layout, unused_keys
from pid.llava.checkpoint.loading import load, stored_config
from pid.llava.checkpoint.safetensors_header import read_header
from pid.llava.checkpoint.weight_files import weight_files
from pid.llava.config import LlavaConfig, read_config
from pid.llava.knockout import Knockout
from pid.llava.model.llava import Llava, forward
from pid.llava.parity.fixed_prompt import ModelStates, ParityPrompt, parity_prompt, read_tokenizer
from pid.llava.partitioning import MeshShape

CRITERION = 2.5e-5
"""Largest difference of a layer from torch that passes: max|difference| / max|entry|, both in float32."""
NOT_COMPARED = " of names, shapes and finite numbers; the layers were not compared with torch"
POINTS = ("residual", "final", "logits")


@dataclass(frozen=True)
class Verify:
    """Check a LLaVA checkpoint: keys and config, the answer to a fixed prompt, and every layer against torch.

    Prints a report, and ends with PASS (exit status 0) or FAIL (exit status 1). Without torch, PASS says that the
    layers were not compared.
    """

    path: tyro.conf.Positional[Path]
    """A Hugging Face folder of LLaVA-1.5 or LLaVA-1.6: config.json and safetensors."""
    against_torch: bool | None = None
    """Compare every layer with Hugging Face's torch model. Default: yes if torch is installed and dtype is float32."""
    dtype: Literal["float32", "bfloat16"] = "float32"
    """Dtype of parameters and computation."""
    top: int = 5
    """Number of most likely next tokens to print."""
    mesh: MeshShape = field(default_factory=MeshShape)
    """Devices to compute on."""
    cache: Path | None = None
    """Folder for the converted weights, so that the next load is faster."""

    def __post_init__(self) -> None:
        """Check that the comparison with torch is possible."""
        if self.against_torch and self.dtype != "float32":
            raise ValueError(
                f"layers are compared with torch in float32, got dtype={self.dtype}; use --dtype float32 or "
                f"--against-torch False."
            )
        if self.against_torch and not has_torch():
            raise ValueError(
                "layers are compared with torch where it is installed, got none; run pip install "
                "'pdeformer[reference]', or use --against-torch False."
            )

    @property
    def compares(self) -> bool:
        """Whether every layer is compared with torch."""
        default = has_torch() and self.dtype == "float32"
        return default if self.against_torch is None else self.against_torch


def has_torch() -> bool:
    """Whether torch is installed."""
    return find_spec("torch") is not None


# The content of the folder


def describe_folder(path: Path, config: LlavaConfig) -> Iterator[str]:
    """Yield lines about a folder: sizes, constants, the layout of its keys, and the keys that are not computed."""
    vision, text = config.vision, config.text
    keys = [key for file in weight_files(path) for key in read_header(file).byte_ranges]
    unused = unused_keys(map(canonical_key, keys), depth=vision.depth, tie_embeddings=text.tie_embeddings)
    unused |= set(filter(is_buffer, keys))
    family = "LLaVA-1.5" if config.pinpoints is None else f"LLaVA-1.6, resolutions {config.pinpoints}"
    yield f"family       {family}"
    yield (
        f"vision       {vision.depth} blocks computed, width {vision.hidden_size}, {vision.num_heads} heads, "
        f"{vision.patches} patches of {vision.patch_size} pixels, {vision.activation}, eps {vision.norm_eps:g}"
    )
    yield (
        f"language     {text.num_layers} layers, width {text.hidden_size}, feed-forward {text.mlp_dim}, "
        f"{text.num_heads} heads, {text.num_kv_heads} key and value heads of {text.head_dim}, "
        f"vocabulary {text.vocab_size}{', tied' if text.tie_embeddings else ''}"
    )
    yield f"constants    eps {text.norm_eps:g}, theta {text.rope_theta:g}, image token {config.image_token}"
    yield f"keys         {len(keys)} in the layout {layout(keys)!r}"
    parts = Counter(".".join(key.split(".")[:4]) for key in sorted(unused))
    yield f"not computed {', '.join(f'{part} ({count})' for part, count in parts.items()) or 'none'}"


# The answer of the model


def run_flax(model: Llava, prompt: ParityPrompt) -> ModelStates:
    """Run the prompt through our model, with matrix products in full precision."""
    tiles = prompt.pixel_values.reshape(-1, *prompt.pixel_values.shape[-3:])
    graphdef, params = nnx.split(model.vision)
    vision_states = jax.jit(lambda params, tiles: nnx.merge(graphdef, params).states(tiles))

    def states(knockouts: tuple[Knockout, ...]) -> dict[str, np.ndarray]:
        output = forward(model, **prompt._asdict(), knockouts=knockouts)
        return {name: np.asarray(getattr(output, name)) for name in POINTS}

    with jax.default_matmul_precision("highest"):
        return ModelStates(np.asarray(vision_states(params, tiles)), states(()), states((Knockout("all"),)))


def top_tokens(logits: np.ndarray, tokenizer: Any | None, top: int) -> Iterator[str]:
    """Yield a line for each of the most likely next tokens by logits (V,): probability, id, and text if known."""
    probabilities = np.asarray(jax.nn.softmax(jnp.asarray(logits)))
    for token in np.argsort(-probabilities)[:top]:
        text = "" if tokenizer is None else f"  {tokenizer.decode([int(token)])!r}"
        yield f"  {probabilities[token]:8.4f}  {token:6d}{text}"


def is_finite(states: ModelStates) -> bool:
    """Whether every state and logit is finite."""
    return all(bool(np.isfinite(array).all()) for array in jax.tree.leaves(states))


# The comparison with torch


class Difference(NamedTuple):
    """The relative difference of one layer from torch: max|difference| / max|entry|."""

    point: str
    """The layer."""
    baseline: float
    """The difference without a knockout."""
    knockout: float | None
    """The difference with Image→Question attention removed. None for the vision tower, which has no knockouts."""

    @property
    def passes(self) -> bool:
        """Whether both differences are within the criterion; NaN is not."""
        return self.baseline <= CRITERION and (self.knockout is None or self.knockout <= CRITERION)


def distance(ours: np.ndarray, theirs: np.ndarray) -> float:
    """The relative difference max|ours - theirs| / max|theirs|."""
    return float(np.abs(ours - theirs).max() / np.abs(theirs).max())


def differences(ours: ModelStates, theirs: ModelStates) -> list[Difference]:
    """The difference of every layer of ours from the same layer of theirs, whose vision tower may be deeper."""
    rows = [
        Difference(f"vision {layer}", distance(state, theirs.vision[layer]), None)
        for layer, state in enumerate(ours.vision)
    ]
    runs = ((ours.baseline, theirs.baseline), (ours.knockout, theirs.knockout))
    for layer in range(len(ours.baseline["residual"])):
        pair = (distance(our["residual"][layer], their["residual"][layer]) for our, their in runs)
        rows.append(Difference(f"residual {layer}", *pair))
    for name in ("final", "logits"):
        pair = (distance(our[name], their[name]) for our, their in runs)
        rows.append(Difference(name, *pair))
    return rows


def table(rows: list[Difference]) -> Iterator[str]:
    """Yield the lines of the table of differences by layer."""
    yield f"  {'':12s}  {'baseline':>9s}  {'knockout':>9s}"
    for row in rows:
        knockout = "" if row.knockout is None else f"{row.knockout:.2e}"
        yield f"  {row.point:12s}  {row.baseline:9.2e}  {knockout:>9s}  {'pass' if row.passes else 'FAIL'}"


# The report


def describe_model(command: Verify) -> tuple[ParityPrompt, ModelStates]:
    """Load the folder, print its content and the model's answer, and return the prompt and the states.

    Raises:
        FileNotFoundError: a file is missing.
        ValueError: this port does not compute the model of the folder, or a file is damaged.
    """
    dtype = jnp.dtype(command.dtype)
    config = stored_config(command.path, dtype=dtype)
    print(*describe_folder(command.path, config), sep="\n")
    if config != read_config(command.path):
        print(
            "output map   stored with other values than the embedding and used, though config.json ties them"
        )
    mesh = None if command.mesh == MeshShape() else command.mesh.concrete()
    model = load(command.path, dtype=dtype, mesh=mesh, cache=command.cache)
    count = sum(leaf.size for leaf in jax.tree.leaves(nnx.state(model)))
    print(f"parameters   {count:,}, every one with its tensor, in {command.dtype}")
    tokenizer = read_tokenizer(command.path)
    prompt = parity_prompt(config, tokenizer)
    states = run_flax(model, prompt)
    source = "fixed ids" if tokenizer is None else "the tokenizer of the folder"
    print(f"prompt       {prompt.input_ids.shape[1]} tokens by {source}; most likely next tokens:")
    print(*top_tokens(states.baseline["logits"][0, -1], tokenizer, command.top), sep="\n")
    return prompt, states


def compare_with_torch(path: Path, prompt: ParityPrompt, states: ModelStates) -> bool:
    """Print the difference of every layer from torch and return whether all are within the criterion."""
    from pid.llava.parity.torch_reference import run_torch  # imported here, because it needs torch

    rows = differences(states, run_torch(path, prompt))
    print(f"torch        max|difference| / max|entry|, at most {CRITERION:g}:", *table(rows), sep="\n")
    return all(row.passes for row in rows)


def verify(command: Verify) -> bool:
    """Print the report of a checkpoint and return whether it passed."""
    try:
        prompt, states = describe_model(command)
    except (FileNotFoundError, ValueError) as error:
        print(f"FAIL: {error}")
        return False
    passes = is_finite(states)
    print(
        "finite       every state and logit" if passes else "finite       no: some states or logits are not"
    )
    if command.compares:
        passes &= compare_with_torch(command.path, prompt, states)
    else:
        print("torch        not compared")
    print(f"PASS{'' if command.compares else NOT_COMPARED}" if passes else "FAIL")
    return passes
