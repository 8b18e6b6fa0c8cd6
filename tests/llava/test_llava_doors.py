"""The public doors of `pid.llava`: what they take in another form, and how they refuse the rest by rule and remedy."""

import io
import json
import re
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import jaxtyping
import numpy as np
import pytest

from pid import llava
from pid.llava import EncodedPrompt, Knockout, Sample
from tests.helpers.folders.llava_folder import picture, theirs, wrapped_processor
from tests.helpers.llava_golden import GOLDEN, batch_of, folder_of, loaded
from tests.llava.preprocessing.model_folders import save_folder

NAME = "llava_15_llama"
untyped: Any = llava


def sample(**fields):
    return Sample(**{"name": "q1", "image": picture(30, 40), "question": "What color?"} | fields)


def encode(**fields):
    return untyped.encode(wrapped_processor(), [sample(**fields)])


def row():
    return next(iter(encode().rows()))


def forward(**changes):
    return untyped.forward(loaded(NAME), **batch_of(NAME, **changes))


def pad(**fields):
    return untyped.pad(
        EncodedPrompt(
            **{"name": "t", "ids": [5, 6], "types": [3, 4], "pixels": None, "image_size": None} | fields
        )
    )


def anyres(**changes):
    arguments = {"size": (3, 4), "pinpoints": [(4, 2)], "tile": 2, "side": 2} | changes
    return untyped.anyres_rows(arguments.pop("size"), arguments.pop("pinpoints"), **arguments)


def capture(**options):
    return untyped.capture(loaded(NAME), [], **{"conditions": {"b": ()}, "store": "never written"} | options)


