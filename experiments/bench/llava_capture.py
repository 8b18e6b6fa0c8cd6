"""LLaVA's language model: knockout windows in two phases against full runs, and the cost of pooled states.

The weights are random, since time does not depend on them, or come from a folder.
"""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import jax
import numpy as np
from flax import nnx
from safetensors.numpy import load_file

from experiments.bench.config import Config, LlavaSize
from experiments.bench.timing import Row, paired
from pid import llava
from pid.llava import Knockout, TokenType
from pid.llava.activations.batching import stack_knockout_masks
from pid.llava.activations.shared_prefix import run_with_shared_prefix, run_without_sharing
from pid.llava.config import read_text_config
from pid.llava.model.language_model import GROUPS, LanguageModel


def llava_rows(config: Config) -> Iterator[Row]:
    """Yield all rows for the model and the sample of the configuration."""
    size = config.llava
    language = random_language(size) if size.text is None else read_language(size.text)
    yield windows_row(language, size.prefix, size.suffix, config)
    yield from pooled_rows(language, size.prefix, size.suffix, config)


def read_language(folder: Path) -> LanguageModel:
    """Return the language model of a folder, float32."""
    return llava.load_text(
        read_text_config(folder), load_file(folder / "model.safetensors"), dtype=np.float32
    )


def random_language(size: LlavaSize) -> LanguageModel:
    """Return a language model of these sizes, float32."""
    text = llava.TextConfig(
        vocab_size=256,
        hidden_size=size.heads * size.head_width,
        mlp_dim=size.ffn,
        num_layers=size.layers,
        num_heads=size.heads,
        num_kv_heads=size.heads,
        head_dim=size.head_width,
        norm_eps=1e-5,
        rope_theta=1e4,
        sliding_window=None,
        tie_embeddings=False,
    )
    return LanguageModel(text, dtype=np.float32, rngs=nnx.Rngs(0))


def windows_row(language: LanguageModel, prefix: int, suffix: int, config: Config) -> Row:
    """Time baseline and Image→Question knockouts in a window around each layer: two phases against full runs."""
    layers = language.config.num_layers
    windows = [(Knockout(window),) for window in llava.windows(layers)]
    masks = stack_knockout_masks([(), *windows], layers)
    graphdef, params, u, types = _sample(language, prefix, suffix)
    return Row(
        f"{len(windows)} windows, {prefix} + {suffix} tokens, two phases",
        paired(
            lambda params, u, types, masks: run_with_shared_prefix(
                nnx.merge(graphdef, params), u, types, masks, prefix=prefix, groups=GROUPS
            ),
            lambda params, u, types, masks: run_without_sharing(
                nnx.merge(graphdef, params), u, types, masks, groups=GROUPS
            ),
            *(params, u, types, masks),
            pairs=config.pairs,
            seconds=config.seconds,
        ),
    )


def pooled_rows(language: LanguageModel, prefix: int, suffix: int, config: Config) -> Iterator[Row]:
    """Time pooled states of all layers against no states, and against all states.

    The run without states returns the logits of the last token, as the pooled run does: the output map of all tokens
    would take a seventh of the time of a small model.
    """
    mask = stack_knockout_masks([()], language.config.num_layers)[0]
    graphdef, params, u, types = _sample(language, prefix, suffix)

    def run(collect: Any) -> Callable:
        return lambda params, *inputs: nnx.merge(graphdef, params)(*inputs, collect=collect)

    def plain(params: Any, u: Any, types: Any, mask: Any) -> Any:
        language = nnx.merge(graphdef, params)
        last = language.run_segment(u, types, mask, lambda u: None).last
        return language.last_token_logits(language.norm(last), types)

    for reference, name in ((plain, "plain forward"), (run("all"), "all states")):
        yield Row(
            f"pooled states against {name}, {prefix + suffix} tokens",
            paired(
                run("pooled"),
                reference,
                *(params, u, types, mask),
                pairs=config.pairs,
                seconds=config.seconds,
            ),
        )


def _sample(language: LanguageModel, prefix: int, suffix: int) -> tuple[Any, Any, jax.Array, np.ndarray]:
    """Return graph and weights of the model, and one sample: text, an image, a question and the last token."""
    graphdef, params = nnx.split(language)
    image, words = prefix - prefix // 16, prefix // 16
    types = [TokenType.TEXT] * words + [TokenType.IMAGE] * image
    types += [TokenType.QUESTION] * (suffix - 1) + [TokenType.LAST]
    rng = np.random.default_rng(0)
    u = rng.standard_normal((1, prefix + suffix, language.config.hidden_size), np.float32)
    return graphdef, params, jax.numpy.asarray(u, language.norm.dtype), np.array(types, np.int32)[None]
