"""A model folder that is read lazily: a run whose captures are all in the cache loads no weights."""

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Float

from experiments.pid_llava.config import CaptureOptions
from pid import llava
from pid.llava.activations.host_group import replicated
from pid.llava.checkpoint import cache
from pid.llava.model.language_model import LanguageModel
from pid.llava.partitioning import spans_hosts

DTYPES = {"float32": jnp.float32, "bfloat16": jnp.bfloat16}


class ModelFolder:
    """The folder of a LLaVA, its processor and its weights.

    Args:
        path: the folder.
        options: prompt, image mode and dtype of the computation.
        mesh: devices that share the model: of this host, or of all hosts.

    Raises:
        FileNotFoundError: the folder has no config.json.
        ValueError: the mesh has the devices neither of one host nor of all, or the image mode belongs to other models.
    """

    def __init__(self, path: Path, options: CaptureOptions, mesh: llava.MeshShape) -> None:
        """Read only `config.json`."""
        self.path, self.name, self._options, self._mesh = path, path.name, options, mesh
        if not (path / "config.json").is_file():
            raise FileNotFoundError(
                f"a model is a folder with config.json, safetensors and the files of its processor, got {path}, which "
                f"has no config.json; pass --model DIR, a LLaVA-1.5 or LLaVA-1.6 in the layout of Hugging Face."
            )
        mesh.check_devices()
        self.config = llava.read_config(path)
        modes = ("pad", "hf_crop") if self.config.pinpoints is None else ("anyres",)
        if options.image_mode not in (None, *modes):
            raise ValueError(
                f"images of {self.name} are brought to the size of a tile by {' or '.join(modes)}, got "
                f"{options.image_mode}; change --capture.image-mode."
            )

    @cached_property
    def weights_fingerprint(self) -> str:
        """Fingerprint of the weight files, computed without loading the model."""
        return cache.source_fingerprint(self.path, {})

    @cached_property
    def processor(self) -> llava.Processor:
        """Tokenizer, image preprocessing and prompt."""
        options = self._options
        return llava.read_processor(
            self.path, style=options.style, suffix=options.suffix, image_mode=options.image_mode
        )

    def check_prompt(self) -> None:
        """Read the processor, which raises ValueError if the prompt style or a file is not that of the model."""
        _ = self.processor

    def check_window(self) -> None:
        """Raise ValueError if a window has more layers than the model."""
        width, layers = self._options.width, self.config.text.num_layers
        if width is not None and width > layers:
            raise ValueError(
                f"a window has at most all {layers} layers of {self.name}, got {width}; lower --capture.width."
            )

    @property
    def prompt(self) -> dict[str, str]:
        """Name, text and suffix of the prompt style, and what chose it."""
        processor = self.processor
        return {
            "style": processor.style_name,
            "text": processor.style,
            "suffix": processor.suffix,
            "source": processor.style_source,
        }

    @cached_property
    def encoding_fingerprint(self) -> str:
        """Fingerprint of the encoding of questions and images."""
        return llava.fingerprint(self.processor)

    @cached_property
    def network(self) -> llava.Llava:
        """The model with its weights, on the devices of the mesh."""
        dtype = DTYPES[self._options.dtype]
        if self._mesh.data * self._mesh.model == 1:
            return llava.load(self.path, dtype=dtype)
        return llava.load(self.path, dtype=dtype, mesh=self._mesh.concrete())

    @cached_property
    def _output(self) -> LanguageModel:
        """The language model with embedding, last norm and output map on this host; all hosts ask for it together."""
        language = self.network.language
        sharding = language.norm.scale[...].sharding
        if not spans_hosts(sharding):
            return language
        graphdef, params = nnx.split(language)
        by_part = nnx.to_pure_dict(params)
        for part in {"embed", "norm", "head"} & by_part.keys():
            by_part[part] = jax.tree.map(lambda x: x.addressable_data(0), replicated(sharding)(by_part[part]))
        return nnx.merge(graphdef, by_part)

    def share_output(self) -> None:
        """Give every host the output map of a model on the devices of all, so that each can ask for it alone."""
        if self._mesh.data * self._mesh.model > jax.local_device_count():
            _ = self._output

    def first_tokens(self, answer: str) -> frozenset[int]:
        """Return the tokens with which an answer may begin, in lower case or capitalized."""
        tokenizer = self.processor.tokenizer
        texts = {answer, answer.capitalize()}
        first = {tuple(tokenizer(text, add_special_tokens=False)["input_ids"][:1]) for text in texts}
        return frozenset(token for tokens in first for token in tokens if token != tokenizer.unk_token_id)

    def is_right(self, tokens: Sequence[int], answers: Sequence[str]) -> np.ndarray:
        """Return whether each token is the first token of its answer, bool (n,). Later tokens do not count."""
        first = {answer: self.first_tokens(answer) for answer in {*answers}}
        return np.array(
            [int(token) in first[answer] for token, answer in zip(tokens, answers, strict=True)], bool
        )

    def rows_of_head(self, tokens: np.ndarray) -> Float[np.ndarray, "n d"]:
        """Return the rows of the output map for these tokens, float32."""
        language = self._output
        if language.head is None:
            return np.asarray(language.embed.embedding[...][tokens], np.float32)
        return np.asarray(language.head.kernel[...].T[tokens], np.float32)

    def logits(self, last: Float[np.ndarray, "n d"]) -> Float[np.ndarray, "n v"]:
        """Return the logits of residuals of the last layer, float32."""
        language = self._output
        states = jnp.asarray(last, language.norm.dtype)[:, None]
        return np.asarray(language.logits(language.norm(states))[:, 0])
