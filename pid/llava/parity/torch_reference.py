"""Hugging Face's LLaVA in eager torch, watched at every layer: what ours is compared with. Needs torch.

B batch, T tokens, D width, L layers, V vocabulary
"""

# pyright: reportMissingImports=false
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import AutoModelForImageTextToText

from pid.llava.parity.fixed_prompt import Probe, Seen
from pid.llava.tokens import TokenType


def load_reference(path: str | Path) -> Any:
    """The model of a Hugging Face folder in float32, with eager attention."""
    load = AutoModelForImageTextToText.from_pretrained
    return load(path, dtype=torch.float32, attn_implementation="eager").eval()


def as_tensors(batch: Mapping[str, np.ndarray | None]) -> dict[str, torch.Tensor]:
    """A batch for torch, what is None left out and integers as int64."""
    tensors = {key: torch.tensor(value) for key, value in batch.items() if value is not None}
    return {key: value if value.is_floating_point() else value.long() for key, value in tensors.items()}


def cutting(blocked: torch.Tensor) -> Any:
    """A hook before attention that takes the edges `blocked` (B, T, T) out of its additive mask."""

    def replace(module: Any, args: Any, kwargs: Any) -> tuple[Any, Any]:
        mask = kwargs["attention_mask"]
        kwargs["attention_mask"] = mask.masked_fill(blocked[:, None], torch.finfo(mask.dtype).min)
        return args, kwargs

    return replace


def observe(
    model: Any,
    decoder: Any,
    inputs: Mapping[str, torch.Tensor],
    blocked: torch.Tensor | None = None,
    layers: Iterable[int] = (),
) -> dict[str, np.ndarray]:
    """Run `model` and note what passes its `decoder`, the module that has the blocks and the last norm.

    Gives `residual` (L+1, B, T, D), the raw residual stream; `final` (B, T, D), after the last norm (the last of
    Hugging Face's own hidden states is after it too); `logits` (B, T, V). Edges `blocked` (B, T, T) are cut in
    `layers`.
    """
    points, final, undo = [], [], []
    for block in decoder.layers:
        undo.append(block.register_forward_pre_hook(lambda _, given: points.append(given[0].clone())))
    undo.append(decoder.layers[-1].register_forward_hook(lambda _, given, made: points.append(made.clone())))
    undo.append(decoder.norm.register_forward_hook(lambda _, given, made: final.append(made.clone())))
    for layer in layers:
        attention = decoder.layers[layer].self_attn
        undo.append(attention.register_forward_pre_hook(cutting(blocked), with_kwargs=True))
    try:
        with torch.no_grad():
            logits = model(**inputs).logits
    finally:
        for hook in undo:
            hook.remove()
    return {"residual": torch.stack(points).numpy(), "final": final[0].numpy(), "logits": logits.numpy()}


def observe_probe(path: str | Path, probe: Probe) -> Seen:
    """What Hugging Face's model of a folder gives for a probe; the tower whole, with the blocks that nobody reads."""
    model = load_reference(path)
    types = torch.tensor(probe.token_types)
    batch = probe._asdict() | {"attention_mask": np.ones_like(probe.token_types)}
    del batch["token_types"]
    inputs = as_tensors(batch)
    blocked = (types == TokenType.QUESTION)[:, :, None] & (types == TokenType.IMAGE)[:, None, :]
    tiles = inputs["pixel_values"].flatten(end_dim=-4)
    with torch.no_grad():
        tower = model.model.vision_tower(tiles, output_hidden_states=True).hidden_states
    decoder = model.model.language_model
    return Seen(
        tower=torch.stack(tower).numpy(),
        plain=observe(model, decoder, inputs),
        cut=observe(model, decoder, inputs, blocked, range(len(decoder.layers))),
    )
