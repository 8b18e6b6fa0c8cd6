"""The prompt style of a model: by chat template, tokenizer and language model; refusals; prompts of text alone."""

import json
import re

import numpy as np
import pytest

from pid import llava
from pid.llava import Sample, TokenType
from pid.llava.preprocessing.prompts import STYLES
from pid.llava.preprocessing.sources.model_style import FAMILIES
from tests.helpers.folders import llava_folder
from tests.helpers.folders.llava_folder import picture
from tests.llava.preprocessing.model_folders import config_fields, edit_json, save_folder

PARTS = "{% for part in m.content %}{{ '<image>\\n' if part.type == 'image' else part.text }}{% endfor %}"


def template(before, after, reply=""):
    """A chat template, which puts the texts around the parts of each message."""
    parts = "".join(("{% for m in messages %}", before, PARTS, after, "{% endfor %}"))
    return f"{parts}{{% if add_generation_prompt %}}{reply}{{% endif %}}"


TEMPLATES = {
    "vicuna": template("{{ m.role.upper() }}: ", " ", "ASSISTANT:"),
    "mistral": template("[INST] ", " [/INST]"),
    "llama_3": template("<|start_header_id|>{{ m.role }}<|end_header_id|>\n\n", "<|eot_id|>"),
    "chatml": template("<|im_start|>{{ m.role }}\n", "<|im_end|>", "<|im_start|>assistant\n"),
}
"""Templates with the marks of those on the hub."""
OTHER = template("### Human: ", "\n", "### Assistant:")
SYSTEM = (
    "A chat between a curious user and an artificial intelligence assistant. The assistant gives helpful, "
)
PROMPTS = {
    "vicuna": SYSTEM
    + "detailed, and polite answers to the user's questions. USER: <image>\n{question} ASSISTANT:",
    "mistral": "[INST] <image>\n{question} [/INST]",
    "llama_3": STYLES["llama_3"],
    "chatml": STYLES["chatml"],
}


def with_template(text):
    processor = llava_folder.processor()
    processor.chat_template = text
    return processor


@pytest.mark.parametrize("family", FAMILIES)
def test_chat_template_tells_the_style(family):
    wrapped = llava.wrap_processor(with_template(TEMPLATES[family]))
    assert (wrapped.style, wrapped.style_source) == (PROMPTS[family], "chat template")
    by_name = llava.wrap_processor(with_template({"default": TEMPLATES[family], "tools": OTHER}))
    assert by_name.style == wrapped.style


def test_template_of_the_folder_is_the_one_that_transformers_reads(tmp_path):
    """A legacy chat_template.json, a chat_template.jinja, and templates in the files of processor and tokenizer."""
    folder = save_folder(tmp_path)
    style = lambda: llava.read_processor(folder).style_name  # noqa: E731
    edit_json(folder / "tokenizer_config.json", chat_template=TEMPLATES["llama_3"])
    assert style() == "llama_3"
    (folder / "chat_template.json").write_text(json.dumps({"chat_template": TEMPLATES["chatml"]}))
    assert style() == "chatml"
    (folder / "chat_template.json").unlink()
    (folder / "chat_template.jinja").write_text(TEMPLATES["mistral"])
    assert style() == "mistral"


def test_chat_template_of_the_tokenizer_is_read_where_the_processor_has_none():
    processor = llava_folder.processor(words=llava_folder.tokenizer())
    processor.tokenizer.chat_template = TEMPLATES["mistral"]
    assert llava.wrap_processor(processor).style_name == "mistral"
    processor.chat_template = TEMPLATES["vicuna"]
    assert llava.wrap_processor(processor).style_name == "vicuna_v1"


def test_unknown_template_needs_a_text():
    words = r"or by its language model, got .*### Human: .*; pass the prompt as a style, a text with <image>"
    with pytest.raises(ValueError, match=words):
        llava.wrap_processor(with_template(OTHER))
    with pytest.raises(
        ValueError, match="got vicuna_v1 for one of the family other by its chat template; pass its"
    ):
        llava.wrap_processor(with_template(OTHER), style="vicuna_v1")
    text = "### Human: <image>\n{question}\n### Assistant:"
    wrapped = llava.wrap_processor(with_template(OTHER), style=text)
    assert (wrapped.style, wrapped.style_name, wrapped.style_source) == (text, "own text", "option")


