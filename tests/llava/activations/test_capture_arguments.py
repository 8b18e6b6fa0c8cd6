"""What `capture` takes as samples and choices, and what it refuses before any prompt is padded."""

import re
from dataclasses import replace

import numpy as np
import pytest

from pid import llava
from pid.llava import Knockout
from pid.llava.activations.batching import prefix_length
from pid.llava.activations.capture_config import make_capture_config
from pid.llava.activations.row_checks import check_row, pending, prompt_digest, to_row, to_rows
from tests.helpers import tiny_llava
from tests.helpers.llava_golden import GOLDEN, NAMES, golden, loaded
from tests.helpers.tiny_llava import CONFIG, IMAGE, LAST, capture, row, rows, words


@pytest.fixture(autouse=True, scope="module")
def quick():
    with tiny_llava.quick_programs():
        yield


# Samples


def pixels_of(sample) -> np.ndarray:
    """The tiles of a sample that has an image."""
    return np.asarray(sample.pixels)


def with_tiles(sample, count):
    """The sample with its first `count` tiles, or with tiles like its first one besides."""
    tiles = sample.pixels[np.minimum(np.arange(count), len(sample.pixels) - 1)]
    return sample._replace(pixels=tiles)


@pytest.mark.parametrize("count", [1, 3, 4, 6])
def test_sample_with_fewer_or_more_tiles_than_its_size_needs_is_refused(count, tmp_path):
    """The image of (8, 8) pixels has one base tile and 2 x 2 of 4 pixels, whatever the largest image has."""
    samples = [rows()[0], with_tiles(row("x"), count)]
    with pytest.raises(
        ValueError, match=re.escape("sample 'x': an image of (height, width) = (8, 8) needs 5 tiles")
    ):
        capture(tmp_path, samples)
    assert not list(tmp_path.glob("shard-*"))
    with pytest.raises(ValueError, match=f"needs 5 tiles, got {count}"):
        check_row(CONFIG, samples[1])


def test_zeros_behind_the_tiles_of_a_smaller_image_are_padding():
    small = rows()[0]
    padded = np.concatenate([pixels_of(small), np.zeros_like(pixels_of(row("x")))])
    assert check_row(CONFIG, small._replace(pixels=padded)).name == small.name
    with pytest.raises(ValueError, match="needs 3 tiles, got 2"):
        check_row(CONFIG, small._replace(pixels=padded * (np.arange(len(padded)) < 2)[:, None, None, None]))


def in_window(window):
    return replace(CONFIG, text=replace(CONFIG.text, sliding_window=window))


@pytest.mark.parametrize(
    ("config", "changed", "rule"),
    [
        (CONFIG, {"image_size": None}, "LLaVA-1.6 needs image_sizes"),
        (CONFIG, {"pixels": pixels_of(row("x"))[0]}, "pixel_values are one image per row"),
        (CONFIG, {"pixels": pixels_of(row("x")) * np.nan}, "pixel_values are finite, got NaN"),
        (CONFIG, {"pixels": (pixels_of(row("x")) > 0).astype(np.uint8)}, "pixel_values are floating"),
        (CONFIG, {"ids": row("x").ids + 24}, "token ids lie in 0 … 23"),
        (CONFIG, {"ids": row("x").ids * 1.0}, "input_ids are integers (B, T), got float64"),
        (in_window(30), {}, "this port has no sliding window, which matters beyond 30 tokens, got 31"),
    ],
)
def test_sample_that_breaks_a_rule_of_forward_is_named(config, changed, rule):
    with pytest.raises(ValueError, match=re.escape(f"sample 'x': {rule}")):
        check_row(config, row("x")._replace(**changed))


def test_buckets_are_not_counted_against_a_sliding_window(tmp_path):
    """The golden Mistral with a window of 30: prompts of 27 tokens run in batches that are 33 tokens long."""
    name, reference = NAMES[1], golden(NAMES[1])
    model = loaded(name)
    samples = []
    for i, types in enumerate(reference["token_types"]):
        tokens = np.flatnonzero(types)[-27:]
        ids, pixels = reference["input_ids"][i][tokens], reference["pixel_values"][i : i + 1]
        samples.append(llava.EncodedPrompt(f"{i}", ids, types[tokens], pixels, None))
    prefix = max(prefix_length(sample.types) for sample in samples)
    buckets = llava.Buckets((prefix,), (33 - prefix,))
    stores = []
    for window in (None, 30):
        text = replace(model.config.text, sliding_window=window)
        language = llava.load(GOLDEN / name, dtype="float32")
        language.config = replace(model.config, text=text)
        conditions = {"baseline": ()}
        stores.append(
            capture(
                tmp_path / f"{window}",
                samples,
                model=language,
                conditions=conditions,
                groups=LAST,
                buckets=buckets,
            )
        )
    plain, windowed = (np.asarray(store.states("baseline", LAST)) for store in stores)
    np.testing.assert_array_equal(plain, windowed)


class Encoded:
    """An object with rows, like an encoded batch."""

    def rows(self):
        return iter(rows())


