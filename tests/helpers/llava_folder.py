"""LLaVA processors for tests: a Llama-like tokenizer trained on a few words, image processors of any size."""

import re
from functools import cache
from typing import Any

import numpy as np
from PIL import Image

from pid import llava
from pid.llava import Sample
from pid.llava.config import import_transformers
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

    trained = Tokenizer(models.BPE(byte_fallback=True, unk_token="<unk>", fuse_unk=True))
    split: Any = trained
    split.pre_tokenizer = pre_tokenizers.Metaspace()
    special = ["<unk>", "<s>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256))]
    trainer = trainers.BpeTrainer(vocab_size=360, special_tokens=special, show_progress=False)
    trained.train_from_iterator([WORDS] * 3, trainer)
    model = json.loads(trained.to_str())["model"]
    return model["vocab"], [tuple(merge) for merge in model["merges"]]


def tokenizer(*, legacy=True, image=True):
    vocab, merges = vocabulary_and_merges()
    words: Any = import_transformers().LlamaTokenizer(
        vocab=dict(vocab), merges=list(merges), legacy=legacy, add_bos_token=True
    )
    words.update_post_processor()
    words.add_special_tokens({"pad_token": "<pad>"})
    if image:
        words.add_special_tokens({"additional_special_tokens": ["<image>"]})
    return words


def processor(*, anyres=False, side=28, patch=7, legacy=True, words=None):
    """A LlavaProcessor, or with anyres a LlavaNextProcessor, of transformers."""
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
def wrapped_processor(*, anyres=False, legacy=True, **changed):
    return llava.wrap_processor(theirs(anyres=anyres, legacy=legacy), **changed)


def picture(width=40, height=20, seed=0):
    colors = np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)
    return Image.fromarray(colors)


def sample(name="a", question="What color is the kettle?", size=(40, 20), **changed):
    return Sample(name, picture(*size), question, **changed)


def pieces(row, kind=None, by=None):
    ids = row.ids if kind is None else row.ids[row.types == kind]
    return (by or processor()).tokenizer.convert_ids_to_tokens(ids)


def spelled(tokens):
    """The text of Llama pieces, with bytes joined and ▁ as a space."""
    parts = [
        bytes([int(token[3:5], 16)]) if re.fullmatch("<0x..>", token) else token.replace("▁", " ").encode()
        for token in tokens
    ]
    return b"".join(parts).decode()


@cache
def words():
    """A tokenizer that splits at spaces only, so that a token can cross the edge of the question."""
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


def kinds(question, style, spans=()):
    text = llava.prompt(question, style=style, suffix="none")
    return tokenize(words(), text, image_token=1, images=1, spans=spans).types.tolist()
