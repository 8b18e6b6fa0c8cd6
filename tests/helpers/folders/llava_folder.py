"""LLaVA processors for tests: a Llama-like tokenizer trained on a few words, and image processors of any size."""

import re
from functools import cache
from typing import Any

import numpy as np
from PIL import Image

from pid import llava
from pid.llava import Sample
from pid.llava.model_folder.transformers_config import import_transformers
from pid.llava.preprocessing.tokenization import tokenize

WORDS = (
    "A chat between a curious user and an artificial intelligence assistant. The assistant gives helpful answers. "
    "USER: What color is the kettle? Is the robot to the left or to the right of the tower? ASSISTANT: "
    "Answer the question using a single word or phrase. [INST] [/INST]"
)
PINPOINTS = [[28, 56], [56, 28], [56, 56]]


@cache
def vocabulary_and_merges():
    """Vocabulary and merges of a byte-fallback BPE in which a space is ▁, as in Llama."""
    import json

    from tokenizers import Tokenizer, models, pre_tokenizers, trainers

    bpe = Tokenizer(models.BPE(byte_fallback=True, unk_token="<unk>", fuse_unk=True))
    untyped: Any = bpe
    untyped.pre_tokenizer = pre_tokenizers.Metaspace()
    special = ["<unk>", "<s>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256))]
    trainer = trainers.BpeTrainer(vocab_size=360, special_tokens=special, show_progress=False)
    bpe.train_from_iterator([WORDS] * 3, trainer)
    model = json.loads(bpe.to_str())["model"]
    return model["vocab"], [tuple(merge) for merge in model["merges"]]


def tokenizer(*, legacy=True, image=True):
    vocab, merges = vocabulary_and_merges()
    llama: Any = import_transformers().LlamaTokenizer(
        vocab=dict(vocab), merges=list(merges), legacy=legacy, add_bos_token=True
    )
    llama.update_post_processor()
    llama.add_special_tokens({"pad_token": "<pad>"})
    if image:
        llama.add_special_tokens({"additional_special_tokens": ["<image>"]})
    return llama


def processor(*, anyres=False, side=28, patch=7, legacy=True, words=None):
    """A LlavaProcessor of transformers, or with `anyres` a LlavaNextProcessor."""
    transformers = import_transformers()
    sizes: dict[str, Any] = {
        "size": {"shortest_edge": side},
        "crop_size": {"height": side, "width": side},
    }
    images: Any = transformers.CLIPImageProcessorPil(**sizes)
    family = transformers.LlavaProcessor
    if anyres:
        images = transformers.LlavaNextImageProcessorPil(**sizes, image_grid_pinpoints=PINPOINTS)
        family = transformers.LlavaNextProcessor
    return family(
        images,
        words or tokenizer(legacy=legacy),
        patch_size=patch,
        vision_feature_select_strategy="default",
        num_additional_image_tokens=1,
    )


@cache
def theirs(*, anyres=False, legacy=True):
    return processor(anyres=anyres, legacy=legacy)


@cache
def wrapped_processor(*, anyres=False, legacy=True, **options):
    return llava.wrap_processor(theirs(anyres=anyres, legacy=legacy), **options)


def picture(width=40, height=20, seed=0):
    colors = np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)
    return Image.fromarray(colors)


def sample(name="a", question="What color is the kettle?", size=(40, 20), **fields):
    return Sample(name, picture(*size), question, **fields)


def pieces(row, token_type=None):
    """The tokens of a prompt as strings, optionally only those of one type."""
    ids = row.ids if token_type is None else row.ids[row.types == token_type]
    return processor().tokenizer.convert_ids_to_tokens(ids)


def join_pieces(tokens):
    """The text of Llama tokens: byte tokens are decoded, and ▁ is a space."""
    encoded = [
        bytes([int(token[3:5], 16)]) if re.fullmatch("<0x..>", token) else token.replace("▁", " ").encode()
        for token in tokens
    ]
    return b"".join(encoded).decode()


@cache
def words():
    """A tokenizer that splits only at spaces, so that a token can cross the edge of the question."""
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    vocabulary = ["<unk>", "<image>", "xred", "bluey", "or", "END", "red", "blue"]
    tokenizer: Any = Tokenizer(
        models.WordLevel({word: i for i, word in enumerate(vocabulary)}, unk_token="<unk>")
    )
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, unk_token="<unk>", additional_special_tokens=["<image>"]
    )


def token_types(question, style, spans=()):
    """The types of the tokens that `words` makes of a question."""
    text = llava.prompt(question, style=style, suffix="none")
    return tokenize(words(), text, image_token=1, images=1, spans=spans).types.tolist()