@pytest.mark.parametrize(
    ("text_model", "words", "style", "source"),
    [
        ("llama", (), "vicuna_v1", "text model"),
        ("mistral", (), "mistral", "text model"),
        ("llama", ("<|start_header_id|>",), "llama_3", "tokenizer"),
        ("llama", ("<|im_start|>",), "chatml", "tokenizer"),
    ],
)
def test_without_a_template_tokenizer_or_language_model_tells_the_style(
    text_model, words, style, source, tmp_path
):
    tokenizer = llava_folder.tokenizer()
    tokenizer.add_tokens(list(words))
    save_folder(tmp_path, config=config_fields(text_model=text_model))
    tokenizer.save_pretrained(tmp_path)
    read = llava.read_processor(tmp_path)
    assert (read.style, read.style_source) == (STYLES[style], source)


def test_without_any_evidence_the_style_is_that_of_the_original_code_and_says_so():
    wrapped = llava.wrap_processor(llava_folder.processor())
    assert (wrapped.style_name, wrapped.style_source) == ("vicuna_v1", "default")
    assert llava.wrap_processor(llava_folder.processor(), style="mistral").style_source == "option"


@pytest.mark.parametrize("style", STYLES)
@pytest.mark.parametrize("family", FAMILIES)
def test_name_of_a_style_is_taken_by_its_family_and_refused_by_the_others(style, family):
    processor = with_template(TEMPLATES[family])
    if style in FAMILIES[family]:
        assert llava.wrap_processor(processor, style=style).style == STYLES[style]
        return
    with pytest.raises(
        ValueError, match=f"the prompt style belongs to the model, got {style} for one of the family {family}"
    ):
        llava.wrap_processor(processor, style=style)
    assert (
        llava.wrap_processor(processor, style=STYLES[style]).style == STYLES[style]
    )  # the text itself forces it


def test_refusal_names_both_styles_and_the_way_out():
    words = "got vicuna_v1 for one of the family mistral by its chat template; take auto or mistral, or pass"
    with pytest.raises(ValueError, match=re.escape(words)):
        llava.wrap_processor(with_template(TEMPLATES["mistral"]), style="vicuna_v1")


# Text alone


def test_style_without_an_image_serves_text_alone():
    wrapped = llava.wrap_processor(
        llava_folder.processor(), style="USER: {question} ASSISTANT:", suffix="none"
    )
    batch = llava.encode(wrapped, [Sample("a", None, "What color?"), Sample("b", None, "Is it red or blue?")])
    assert batch.pixels is batch.image_sizes is None
    ids = wrapped.tokenizer("USER: What color? ASSISTANT:")["input_ids"]  # transformers' own ids, with <s>
    assert batch.rows()[0].ids.tolist() == ids
    assert not (batch.token_types == TokenType.IMAGE).any()
    text = llava.prompt("Q?", style="USER: {question}", suffix="none")
    assert (text.before, text.text, text.after[slice(*text.question)]) == ("", "USER: Q?", "Q?")


def test_image_and_style_must_agree():
    with_image = llava.wrap_processor(llava_folder.processor())
    alone = llava.wrap_processor(llava_folder.processor(), style="{question}?")
    with pytest.raises(
        ValueError, match="sample 'x': a sample has an image, got None; pass one, or a prompt style"
    ):
        llava.encode(with_image, [Sample("x", None, "Q?")])
    with pytest.raises(
        ValueError, match="sample 'x': a prompt style without <image> takes text alone, got an image"
    ):
        llava.encode(alone, [Sample("x", picture(), "Q?")])
    with pytest.raises(TypeError, match="samples are of type Sample, got str; pass a list of Sample"):
        llava.encode(alone, (text for text in Sample("x", None, "Q?")))  # pyright: ignore[reportArgumentType]
    with pytest.raises(TypeError, match="sample 'x': "):
        llava.encode(alone, [Sample("x", None, np.array(3))])  # pyright: ignore[reportArgumentType]