REFUSALS: dict[str, tuple[Callable[[], Any], type[Exception], str]] = {
    "processor of transformers": (
        lambda: untyped.encode(theirs(), [sample()]),
        TypeError,
        "by a Processor, got LlavaProcessor; .* by llava.wrap_processor",
    ),
    "no samples": (lambda: untyped.encode(wrapped_processor(), None), TypeError, "list of Sample.* got NoneType"),
    "name": (lambda: encode(name=7), TypeError, "the name of a sample is a text, got 7; convert it by str"),
    "no spans": (lambda: encode(spans=None), ValueError, "sample 'q1': spans are triples .* got None"),
    "flat spans": (lambda: encode(spans=(1, 3, 5)), ValueError, "spans are triples .* got 1"),
    "float spans": (lambda: encode(spans=((0.5, 3, 5),)), ValueError, r"spans are triples .* got \(0.5, 3, 5\)"),
    "bytes": (lambda: encode(question=b"What?"), TypeError, "a question is a text, got bytes; decode it"),
    "half a character": (
        lambda: encode(question="Is \ud800?"),
        ValueError,
        "a question is a text of whole characters, got .* at 3; decode",
    ),
    "style": (lambda: untyped.wrap_processor(theirs(), style=None), TypeError, "a style is a text, got NoneType"),
    "suffix": (lambda: untyped.wrap_processor(theirs(), suffix=None), TypeError, "a suffix is a text, got None"),
    "wrapped": (lambda: untyped.wrap_processor(wrapped_processor()), TypeError, "use a Processor as it is"),
    "hub": (lambda: untyped.wrap_processor("llava-hf/a"), TypeError, "read a folder by llava.read_processor"),
    "hub folder": (lambda: llava.read_processor("llava-hf/a"), FileNotFoundError, "hf download llava-hf/a"),
    "no folder": (lambda: untyped.read_processor(None), TypeError, "a model folder is a path, got NoneType"),
    "no model folder": (lambda: untyped.load(None, dtype="float32"), TypeError, "is a path, got NoneType"),
    "mesh": (
        lambda: untyped.load(GOLDEN / NAME, dtype="float32", mesh=llava.MeshShape()),
        TypeError,
        r"a mesh is one of JAX, got MeshShape; .*\.concrete\(\)",
    ),
    "arrays": (
        lambda: untyped.load_text(loaded(NAME).config, {}, dtype="float32"),
        TypeError,
        "got LlavaConfig and dict; pass config.text",
    ),
    "model": (lambda: untyped.forward("llava", [[1]]), TypeError, "a model is a Llava, got str; load one by"),
    "config": (lambda: untyped.prepare(loaded(NAME), [[1]]), TypeError, "got Llava; pass model.config"),
    "no groups": (lambda: forward(groups=None), ValueError, r"types above PAD=0, got \(None,\)"),
    "groups": (lambda: forward(groups="image"), ValueError, r"types above PAD=0, got \('image',\)"),
    "sizes": (
        lambda: llava.prepare(loaded("llava_next_llama").config, **fractional_sizes()),
        ValueError,
        "image_sizes are whole numbers",
    ),
    "capture": (
        lambda: untyped.capture(None, [], conditions={"b": ()}, store="a"),
        TypeError,
        "a model is a Llava, got NoneType",
    ),
    "store": (lambda: capture(store=None), TypeError, "a store is the path of a folder, got NoneType"),
    "weights": (lambda: capture(weights=None), TypeError, "weights is a fingerprint, a text, got NoneType"),
    "share": (lambda: capture(share=2), ValueError, r"a share is \(index, count\), .* got 2; count from 0"),
    "options": (lambda: capture(options=(1.5,)), ValueError, r"options are token ids, got \(1.5,\)"),
    "words": (lambda: capture(options="yes"), ValueError, "options are token ids, got 'yes'"),
    "windows": (lambda: untyped.windows(4, 2.5), ValueError, "whole numbers, got layers=4 and width=2.5"),
    "layers": (lambda: llava.windows(-3), ValueError, "whole numbers, got layers=-3"),
    "pinpoints": (lambda: llava.anyres_rows((3, 4), [], tile=2, side=2), ValueError, "got no pinpoints"),
    "batch": (lambda: untyped.pad(["a"]), TypeError, "rows are of type EncodedPrompt, got str; encode samples"),
    "tiles": (
        lambda: llava.pad([row(), row()._replace(pixels=np.zeros((1, 3, 14, 14)))]),
        ValueError,
        r"one shape, got \(3, 14, 14\) and \(3, 28, 28\)",
    ),
    "length": (lambda: untyped.pad(row(), length="5"), ValueError, "a whole number of tokens, got '5'; pass one"),
    "depth": (lambda: untyped.pad(row(), tiles=1.5), ValueError, "a whole number of tiles, got 1.5; pass one"),
    "true length": (lambda: untyped.pad(row(), length=True), ValueError, "whole number of tokens, got True"),
    "padding": (lambda: untyped.pad(row(), pad_token=5.5), ValueError, "from 0, got pad_token=5.5; pass one"),
    "no rows": (lambda: untyped.pad(7), TypeError, "rows are a list of EncodedPrompt, got int"),
    "float ids": (lambda: pad(ids=[5.7, 6.0]), ValueError, "ids of a row are whole .* got float64 .* row 't'"),
    "large ids": (lambda: pad(ids=[5, 2**40]), ValueError, r"ids of a row are whole numbers 0 … 2147483647 \(T,\)"),
    "large types": (lambda: pad(types=[2**40, 4]), ValueError, r"types of a row are whole numbers 0 … 1023"),
    "more types": (lambda: pad(types=[1, 3, 4]), ValueError, "as many types as ids, got 3 for 2 in row 't'"),
    "no size": (lambda: untyped.pad(row()._replace(image_size=None)), ValueError, "got image_size=None in row 'q1'"),
    "empty row": (lambda: pad(ids=[], types=[]), ValueError, r"ids of a row are whole .* got float64 \(0,\)"),
    "saved": (lambda: untyped.save(None, "never written"), TypeError, "a model is a Llava, got NoneType"),
    "language": (lambda: untyped.save(loaded(NAME).language, "a"), TypeError, "a Llava, got LanguageModel"),
    "save": (lambda: untyped.save(loaded(NAME), None), TypeError, "a saved model is the path of a folder, got None"),
    "cache": (
        lambda: untyped.load(GOLDEN / NAME, dtype="float32", cache=3),
        TypeError,
        "a cache of weights is the path of a folder, got int; name a folder",
    ),
    "opened store": (lambda: untyped.Store.open(None), TypeError, "a store is the path of a folder, got NoneType"),
    "lists of weights": (
        lambda: untyped.load_text(loaded(NAME).config.text, {"model.norm.weight": [1.0]}, dtype="float32"),
        TypeError,
        "arrays of floats by their keys, got list for 'model.norm.weight'",
    ),
    "quantized weights": (
        lambda: untyped.load_text(loaded(NAME).config.text, {"a": np.zeros(2, np.int8)}, dtype="float32"),
        TypeError,
        "got int8 for 'a'; convert it",
    ),
    "large target": (lambda: Knockout("all", target=2**20), ValueError, "a type up to 1023, got 1048576"),
    "bytes of layers": (lambda: untyped.Knockout(b"all"), ValueError, "got b.all.: they are bytes; pass"),
    "mask": (lambda: untyped.knockout_mask((), "4"), ValueError, "number of layers of the model, got '4'; pass config"),
    "negative mask": (lambda: llava.knockout_mask((), -1), ValueError, "the number of layers of the model, got -1"),
    "large span": (lambda: encode(spans=((0, 2, 2**40),)), ValueError, "correct it, with a type up to 1023"),
    "true span": (lambda: encode(spans=((False, True, 5),)), ValueError, "triples .* of whole numbers, got .False"),
    "large token types": (
        lambda: forward(token_types=np.where(batch_of(NAME)["token_types"] == 3, 2**40, 1)),
        ValueError,
        "got int64 .* from 1 to 1099511627776; see TokenType, which ends at 1023",
    ),
    "true group": (lambda: forward(groups=(True,)), ValueError, "different types above PAD=0, got"),
    "states": (lambda: capture(states=3), ValueError, "states are names of conditions, got 3; pass a list"),
    "stored dtype": (lambda: capture(dtype=3), ValueError, "stored as float32 or bfloat16, got '3'"),
    "half a condition": (
        lambda: capture(conditions={"b": (), "\ud800": Knockout(0)}),
        ValueError,
        "the name of a condition is a text of whole characters",
    ),
    "float buckets": (lambda: untyped.Buckets((48.5,)), ValueError, r"got prefix=\(48.5,\); pass a tuple"),
    "text buckets": (lambda: untyped.Buckets(("48",)), ValueError, r"got prefix=\(.48.,\); pass a tuple"),
    "image size": (lambda: anyres(size=(3.5, 4)), ValueError, r"a size is two whole numbers .* got \(3.5, 4\)"),
    "three sides": (lambda: anyres(size=(3, 4, 5)), ValueError, r"a size is two whole numbers .* got \(3, 4, 5\)"),
    "flat pinpoints": (lambda: anyres(pinpoints=[4]), ValueError, "a pinpoint is two whole numbers .* got 4; pass"),
    "partial tiles": (lambda: anyres(pinpoints=[(3, 2)]), ValueError, r"whole tiles of 2 pixels, got \(3, 2\)"),
    "no tile": (lambda: anyres(tile=0), ValueError, "a tile has pixels and patches, got tile=0 and side=2"),
}  # fmt: skip


