"""The token types of a batch: as they are passed, or from an attention mask and the id of image tokens.

B batch, T tokens
"""

from typing import Any

import numpy as np
from jaxtyping import Bool, Int

from pid.llava.preprocessing.host_arrays import to_host_array
from pid.llava.tokens import MAX_TYPE, TokenType


def batch_types(
    is_image: Bool[np.ndarray, "b t"], token_types: Any | None, attention_mask: Any | None
) -> Int[np.ndarray, "b t"]:
    """The `TokenType` of each token (B, T).

    Without types they are IMAGE at image tokens, PAD where the attention mask is 0, and TEXT elsewhere.

    Raises:
        ValueError: types or mask are not integers in the shape of the ids, they disagree, or an image token is padding.
    """
    mask = None if attention_mask is None else _to_mask(attention_mask, is_image.shape)
    if token_types is None:
        types = np.where(is_image, TokenType.IMAGE, TokenType.TEXT)
        types = types if mask is None else np.where(mask, types, TokenType.PAD)
    else:
        types = _to_types(token_types, is_image.shape)
        if mask is not None and (differing := int(((types > TokenType.PAD) != mask).sum())):
            raise ValueError(
                f"token_types and attention_mask mark the same padding, got {differing} tokens that only one of them "
                f"marks; pass one of the two."
            )
    if image_padding := int((is_image & (types == TokenType.PAD)).sum()):
        raise ValueError(
            f"an image token is not padding, got {image_padding} that are; pad with an id other than the image token."
        )
    return types


def _to_types(token_types: Any, shape: tuple[int, ...]) -> np.ndarray:
    types = to_host_array("token_types", token_types)
    is_whole = types.shape == shape and np.issubdtype(types.dtype, np.integer)
    if not is_whole or not 0 <= types.min(initial=0) <= types.max(initial=0) <= MAX_TYPE:
        span = f" from {types.min()} to {types.max()}" * is_whole
        raise ValueError(
            f"token_types are integers from 0 in the shape of input_ids, {shape}, got {types.dtype} "
            f"{types.shape}{span}; see TokenType, which ends at {MAX_TYPE}."
        )
    return types


def _to_mask(attention_mask: Any, shape: tuple[int, ...]) -> np.ndarray:
    mask = to_host_array("attention_mask", attention_mask)
    if mask.shape != shape:
        raise ValueError(
            f"attention_mask has the shape of input_ids, {shape}, got {mask.shape}; remove edges between tokens by "
            f"knockouts."
        )
    if not np.isin(mask, (0, 1)).all():
        raise ValueError(
            f"attention_mask is 1 at tokens and 0 at padding, got {np.setdiff1d(mask, (0, 1))[:3].tolist()}; "
            f"pass the mask of the tokenizer."
        )
    if not mask.any(axis=1).all():
        raise ValueError(
            f"every row has a token, got none in row {int(mask.any(axis=1).argmin())} of attention_mask; drop it."
        )
    return mask.astype(bool)


def check_padding_is_marked(ids: Int[np.ndarray, "b t"], image_token: int, *, last: bool = False) -> None:
    """Raise ValueError if a row begins (or, with `last`, ends) with a run of one word, as unmarked padding does.

    A row of one word alone is not padding.
    """
    for place, ordered in (("start", ids), ("end", ids[:, ::-1])) if last else (("start", ids),):
        differs = ordered != ordered[:, :1]
        runs = np.where(ordered[:, 0] == image_token, 0, differs.argmax(axis=1))
        if (runs > 1).any():
            row = int((runs > 1).argmax())
            raise ValueError(
                f"padding must be marked, got {runs[row]} tokens of id {ordered[row, 0]} at the {place} of row {row}, "
                f"and neither token_types nor attention_mask; pass attention_mask, 0 at padding and 1 elsewhere."
            )


def check_window(types: Int[np.ndarray, "b t"], window: int | None) -> None:
    """Raise ValueError if a row has more tokens, without its padding, than a sliding window."""
    longest = int((types > TokenType.PAD).sum(axis=1).max())
    if window is not None and longest > window:
        raise ValueError(
            f"this port has no sliding window, which matters beyond {window} tokens, got {longest}; shorten the prompt."
        )
