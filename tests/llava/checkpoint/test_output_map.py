"""The output map and the embedding: what the config says of them, and what is stored."""

import re
import warnings
from dataclasses import replace

import jax
import jax.numpy as jnp
import ml_dtypes
import numpy as np
import pytest

from pid import llava
from pid.llava.__main__ import main
from pid.llava.parity import report as report_file
from tests.helpers.llava_golden import CRITERION, batch_of, error, folder_of, golden, loaded, text_arrays

NAME, NEXT = "llava_15_mistral", "llava_next_llama"
EMBEDDING, HEAD = "language_model.model.embed_tokens.weight", "language_model.lm_head.weight"
WORDS = "an output map that is tied to the embedding has its values, got a different lm_head.weight"


@pytest.fixture(autouse=True)
def full_precision():
    with jax.default_matmul_precision("highest"):
        yield


def tie(outer=None, text=None):
    """An edit of a folder that sets tie_word_embeddings in the config, outside and in the text model."""

    def edit(config, tensors):
        for fields, value in ((config, outer), (config["text_config"], text)):
            fields.pop("tie_word_embeddings", None)
            fields.update({} if value is None else {"tie_word_embeddings": value})

    return edit


def then(*edits):
    def edit(config, tensors):
        for one in edits:
            one(config, tensors)

    return edit


def output_map(model) -> np.ndarray:
    """The kernel of the output map (D, V)."""
    return np.asarray(model.language.head.kernel[...])


def logits(model, name=NAME):
    return np.asarray(llava.forward(model, **batch_of(name)).logits)[golden(name)["token_types"] > 0]


@pytest.mark.parametrize(
    "places",
    [
        {"outer": True},
        {"outer": True, "text": True},
        {"outer": True, "text": False},
        {"text": True},
        {"outer": False, "text": True},
    ],
    ids=str,
)
def test_stored_output_map_is_used_and_said_once_as_in_hugging_face(places, tmp_path):
    folder_of(NAME, tmp_path, edit=tie(**places))
    with pytest.warns(UserWarning, match=WORDS) as caught:
        model = llava.load(tmp_path, dtype=jnp.float32)
    assert len(caught) == 1
    assert not model.config.text.tie_embeddings
    theirs = golden(NAME)["logits"][golden(NAME)["token_types"] > 0]
    assert error(logits(model)[None], theirs[None]) < CRITERION


def test_next_is_tied_by_its_outer_config_alone(tmp_path):
    """The class of LLaVA-NeXT, unlike that of LLaVA, does not read the field of its text model."""
    folder_of(NEXT, tmp_path, edit=tie(outer=False, text=True))
    assert not llava.load(tmp_path, dtype=jnp.float32).config.text.tie_embeddings
    folder_of(NEXT, tmp_path, edit=tie(outer=True, text=False))
    with pytest.warns(UserWarning, match=WORDS):
        assert not llava.load(tmp_path, dtype=jnp.float32).config.text.tie_embeddings


@pytest.mark.parametrize("dtype", [np.float16, ml_dtypes.bfloat16, np.float32])
def test_equal_output_map_stays_tied_and_a_missing_one_too(dtype, tmp_path):
    def copy(config, tensors):
        tensors[EMBEDDING] = tensors[EMBEDDING].astype(dtype)
        tensors[HEAD] = tensors[EMBEDDING].copy()

    folder_of(NAME, tmp_path, edit=then(tie(outer=True), copy))
    model = llava.load(tmp_path, dtype=jnp.float32)
    assert model.config.text.tie_embeddings
    assert model.language.head is None
    folder_of(NAME, tmp_path, edit=then(tie(outer=True), copy, lambda _, tensors: tensors.pop(HEAD)))
    np.testing.assert_array_equal(logits(llava.load(tmp_path, dtype=jnp.float32)), logits(model))


def test_one_value_makes_the_difference_and_counts_in_the_dtype_of_the_model(tmp_path):
    def change(config, tensors):
        tensors[EMBEDDING] = tensors[EMBEDDING].astype(np.float32)
        tensors[HEAD] = tensors[EMBEDDING].copy()
        tensors[HEAD][-1, -1] *= 1.0001

    folder_of(NAME, tmp_path, edit=then(tie(outer=True), change))
    assert llava.load(tmp_path, dtype=jnp.bfloat16).config.text.tie_embeddings
    with pytest.warns(UserWarning, match=WORDS):
        assert not llava.load(tmp_path, dtype=jnp.float32).config.text.tie_embeddings


def test_output_map_serves_as_the_embedding_if_only_it_is_stored(tmp_path):
    """transformers ties in both directions: the tensor that is there is used for both."""
    folder_of(NAME, tmp_path, edit=then(tie(outer=True), lambda _, tensors: tensors.pop(EMBEDDING)))
    model = llava.load(tmp_path, dtype=jnp.float32)
    kernel = output_map(loaded(NAME))
    np.testing.assert_array_equal(np.asarray(model.language.embed.embedding[...]), kernel.T)


def test_output_map_that_is_missing_and_not_tied_is_refused(tmp_path):
    folder_of(NAME, tmp_path, edit=lambda _, tensors: tensors.pop(HEAD))
    with pytest.raises(ValueError, match=re.escape("set tie_word_embeddings to true in config.json")):
        llava.load(tmp_path, dtype=jnp.float32)
    folder_of(NAME, tmp_path, edit=then(tie(outer=True), lambda _, t: (t.pop(HEAD), t.pop(EMBEDDING))))
    with pytest.raises(ValueError, match=re.escape("got none for language_model.embed_tokens.weight in")):
        llava.load(tmp_path, dtype=jnp.float32)


def test_cache_and_saved_copies_keep_the_stored_output_map(tmp_path):
    folder_of(NAME, tmp_path / "model", edit=tie(outer=True))
    ours = []
    for _ in range(2):
        with pytest.warns(UserWarning, match=WORDS):
            ours.append(logits(llava.load(tmp_path / "model", dtype=jnp.float32, cache=tmp_path / "cache")))
    np.testing.assert_array_equal(*ours)
    with pytest.warns(UserWarning, match=WORDS):
        llava.save(llava.load(tmp_path / "model", dtype=jnp.float32), tmp_path / "saved")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        np.testing.assert_array_equal(logits(llava.load(tmp_path / "saved", dtype=jnp.float32)), ours[0])


def test_text_model_uses_its_stored_output_map():
    config = replace(loaded(NAME).config.text, tie_embeddings=True)
    head = output_map(loaded(NAME)).T
    with pytest.warns(UserWarning, match=WORDS):
        model = llava.load_text(config, text_arrays(NAME) | {"lm_head.weight": head}, dtype=jnp.float32)
    assert model.head is not None
    np.testing.assert_array_equal(np.asarray(model.head.kernel[...]), head.T)


@pytest.mark.filterwarnings("ignore:an output map")
def test_verify_without_torch_names_the_output_map_and_does_not_pass_what_it_did_not_compare(
    tmp_path, capsys, monkeypatch
):
    monkeypatch.setattr(report_file, "has_torch", lambda: False)
    folder_of(NAME, tmp_path, edit=tie(outer=True))
    assert main(["verify", str(tmp_path)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert "PASS" not in lines
    assert lines[-1] == "PASS of names, shapes and finite numbers; the layers were not compared with torch"
    assert (
        "output map   stored with other values than the embedding and used, though config.json ties them"
        in lines
    )
    assert not [line for line in lines if "not computed" in line and "lm_head" in line]
