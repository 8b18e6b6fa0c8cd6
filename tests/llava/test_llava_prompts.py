"""Prompts and their tokens: texts, token ids, token types, character spans."""

import re

import numpy as np
import pytest

from pid import llava
from pid.llava import TokenType
from pid.llava.preprocessing.prompts import STYLES, SUFFIXES
from pid.llava.preprocessing.tokenization import tokenize
from tests.helpers.folders.llava_folder import join_pieces, pieces, sample, token_types
from tests.helpers.folders.llava_folder import wrapped_processor as processor


def random_questions(count, seed=0):
    random = np.random.default_rng(seed)
    words = re.split(
        " ", "What color kettle the Is robot to left? or, é 日本 🙂 x  y tower. _ - don't 17 Answer ASSISTANT"
    )
    for length in random.integers(1, 12, count):
        question = " ".join(random.choice(words, length))
        if question.strip():
            yield question


# Prompts


def test_prompts_are_those_of_the_sources_to_the_letter():
    system = (
        "A chat between a curious {0} and an artificial intelligence assistant. The assistant gives helpful, detailed, "
        "and polite answers to the {0}'s questions. "
    )
    short = "Answer the question using a single word or phrase."
    assert {style: llava.prompt("Q?", style=style, suffix="zhang").text for style in STYLES} == {
        "vicuna_v1": f"{system.format('user')}USER: <image>\nQ? \n{short} ASSISTANT:",
        "hf_15": f"USER: <image>\nQ? \n{short} ASSISTANT:",
        "hf_16_vicuna": f"{system.format('human')}USER: <image>\nQ? \n{short} ASSISTANT:",
        "mistral": f"[INST] <image>\nQ? \n{short} [/INST]",
        "llama_3": (
            "<|start_header_id|>system<|end_header_id|>\n\nYou are a helpful language and vision assistant. You are "
            "able to understand the visual content that the user provides, and assist the user with a variety of tasks "
            "using natural language.<|eot_id|><|start_header_id|>user<|end_header_id|>\n\n"
            f"<image>\nQ? \n{short}<|eot_id|><|start_header_id|>assistant<|end_header_id|>\n\n"
        ),
        "chatml": (
            "<|im_start|>system\nAnswer the questions.<|im_end|><|im_start|>user\n"
            f"<image>\nQ? \n{short}<|im_end|><|im_start|>assistant\n"
        ),
    }
    assert llava.prompt("Q?", style="hf_15", suffix="llava").text == f"USER: <image>\nQ?\n{short} ASSISTANT:"
    assert llava.prompt("Q?", style="hf_15", suffix="none").text == "USER: <image>\nQ? ASSISTANT:"
    own = llava.prompt("Q?", style="look <image>{question} :", suffix=" briefly")
    assert (own.before, own.after, own.question) == ("look ", "Q? briefly :", (0, 2))


@pytest.mark.parametrize("style", STYLES)
@pytest.mark.parametrize("suffix", SUFFIXES)
def test_question_is_found_in_the_text_even_if_the_template_contains_it(style, suffix):
    for question in ("ASSISTANT", "Answer the question", " spaced ", "a {question} {0}"):
        prompt = llava.prompt(question, style=style, suffix=suffix)
        start, stop = prompt.question
        assert prompt.after[start:stop] == question
        assert prompt.text.count("<image>") == 1
        assert prompt.after[:start] == "\n"


# Tokens and their types


@pytest.mark.parametrize("legacy", [True, False])
def test_chunks_give_the_ids_of_the_original_code(legacy):
    wrapped = processor(legacy=legacy, style="hf_15", suffix="none")
    row = llava.encode_prompt(wrapped, sample(question="What color is the kettle?"))
    images = ["<image>"] * 16
    before, after = ["<s>", "▁", "USER", ":", "▁"], ["▁", "<0x0A>", "What"]
    assert pieces(row)[: 5 + 16 + 3] == [*before, *images, *after]
    assert join_pieces(pieces(row)[21:]) == " \nWhat color is the kettle? ASSISTANT:"
    types = [TokenType.TEXT] * 5 + [TokenType.IMAGE] * 16 + [TokenType.TEXT] * 2 + [TokenType.QUESTION]
    assert row.types[: 5 + 16 + 3].tolist() == types


