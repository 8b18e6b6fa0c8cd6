"""Toy world as input of a LLaVA: pictures, and equal results of arrays and processor."""

from functools import cache
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

from pid import llava, toyworld
from pid.llava import TokenType
from pid.toyworld import VOCABULARY
from pid.toyworld.scenes import APPEARANCES, STAMPS
from pid.toyworld.toy_encoding import IMAGE_TOKENS
from pid.toyworld.vocabulary import CELLS
from tests.gqa.toy_examples import examples_of

GOLDEN = Path(__file__).parent.parent / "golden"


def test_picture_has_each_thing_in_its_cell():
    scene = (toyworld.Thing(1, "box", "red"), toyworld.Thing(11, "cross", "grey"))
    (picture,) = toyworld.render([scene])
    assert picture.shape == (32, 32, 3)
    box, cross = picture[0:8, 8:16], picture[16:24, 24:32]  # b1 and d3
    assert (box[1:7, 1:7] == (220, 40, 40)).all()
    assert (cross[3:5] == 128).all()
    assert (cross[:, 3:5] == 128).all()
    assert box[0].max() == cross[0, 0].max() == 0
    assert (picture > 0).any(-1).sum() == 36 + 28
    assert [CELLS[thing.cell] for thing in scene] == ["b1", "d3"]


def test_every_look_is_another_picture():
    assert len({stamp.tobytes() for stamp in STAMPS}) == len(APPEARANCES) + 1 == 21


@cache
def processor():
    return toyworld.processor()


def test_arrays_are_what_the_real_processor_makes():
    examples = examples_of()[:60]
    fast = toyworld.arrays(examples)
    rows = list(llava.encode_prompts(processor(), toyworld.samples(examples)))
    slow = llava.pad(rows, pad_token=processor().pad_token, length=toyworld.LENGTH)
    np.testing.assert_array_equal(fast.ids, slow.ids)
    np.testing.assert_array_equal(fast.types, slow.token_types)
    assert slow.pixels is not None
    np.testing.assert_allclose(fast.pixels, slow.pixels, atol=1e-6)
    words = processor().tokenizer.convert_ids_to_tokens(fast.answers)
    assert words == [example.answer for example in examples]


def test_no_token_stands_between_image_and_question_and_none_but_the_last_behind():
    fast = toyworld.arrays(examples_of())
    assert (fast.types[:, :IMAGE_TOKENS] == TokenType.IMAGE).all()
    assert (fast.types[:, IMAGE_TOKENS] == TokenType.QUESTION).all()
    assert not (fast.types == TokenType.TEXT).any()
    assert (np.diff((fast.types == TokenType.QUESTION).astype(int), axis=1) == -1).sum() == len(fast.types)
    assert ((fast.types == TokenType.LAST) == (fast.ids == VOCABULARY["?"])).all()
    assert ((fast.types == TokenType.LAST).sum(1) == 1).all()


def test_knockout_makes_the_question_blind_as_it_stands_and_not_behind_another_token():
    """A random model reads two pictures with the toy world's prompt, and with a prompt whose first word is TEXT.

    The shapes are those of the golden batch, whose program test_llava.py compiles as well.
    """
    model = llava.load(GOLDEN / "llava_15_llama", dtype=jnp.float32)
    types = np.pad(toyworld.arrays(examples_of()[:1]).types[0], (0, 29 - toyworld.LENGTH))
    ids = np.where(types == TokenType.IMAGE, 39, np.arange(29))
    pictures = np.random.default_rng(0).standard_normal((2, 3, 28, 28), np.float32)

    def largest_changes(types):
        """Return the largest change of tokens of each type between the two pictures."""
        with jax.default_matmul_precision("highest"):
            output = llava.forward(
                model,
                np.stack([ids] * 2),
                pictures,
                token_types=np.stack([types] * 2),
                knockouts=(llava.Knockout("all"),),
            )
        states = np.asarray(output.residual)
        change = np.abs(states[:, 0] - states[:, 1]).max(axis=(0, 2))
        return [change[types == kind].max() for kind in (TokenType.IMAGE, TokenType.QUESTION, TokenType.LAST)]

    image, question, last = largest_changes(types)
    assert question == 0.0 < min(image, last)
    image, question, last = largest_changes(np.where(np.arange(29) == IMAGE_TOKENS, TokenType.TEXT, types))
    assert min(image, question, last) > 0.01


def test_prompts_are_short_and_the_longest_fills_the_arrays():
    fast = toyworld.arrays(examples_of())
    assert (fast.types > TokenType.PAD).sum(1).max() == toyworld.LENGTH == 27
    assert len(VOCABULARY) == max(VOCABULARY.values()) + 1 == 57
    assert (fast.ids != VOCABULARY["<unk>"]).all()


def test_processor_comes_back_from_a_folder_and_pictures_from_files(tmp_path):
    toyworld.hugging_face_processor().save_pretrained(tmp_path)
    read = llava.read_processor(tmp_path, style=toyworld.STYLE, suffix="none")
    assert llava.fingerprint(read) == llava.fingerprint(processor())
    sample = toyworld.samples(examples_of()[:1])[0]
    file = tmp_path / "scene.png"
    Image.fromarray(np.asarray(sample.image)).save(file)
    original, restored = (
        llava.encode_prompt(p, s) for p, s in ((processor(), sample), (read, sample._replace(image=file)))
    )
    np.testing.assert_array_equal(original.ids, restored.ids)
    assert original.pixels is not None
    assert restored.pixels is not None
    np.testing.assert_array_equal(original.pixels, restored.pixels)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"question": "a unicorn"}, "the words of the toy world, got 'unicorn' in train-0-0; see VOCABULARY"),
        ({"answer": "unicorn"}, "the words of the toy world, got 'unicorn' in train-0-0"),
        (
            {"question": " ".join(["is"] * 11)},
            "a question has at most 10 words, got 11 in train-0-0; shorten it",
        ),
    ],
)
def test_example_that_the_prompt_cannot_hold_is_refused_by_its_name(changes, words):
    (example,) = toyworld.generate(1, seed=0)
    for encode in (toyworld.arrays, toyworld.samples):
        with pytest.raises(ValueError, match=words):
            encode([example._replace(**changes)])
