"""Hugging Face's LLaVA in eager torch, with the states of every layer: the reference for our port. Needs torch.

B batch, T tokens, D width, L layers, V vocabulary
"""

# pyright: reportMissingImports=false
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import AutoModelForImageTextToText

from pid.llava.parity.fixed_prompt import ModelStates, ParityPrompt
from pid.llava.tokens import TokenType


def load_reference(path: str | Path) -> Any:
    """The model of a Hugging Face folder in float32, with eager attention."""
    load = AutoModelForImageTextToText.from_pretrained
    return load(path, dtype=torch.float32, attn_implementation="eager").eval()


def as_tensors(batch: Mapping[str, np.ndarray | None]) -> dict[str, torch.Tensor]:
    """Convert a batch to torch tensors: entries that are None are left out, integers become int64."""
    tensors = {key: torch.tensor(value) for key, value in batch.items() if value is not None}
    return {key: value if value.is_floating_point() else value.long() for key, value in tensors.items()}


def knockout_hook(pairs: torch.Tensor) -> Any:
    """Make a hook that runs before attention and removes the edges `pairs` (B, T, T) from its additive mask."""

    def replace(module: Any, args: Any, kwargs: Any) -> tuple[Any, Any]:
        mask = kwargs["attention_mask"]
        kwargs["attention_mask"] = mask.masked_fill(pairs[:, None], torch.finfo(mask.dtype).min)
        return args, kwargs

    return replace


def record_states(
    model: Any,
    decoder: Any,
    inputs: Mapping[str, torch.Tensor],
    pairs: torch.Tensor | None = None,
    layers: Iterable[int] = (),
) -> dict[str, np.ndarray]:
    """Run `model` and record the states of its `decoder`, the module that has the blocks and the last norm.

    Args:
        model: the model, which returns logits.
        decoder: the module with `layers` and `norm`.
        inputs: the arguments of the model.
        pairs: attention edges (B, T, T) to remove.
        layers: the layers in which to remove them.

    Returns:
        `residual` (L+1, B, T, D), the raw residual stream; `final` (B, T, D), after the last norm; `logits` (B, T, V).
        (The last of Hugging Face's own hidden states is `final`, not the raw residual stream.)
    """
    points, final, hooks = [], [], []
    for block in decoder.layers:
        hooks.append(block.register_forward_pre_hook(lambda _, args: points.append(args[0].clone())))
    hooks.append(decoder.layers[-1].register_forward_hook(lambda _, args, out: points.append(out.clone())))
    hooks.append(decoder.norm.register_forward_hook(lambda _, args, out: final.append(out.clone())))
    for layer in layers:
        attention = decoder.layers[layer].self_attn
        hooks.append(attention.register_forward_pre_hook(knockout_hook(pairs), with_kwargs=True))
    try:
        with torch.no_grad():
            logits = model(**inputs).logits
    finally:
        for hook in hooks:
            hook.remove()
    return {"residual": torch.stack(points).numpy(), "final": final[0].numpy(), "logits": logits.numpy()}


def run_torch(path: str | Path, prompt: ParityPrompt) -> ModelStates:
    """The states of Hugging Face's model of a folder, with all blocks of the vision tower."""
    model = load_reference(path)
    types = torch.tensor(prompt.token_types)
    batch = prompt._asdict() | {"attention_mask": np.ones_like(prompt.token_types)}
    del batch["token_types"]
    inputs = as_tensors(batch)
    pairs = (types == TokenType.QUESTION)[:, :, None] & (types == TokenType.IMAGE)[:, None, :]
    tiles = inputs["pixel_values"].flatten(end_dim=-4)
    with torch.no_grad():
        vision = model.model.vision_tower(tiles, output_hidden_states=True).hidden_states
    decoder = model.model.language_model
    return ModelStates(
        vision=torch.stack(vision).numpy(),
        baseline=record_states(model, decoder, inputs),
        knockout=record_states(model, decoder, inputs, pairs, range(len(decoder.layers))),
    )
