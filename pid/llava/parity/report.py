"""Whether a checkpoint is one that this port computes: its parts, a prompt, and every layer beside eager torch.

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

from pid.llava.checkpoint.key_mapping import canon, is_buffer, layout, not_needed
from pid.llava.checkpoint.loading import load
from pid.llava.checkpoint.safetensors_io import read_header, weight_files
from pid.llava.config import LlavaConfig, read_config
from pid.llava.knockout import Knockout
from pid.llava.model.llava import Llava, forward
from pid.llava.parity.fixed_prompt import Probe, Seen, probe, read_tokenizer
from pid.llava.partitioning import MeshShape

CRITERION = 2.5e-5
"""How far a layer may be from torch: max|difference| / max|entry|, both in float32."""
POINTS = ("residual", "final", "logits")


@dataclass(frozen=True)
class Verify:
    """Check a checkpoint: keys and config, a fixed prompt, and every layer beside Hugging Face's eager torch.

    Raises:
        ValueError: a comparison with torch in bfloat16, or without torch.
    """

    path: tyro.conf.Positional[Path]
    """A Hugging Face folder: config.json and safetensors."""
    against_torch: bool | None = None
    """Compare every layer with torch; by default where torch is installed and the dtype is float32."""
    dtype: Literal["float32", "bfloat16"] = "float32"
    """Of parameters and computation."""
    top: int = 5
    """How many of the likeliest next tokens to print."""
    mesh: MeshShape = field(default_factory=MeshShape)
    """Where to compute."""
    cache: Path | None = None
    """A folder that keeps the converted weights."""

    def __post_init__(self):
        if self.against_torch and self.dtype != "float32":
            raise ValueError(
                f"layers are compared with torch in float32, got dtype={self.dtype}; use --dtype float32 or "
                f"--no-against-torch."
            )
        if self.against_torch and not has_torch():
            raise ValueError(
                "layers are compared with torch where it is installed, got none; pip install "
                "'pdeformer[reference]', or use --no-against-torch."
            )

    @property
    def compares(self) -> bool:
        """Whether every layer is compared with torch."""
        default = has_torch() and self.dtype == "float32"
        return default if self.against_torch is None else self.against_torch


def has_torch() -> bool:
    """Whether torch is installed."""
    return find_spec("torch") is not None


# What the folder holds


def summary(path: Path, config: LlavaConfig) -> Iterator[str]:
    """Lines about a folder: sizes, constants, the layout of its keys, and which of them are not computed."""
    vision, text = config.vision, config.text
    keys = [key for file in weight_files(path) for key in read_header(file).spans]
    skipped = not_needed(map(canon, keys), depth=vision.depth, tied=text.tied) | set(filter(is_buffer, keys))
    family = "LLaVA-1.5" if config.pinpoints is None else f"LLaVA-1.6, resolutions {config.pinpoints}"
    yield f"family       {family}"
    yield (
        f"vision       {vision.depth} blocks computed, width {vision.width}, {vision.heads} heads, "
        f"{vision.patches} patches of {vision.patch_size} pixels, {vision.activation}, eps {vision.eps:g}"
    )
    yield (
        f"language     {text.layers} layers, width {text.width}, feed-forward {text.ffn}, {text.heads} heads, "
        f"{text.kv_heads} key and value heads of {text.head_width}, vocabulary {text.vocabulary}"
        f"{', tied' if text.tied else ''}"
    )
    yield f"constants    eps {text.eps:g}, theta {text.theta:g}, image token {config.image_token}"
    yield f"keys         {len(keys)} in the layout {layout(keys)!r}"
    parts = Counter(".".join(key.split(".")[:4]) for key in sorted(skipped))
    yield f"not computed {', '.join(f'{part} ({count})' for part, count in parts.items()) or 'none'}"


# What it answers


def run_ours(model: Llava, prompt: Probe) -> Seen:
    """The probe through our model, matrix products in full precision."""
    tiles = prompt.pixel_values.reshape(-1, *prompt.pixel_values.shape[-3:])
    graphdef, params = nnx.split(model.vision)
    states = jax.jit(lambda params, tiles: nnx.merge(graphdef, params).states(tiles))

    def observe(knockouts: tuple[Knockout, ...]) -> dict[str, np.ndarray]:
        output = forward(model, **prompt._asdict(), knockouts=knockouts)
        return {name: np.asarray(getattr(output, name)) for name in POINTS}

    with jax.default_matmul_precision("highest"):
        return Seen(np.asarray(states(params, tiles)), observe(()), observe((Knockout("all"),)))


def answers(logits: np.ndarray, tokenizer: Any | None, top: int) -> Iterator[str]:
    """Lines about the likeliest next tokens by logits (V,): probability, id and, with a tokenizer, text."""
    chances = np.asarray(jax.nn.softmax(jnp.asarray(logits)))
    for token in np.argsort(-chances)[:top]:
        text = "" if tokenizer is None else f"  {tokenizer.decode([int(token)])!r}"
        yield f"  {chances[token]:8.4f}  {token:6d}{text}"


def is_finite(seen: Seen) -> bool:
    """Whether every state and logit is."""
    return all(bool(np.isfinite(array).all()) for array in jax.tree.leaves(seen))


# Beside torch


class Difference(NamedTuple):
    """How far one layer is from torch, max|difference| / max|entry|."""

    point: str
    """Which layer."""
    plain: float
    """In the run as it is."""
    cut: float | None
    """In the run in which the question does not see the image; None for the vision tower, where nothing is cut."""

    @property
    def passes(self) -> bool:
        """Whether both are within the criterion; what is not finite is not."""
        return self.plain <= CRITERION and (self.cut is None or self.cut <= CRITERION)


def distance(ours: np.ndarray, theirs: np.ndarray) -> float:
    """max|ours - theirs| / max|theirs|."""
    return float(np.abs(ours - theirs).max() / np.abs(theirs).max())


def differences(ours: Seen, theirs: Seen) -> list[Difference]:
    """Every layer of ours beside theirs, whose vision tower may be deeper."""
    found = [
        Difference(f"vision {at}", distance(state, theirs.tower[at]), None)
        for at, state in enumerate(ours.tower)
    ]
    runs = ((ours.plain, theirs.plain), (ours.cut, theirs.cut))
    for at in range(len(ours.plain["residual"])):
        pair = (distance(our["residual"][at], their["residual"][at]) for our, their in runs)
        found.append(Difference(f"residual {at}", *pair))
    for name in ("final", "logits"):
        pair = (distance(our[name], their[name]) for our, their in runs)
        found.append(Difference(name, *pair))
    return found


def table(found: list[Difference]) -> Iterator[str]:
    """The differences by layer, as lines."""
    yield f"  {'':12s}  {'plain':>9s}  {'image cut':>9s}"
    for row in found:
        cut = "" if row.cut is None else f"{row.cut:.2e}"
        yield f"  {row.point:12s}  {row.plain:9.2e}  {cut:>9s}  {'pass' if row.passes else 'FAIL'}"


# All of it


def answer(asked: Verify) -> tuple[Probe, Seen]:
    """Load the folder, print what it holds and answers, and give the probe and what was seen.

    Raises:
        FileNotFoundError: a file is missing.
        ValueError: the folder is not one that this port computes.
    """
    config = read_config(asked.path)
    print(*summary(asked.path, config), sep="\n")
    mesh = None if asked.mesh == MeshShape() else asked.mesh.concrete()
    model = load(asked.path, dtype=jnp.dtype(asked.dtype), mesh=mesh, cache=asked.cache)
    count = sum(leaf.size for leaf in jax.tree.leaves(nnx.state(model)))
    print(f"parameters   {count:,}, every one with its tensor, in {asked.dtype}")
    tokenizer = read_tokenizer(asked.path)
    prompt = probe(config, tokenizer)
    seen = run_ours(model, prompt)
    source = "fixed ids" if tokenizer is None else "the tokenizer of the folder"
    print(f"prompt       {prompt.input_ids.shape[1]} tokens by {source}; likeliest next tokens:")
    print(*answers(seen.plain["logits"][0, -1], tokenizer, asked.top), sep="\n")
    return prompt, seen


def compare(path: Path, prompt: Probe, ours: Seen) -> bool:
    """Print every layer beside torch and tell whether all are within the criterion."""
    from pid.llava.parity.torch_reference import observe_probe  # here, for it needs torch

    found = differences(ours, observe_probe(path, prompt))
    print(f"torch        max|difference| / max|entry|, at most {CRITERION:g}:", *table(found), sep="\n")
    return all(row.passes for row in found)


def verify(asked: Verify) -> bool:
    """Print the report of a checkpoint and tell whether it passed."""
    try:
        prompt, seen = answer(asked)
    except (FileNotFoundError, ValueError) as problem:
        print(f"FAIL: {problem}")
        return False
    passed = is_finite(seen)
    print(
        "finite       every state and logit" if passed else "finite       no: some states or logits are not"
    )
    if asked.compares:
        passed &= compare(asked.path, prompt, seen)
    else:
        print("torch        not compared")
    print("PASS" if passed else "FAIL")
    return passed