def test_flag_legacy_changes_no_row_although_it_changes_transformers_own_ids():
    processors = [processor(legacy=legacy) for legacy in (True, False)]
    ids = [
        wrapped.tokenizer("USER: <image>\nWhat", add_special_tokens=False)["input_ids"]
        for wrapped in processors
    ]
    assert len(ids[0]) == len(ids[1]) + 1
    for question in random_questions(20):
        first, second = (llava.encode_prompt(wrapped, sample(question=question)) for wrapped in processors)
        assert first.ids.tolist() == second.ids.tolist()
        assert first.types.tolist() == second.types.tolist()
    assert len({llava.fingerprint(wrapped) for wrapped in processors}) == 1


@pytest.mark.parametrize("style", STYLES)
@pytest.mark.parametrize("suffix", SUFFIXES)
def test_question_tokens_spell_the_question_and_nothing_else(style, suffix):
    tokenizer = processor().tokenizer
    for question in random_questions(60, seed=1):
        text = llava.prompt(question, style=style, suffix=suffix)
        row = tokenize(tokenizer, text, image_token=processor().image_token, images=3)
        assert join_pieces(pieces(row, TokenType.QUESTION)) == question
        question_tokens = np.flatnonzero(row.types == TokenType.QUESTION)
        assert (np.diff(question_tokens) == 1).all()
        assert row.types[-1] == TokenType.LAST
        assert (row.types == TokenType.LAST).sum() == 1
        assert ((row.ids == processor().image_token) == (row.types == TokenType.IMAGE)).all()
        assert (row.types == TokenType.IMAGE).sum() == 3


def test_token_astride_the_edge_of_the_question_belongs_to_it():
    text, image, question, last = TokenType.TEXT, TokenType.IMAGE, TokenType.QUESTION, TokenType.LAST
    assert token_types("red or blue", "<image>x{question}y END") == [
        image,
        question,
        question,
        question,
        last,
    ]
    assert token_types("red or blue", "<image>x {question} y END") == [
        image,
        text,
        *[question] * 3,
        text,
        last,
    ]


def test_last_overrides_a_question_that_ends_the_prompt():
    assert token_types("red or blue", "<image>{question}") == [2, 3, 3, 4]
    assert token_types("red", "END <image>{question}", spans=[(0, 3, 5)]) == [1, 2, 4]


def test_tokens_of_a_span_have_the_type_of_the_user():
    style = "<image>{question} END"
    assert token_types("red or blue", style, spans=[(0, 3, 5), (7, 11, 6)]) == [2, 5, 3, 6, 4]
    assert token_types("red or blue", style, spans=[(2, 8, 9)]) == [
        2,
        9,
        9,
        9,
        4,
    ]  # one character of a token is enough
    assert token_types("red or blue", style, spans=[(0, 6, 5), (4, 11, 6)]) == [
        2,
        5,
        6,
        6,
        4,
    ]  # the later one wins
    row = llava.encode_prompt(
        processor(), sample(question="Is it red or blue?", spans=((6, 9, 5), (13, 17, 7)))
    )
    assert [join_pieces(pieces(row, kind)).strip() for kind in (5, 7)] == ["red", "blue"]


def test_batch_tells_where_the_questions_are():
    with_spans = sample("b", "Is it red or blue?", spans=((0, 2, 5), (13, 17, 7)))
    batch = llava.encode(processor(), [sample("a", "What?"), with_spans])
    for index, question in enumerate(("What?", "Is it red or blue?")):
        start, stop = batch.questions[index]
        question_tokens = processor().tokenizer.convert_ids_to_tokens(batch.ids[index, start:stop])
        assert join_pieces(question_tokens) == question
    without_questions = batch._replace(token_types=np.minimum(batch.token_types, TokenType.TEXT))
    assert without_questions.questions.tolist() == [[0, 0], [0, 0]]
