"""A model folder, of which no more is read than is asked for: a run that finds all captures loads no weights."""

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from experiments.pid_llava.config import Asking
from pid import llava
from pid.llava.checkpoint import cache

DTYPES = {"float32": jnp.float32, "bfloat16": jnp.bfloat16}


class Opened:
    """The folder of a LLaVA, its processor and its weights.

    Raises FileNotFoundError if it is no such folder.
    """

    def __init__(self, path: Path, asking: Asking, mesh: llava.MeshShape):
        self.path, self.name, self._asking, self._mesh = path, path.name, asking, mesh
        if not (path / "config.json").is_file():
            raise FileNotFoundError(
                f"a model is a folder with config.json, safetensors and the files of its processor, got {path}, which "
                f"has no config.json; pass --model DIR, a LLaVA-1.5 or LLaVA-1.6 in the layout of Hugging Face."
            )
        self.config = llava.read_config(path)

    @cached_property
    def weights(self) -> str:
        """The fingerprint of the files, read without loading them."""
        return cache.source_fingerprint(self.path, {})

    @cached_property
    def processor(self) -> llava.Processor:
        """Tokenizer, images and prompt."""
        asking = self._asking
        return llava.read_processor(
            self.path, style=asking.style, suffix=asking.suffix, image_mode=asking.image_mode
        )

    @cached_property
    def encoding(self) -> str:
        """The fingerprint of how questions become tokens and pixels."""
        return llava.fingerprint(self.processor)

    @cached_property
    def model(self) -> llava.Llava:
        """The weights, on the devices of this host."""
        dtype = DTYPES[self._asking.dtype]
        size = self._mesh.data * self._mesh.model
        if size == 1:
            return llava.load(self.path, dtype=dtype)
        devices = jax.local_devices()
        if size > len(devices):
            raise ValueError(
                f"a mesh has devices of one host, got {size} of {len(devices)}; lower --mesh.data or --mesh.model."
            )
        return llava.load(self.path, dtype=dtype, mesh=self._mesh.concrete())

    def begins(self, answer: str) -> frozenset[int]:
        """The tokens that an answer may begin with, written as it is or with a capital; later tokens are not asked."""
        tokenizer = self.processor.tokenizer
        texts = {answer, answer.capitalize()}
        first = {tuple(tokenizer(text, add_special_tokens=False)["input_ids"][:1]) for text in texts}
        return frozenset(token for tokens in first for token in tokens if token != tokenizer.unk_token_id)

    def is_right(self, said: Sequence[int], answers: Sequence[str]) -> np.ndarray:
        """Whether each token begins its answer: bool (n,)."""
        known = {answer: self.begins(answer) for answer in {*answers}}
        return np.array(
            [int(token) in known[answer] for token, answer in zip(said, answers, strict=True)], bool
        )

    def rows_of_head(self, tokens: np.ndarray) -> Float[np.ndarray, "n d"]:
        """The rows of the output map for these tokens, float32."""
        language = self.model.language
        if language.head is None:
            return np.asarray(language.embed.embedding[...][tokens], np.float32)
        return np.asarray(language.head.kernel[...].T[tokens], np.float32)

    def logits(self, last: Float[np.ndarray, "n d"]) -> Float[np.ndarray, "n v"]:
        """The logits of last residuals in the last layer, float32."""
        language = self.model.language
        states = jnp.asarray(last, language.norm.dtype)[:, None]
        return np.asarray(language.logits(language.norm(states))[:, 0])
