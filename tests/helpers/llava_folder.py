"""Processors of LLaVA made on the spot: a Llama-like tokenizer trained on a few words, image processors of any size."""

from functools import cache
from typing import Any

from pid.llava.config import import_transformers

WORDS = (
    "A chat between a curious user and an artificial intelligence assistant. The assistant gives helpful answers. "
    "USER: What color is the kettle? Is the robot to the left or to the right of the tower? ASSISTANT: "
    "Answer the question using a single word or phrase. [INST] [/INST]"
)
PINPOINTS = [[28, 56], [56, 28], [56, 56]]


@cache
def pieces():
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
    vocab, merges = pieces()
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