@pytest.mark.parametrize(
    "samples",
    [
        rows(),
        Encoded(),
        (sample for sample in rows()),
        [sample._asdict() for sample in rows()],
    ],
    ids=["tuple", "batch", "generator", "dictionaries"],
)
def test_samples_are_prompts_in_any_collection(samples):
    prompts = [to_row(sample, place) for place, sample in enumerate(to_rows(samples))]
    assert [prompt.name for prompt in prompts] == ["a", "b", "c", "d", "e"]
    assert all(isinstance(prompt, llava.EncodedPrompt) for prompt in prompts)
    assert list(to_rows(rows()[0])) == [rows()[0]]  # a single one


@pytest.mark.parametrize(
    "samples",
    [
        {"input_ids": [[1, 2]], "attention_mask": [[1, 1]]},
        "samples.json",
        7,
        [{"image": "kettle.jpg", "question": "What is it?"}],
        [llava.Sample("q1", "kettle.jpg", "What is it?")],
        [7],
        ["q1"],
    ],
    ids=str,
)
def test_samples_that_are_not_encoded_are_refused(samples):
    remedy = r"samples are encoded prompts.*got (dict|str|int|Sample).*encode samples by llava.encode_prompts"
    with pytest.raises(ValueError, match=remedy):
        list(to_row(sample, place) for place, sample in enumerate(to_rows(samples)))


# Resuming


def test_resume_with_other_samples_of_the_same_names_is_refused(tmp_path):
    settings = {"conditions": {"baseline": ()}, "groups": IMAGE}
    store = capture(tmp_path, rows()[:2], **settings)
    assert capture(tmp_path, rows()[:2], **settings).names == store.names
    for changed in (
        {"ids": rows()[1].ids[::-1]},
        {"types": np.where(rows()[1].types == 1, 3, rows()[1].types)},
        {"pixels": pixels_of(rows()[1]) + 1e-3},
        {"image_size": (16, 8)},
    ):
        other = rows()[1]._replace(**changed)
        assert prompt_digest(other) != prompt_digest(rows()[1])
        with pytest.raises(
            ValueError, match="rows keep their content, got other tokens or pixels for 'b' than the"
        ):
            capture(tmp_path, [rows()[0], other], **settings)
    assert prompt_digest(rows()[1]._replace(name="z")) == prompt_digest(rows()[1])
    old = pending(rows()[:2], {"a": 0, "b": 1}, 0, 1, lambda count: None)  # a store without hashes
    assert list(old) == []


# Choices


def choices(**changed):
    settings = {
        "conditions": {"baseline": ()},
        "groups": (IMAGE,),
        "states": None,
        "options": (),
        "dtype": "float32",
    }
    return make_capture_config(tiny_llava.BUCKETS, **settings | changed)


def test_one_choice_stands_for_a_list_of_one():
    several = choices(conditions={"baseline": (), "cut": (Knockout(0),)}, states=("cut",), options=(3,))
    one = choices(conditions={"baseline": (), "cut": Knockout(0)}, states="cut", options=3, groups=IMAGE)
    assert one == several
    assert choices(dtype=np.float32) == choices(dtype=np.dtype("float32")) == choices()


@pytest.mark.parametrize(
    ("changed", "rule"),
    [
        ({"conditions": [Knockout(0)]}, "conditions have names, got list"),
        ({"conditions": {"baseline": (), 12: (Knockout(0),)}}, "conditions are named by strings, got 12"),
        ({"conditions": {"baseline": (), "cut": 5}}, "knockouts are a list of Knockout, got 5"),
        ({"states": "cut"}, "states are stored of conditions, got ['cut']"),
        ({"groups": ()}, "groups are different types above PAD=0, got ()"),
        ({"groups": (2, 2)}, "groups are different types above PAD=0, got (2, 2)"),
        ({"dtype": np.float16}, "states are stored as float32 or bfloat16, got 'float16'"),
    ],
)
def test_choice_that_breaks_a_rule_is_refused(changed, rule):
    with pytest.raises(ValueError, match=re.escape(rule)):
        choices(**changed)


@pytest.mark.parametrize(
    ("changed", "rule"),
    [
        ({"batch": 0}, "a batch has at least one prompt, got batch=0"),
        ({"share": (2, 2)}, "a share is (index, count), with index 0 … count - 1, got (2, 2)"),
        ({"share": (0, 0)}, "a share is (index, count), with index 0 … count - 1, got (0, 0)"),
    ],
)
def test_share_and_batch_that_hold_nothing_are_refused(changed, rule, tmp_path):
    with pytest.raises(ValueError, match=re.escape(rule)):
        capture(tmp_path, [words("w")], **changed)
    assert not list(tmp_path.iterdir())


def test_mesh_of_more_devices_than_there_are_is_refused():
    with pytest.raises(
        ValueError, match="a mesh has data x model devices of one host, got data=3, model=3 for 8 devices"
    ):
        llava.MeshShape(data=3, model=3).concrete()


def test_folder_of_something_else_is_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match="a store has a config.json, found none in"):
        llava.Store.open(tmp_path / "nothing")
    golden_folder = GOLDEN / NAMES[0]
    for door in (llava.Store.open, lambda path: capture(path, [words("w")])):
        with pytest.raises(
            ValueError, match="got none of model, conditions, states, groups in .*config.json"
        ):
            door(golden_folder)
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(ValueError, match="the config.json of a store is JSON, got "):
        llava.Store.open(tmp_path)
    with pytest.raises(FileExistsError, match="a store is a folder, got the file"):
        capture(tmp_path / "config.json", [words("w")])