def fractional_sizes():
    batch = batch_of("llava_next_llama")
    return batch | {"image_sizes": np.asarray(batch["image_sizes"]) + 0.5}


@pytest.mark.parametrize("case", REFUSALS)
def test_wrong_argument_is_refused_by_rule_and_remedy(case):
    call, kind, message = REFUSALS[case]
    with pytest.raises((kind, jaxtyping.TypeCheckError)) as refusal:
        call()
    if "Type-check error" not in str(refusal.value):  # by the annotations, which are checked in tests alone
        assert re.search(message, str(refusal.value))


def test_users_see_these_sentences_where_annotations_are_not_checked():
    tests = f"{__file__}::test_wrong_argument_is_refused_by_rule_and_remedy"
    command = [sys.executable, "-m", "pytest", "-q", "-o", "addopts=", "-p", "no:cacheprovider", tests]
    finished = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert f"{len(REFUSALS)} passed" in finished.stdout, finished.stdout[-3000:]


@pytest.mark.parametrize("weight_map", [{"a": 1}, {"a": "../model.safetensors"}])
def test_index_names_files_of_its_folder(weight_map, tmp_path):
    folder_of(NAME, tmp_path)
    (tmp_path / "model.safetensors").rename(tmp_path / "model-00001-of-00001.safetensors")
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps({"weight_map": weight_map}))
    with pytest.raises(ValueError, match=re.escape(f"names files of its folder, got {weight_map['a']!r} in")):
        llava.load(tmp_path, dtype="float32")


def test_templates_of_a_processor_are_of_one_family(tmp_path):
    """A legacy chat_template.json beside a chat_template.jinja, of which transformers reads only one."""
    folder = save_folder(tmp_path)
    (folder / "chat_template.json").write_text(json.dumps({"chat_template": "[INST] x [/INST]"}))
    (folder / "chat_template.jinja").write_text("USER: x ASSISTANT:")
    message = "one family, got mistral in chat_template.json and vicuna in chat_template.jinja of"
    with pytest.raises(ValueError, match=message):
        llava.read_processor(folder)
    assert llava.read_processor(folder, style="<image>{question}").style == "<image>{question}"
    (folder / "chat_template.jinja").write_text("[INST] y [/INST]")
    assert llava.read_processor(folder).style_name == "mistral"


def test_row_of_datasets_is_an_image(tmp_path):
    """`datasets` keeps an image that it has not decoded as {"bytes": …, "path": …}."""
    expected = encode().pixels
    buffer = io.BytesIO()
    picture(30, 40).save(buffer, "PNG")
    (tmp_path / "a.png").write_bytes(buffer.getvalue())
    for image in (
        {"bytes": buffer.getvalue(), "path": None},
        {"bytes": buffer.getvalue(), "path": "elsewhere.png"},
        {"bytes": None, "path": str(tmp_path / "a.png")},
    ):
        np.testing.assert_array_equal(encode(image=image).pixels, expected)


def test_one_stands_for_a_list_of_one():
    single, several = llava.encode(wrapped_processor(), sample()), encode()
    np.testing.assert_array_equal(single.ids, several.ids)
    assert llava.pad(row()).names == llava.pad(one for one in [row()]).names == ("q1",)
    mask = llava.knockout_mask(Knockout(1), 2)
    assert mask.sum() == 1


def test_names_of_captured_samples_are_texts(tmp_path):
    prompt: Any = EncodedPrompt("q1", np.array([5, 6]), np.array([3, 4]), None, None)
    with pytest.raises(
        ValueError, match="the name of a sample is a text, got 7 at place 0; convert it by str"
    ):
        untyped.capture(
            loaded(NAME), [prompt._replace(name=7)], conditions={"b": ()}, groups=(3, 4), store=tmp_path / "s"
        )
