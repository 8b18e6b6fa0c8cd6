"""Padding is marked by an attention mask or by types, is not counted, and is refused where nothing marks it."""

import re
from dataclasses import replace

import jax
import numpy as np
import pytest

from pid import llava
from pid.llava import TokenType
from tests.helpers.llava_golden import (
    CRITERION,
    NAMES,
    WINDOW,
    batch_of,
    error,
    golden,
    loaded,
    prepared,
    programs,
    run,
)

PAD = 38  # any id but that of image tokens


@pytest.fixture(autouse=True)
def full_precision():
    with jax.default_matmul_precision("highest"):
        yield


def pad_left(name, extra=4):
    """The golden ids with all padding on the left, `extra` tokens more of it, the mask, and where the tokens were."""
    is_token = golden(name)["token_types"] > 0
    length = is_token.shape[1] + extra
    ids, mask = np.full((2, length), PAD), np.zeros((2, length), int)
    for row, tokens in enumerate(is_token):
        count = tokens.sum()
        ids[row, length - count :], mask[row, length - count :] = golden(name)["input_ids"][row, tokens], 1
    return ids, mask, is_token


@pytest.mark.parametrize("name", NAMES)
def test_attention_mask_of_left_padding_gives_the_numbers_of_hugging_face(name):
    """Attention depends on differences of positions, so goldens that are padded on the right are right for the left."""
    ids, mask, is_token = pad_left(name)
    ours = run(name, input_ids=ids, token_types=None, attention_mask=mask)
    for state, theirs in (
        (ours.residual, golden(name)["residual"]),
        (ours.logits[None], golden(name)["logits"][None]),
    ):
        assert error(np.asarray(state)[:, mask > 0], theirs[:, is_token]) < CRITERION


@pytest.mark.parametrize(
    "convert",
    [lambda mask: mask > 0, lambda mask: mask.astype(np.float32), np.ndarray.tolist],
    ids=["bool", "float", "list"],
)
def test_attention_mask_marks_padding_in_any_form(convert):
    ids, mask, _ = pad_left(NAMES[0])
    inputs = prepared(NAMES[0], input_ids=ids, token_types=None, attention_mask=convert(mask))
    expected = np.where(ids == 39, TokenType.IMAGE, np.where(ids == PAD, TokenType.PAD, TokenType.TEXT))
    np.testing.assert_array_equal(inputs.types, expected)


def test_attention_mask_and_token_types_together_mark_the_same_padding():
    name = NAMES[1]
    types = golden(name)["token_types"]
    mask = (types > 0).astype(int)
    ours = run(name, attention_mask=mask, knockouts=WINDOW)
    compiled = programs()
    np.testing.assert_array_equal(ours.residual, run(name, knockouts=WINDOW).residual)
    assert programs() == compiled
    mask[1, -1] = 1
    with pytest.raises(ValueError, match="mark the same padding, got 1 tokens that only one of them marks"):
        prepared(name, attention_mask=mask)


def test_pooled_states_of_left_padded_prompts_are_those_of_each_prompt_alone():
    name = NAMES[3]
    ids, mask, is_token = pad_left(name)
    pooled = run(
        name, input_ids=ids, token_types=None, attention_mask=mask, collect="pooled", groups=TokenType.LAST
    )
    for row, tokens in enumerate(is_token):
        last = np.flatnonzero(tokens)[-1]
        assert error(pooled.residual[:, row, 0], golden(name)["residual"][:, row, last]) < CRITERION
        assert (
            error(np.asarray(pooled.logits)[None, row], golden(name)["logits"][None, row, last]) < CRITERION
        )


@pytest.mark.parametrize(
    ("mask", "words"),
    [
        (lambda mask: mask[:, 1:], "attention_mask has the shape of input_ids, (2, 33), got (2, 32)"),
        (lambda mask: mask[:, None, None], "remove edges between tokens by knockouts"),
        (lambda mask: mask * 2, "attention_mask is 1 at tokens and 0 at padding, got [2]"),
        (lambda mask: (mask - 1) * 1e9, "got [-1000000000.0]"),
        (lambda mask: mask * np.arange(33) // 32, "an image token is not padding, got 32 that are"),
        (lambda mask: "ones", "attention_mask is an array of numbers, got str"),
    ],
)
def test_attention_mask_that_marks_no_padding_is_refused(mask, words):
    ids, ones, _ = pad_left(NAMES[0])
    with pytest.raises(ValueError, match=re.escape(words)):
        prepared(NAMES[0], input_ids=ids, token_types=None, attention_mask=mask(ones))


def test_row_of_padding_alone_is_refused():
    with pytest.raises(ValueError, match="every row has a token, got none in row 1 of attention_mask"):
        llava.prepare(loaded(NAMES[0]).config, [[5, 6], [7, 8]], attention_mask=[[1, 1], [0, 0]])


# Padding that nothing marks


def test_leading_run_of_one_id_without_mask_or_types_is_refused():
    ids, mask, _ = pad_left(NAMES[0])
    with pytest.raises(
        ValueError, match=f"padding must be marked, got 4 tokens of id {PAD} at the start of row 0"
    ):
        prepared(NAMES[0], input_ids=ids, token_types=None)
    prepared(NAMES[0], input_ids=ids, token_types=None, attention_mask=mask)
    words = llava.prepare(loaded(NAMES[0]).config, [[5, 5, 6]], attention_mask=[[1, 1, 1]])  # two equal words
    assert words.types.tolist() == [[1, 1, 1]]
    llava.prepare(
        loaded(NAMES[0]).config, [[5, 6, 6], [7, 7, 7]]
    )  # no run at the start, and a row of one word


def test_trailing_run_of_one_id_is_refused_where_the_last_token_matters():
    name = NAMES[0]
    assert (golden(name)["input_ids"][1, -2:] == PAD).all()
    run(name, token_types=None)  # every state and logit of a token is right
    with pytest.raises(
        ValueError, match=f"tokens of id {PAD} at the end of row 1, and neither token_types nor"
    ):
        run(name, token_types=None, collect="pooled")
    mask = golden(name)["token_types"] > 0
    pooled = run(name, token_types=None, attention_mask=mask, collect="pooled")
    np.testing.assert_array_equal(pooled.logits, run(name, collect="pooled").logits)


# A sliding window


def windowed(window):
    config = loaded(NAMES[1]).config
    return replace(config, text=replace(config.text, sliding_window=window))


@pytest.mark.parametrize("side", ["left", "right"])
def test_padding_is_not_counted_against_a_sliding_window(side):
    """A window as long as the prompt removes nothing: query t sees the keys above t - window."""
    ids, mask, is_token = pad_left(NAMES[1])
    longest = int(is_token.sum(axis=1).max())
    batch = batch_of(NAMES[1], input_ids=ids, token_types=None, attention_mask=mask)
    if side == "right":
        batch |= {"input_ids": ids[:, ::-1], "attention_mask": mask[:, ::-1]}
    assert ids.shape[1] > longest
    llava.prepare(windowed(longest), **batch)
    with pytest.raises(
        ValueError, match=f"matters beyond {longest - 1} tokens, got {longest}; shorten the prompt"
    ):
        llava.prepare(windowed(longest - 1), **batch)
