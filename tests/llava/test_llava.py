"""Our LLaVA agrees with Hugging Face's eager torch on tiny random checkpoints (goldens: llava_reference.py)."""

import re
import tempfile
import zlib
from dataclasses import replace
from functools import cache
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from pid import llava
from pid.llava import Knockout, TokenType
from pid.llava.checkpoint.loading import abstract_model
from pid.llava.model import llava as model_file
from pid.llava.model import masked_attention as attention_file
from pid.llava.model.language_model import GROUPS, LanguageModel
from pid.llava.model.vision import VisionTower
from pid.llava.preprocessing.device_inputs import WORD
from tests.helpers.llava_golden import (
    CRITERION,
    GOLDEN,
    NAMES,
    WINDOW,
    batch_of,
    error,
    folder_of,
    golden,
    loaded,
    prepared,
    programs,
    run,
)


@pytest.fixture(autouse=True)
def full_precision():
    with jax.default_matmul_precision("highest"):
        yield


# Knockouts


def test_windows_are_centred_and_cut_off_at_both_ends():
    layer_windows = llava.windows(32)
    assert layer_windows[0] == (0, 1, 2, 3, 4)
    assert layer_windows[12] == (8, 9, 10, 11, 12, 13, 14, 15, 16)
    assert layer_windows[31] == (27, 28, 29, 30, 31)
    for width in range(1, 12):  # the formula of Zhang et al.
        for layer, layers in enumerate(llava.windows(10, width)):
            assert layers == tuple(range(max(0, layer - width // 2), min(10, layer - (-width // 2))))


def test_block_table_cuts_the_named_edges_alone():
    table = llava.knockout_mask((Knockout((1,)), Knockout("all", TokenType.LAST, 9)), 3)
    assert table.shape == (3, 1, 10, 10)
    pairs = {tuple(map(int, index)) for index in np.argwhere(table[:, 0])}
    assert pairs == {(1, 3, 2), (0, 4, 9), (1, 4, 9), (2, 4, 9)}
    assert llava.knockout_mask((), 3).shape == llava.knockout_mask(WINDOW, 3).shape == (3, 1, 8, 8)


def test_edges_are_cut_by_the_types_of_query_and_key_of_each_sample():
    table = np.zeros((2, 5, 5), bool)
    table[0, TokenType.QUESTION, TokenType.IMAGE] = table[1, TokenType.LAST, TokenType.TEXT] = True
    types = np.array([[1, 2, 3, 4, 7], [1, 2, 3, 4, 7]], np.int32)
    pairs = jax.jit(attention_file.knockout_pairs)(table, types, types)
    assert np.argwhere(pairs).tolist() == [
        [0, 2, 1],
        [1, 3, 0],
    ]  # type 7 lies beyond the mask and is not removed


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: Knockout("most"), "layers are numbers or 'all', got 'most'"),
        (lambda: Knockout((-1,)), "layers are counted from 0, got (-1,)"),
        (lambda: Knockout("all", TokenType.PAD), "the target of a knockout is a type above PAD=0, got 0"),
        (lambda: llava.knockout_mask((Knockout((3,)),), 3), "the model has layers 0 … 2, got [3]"),
        (lambda: llava.windows(4, 0), "at least one layer, got width=0"),
    ],
)
def test_knockout_that_makes_no_sense_is_refused(make, words):
    with pytest.raises(ValueError, match=re.escape(words)):
        make()


# Images of any resolution


def test_anyres_map_is_that_of_hugging_face():
    reference = np.load(GOLDEN / "llava_anyres.npz")
    pinpoints = ((336, 672), (672, 336), (672, 672), (1008, 336), (336, 1008))
    for size, count, checksum in zip(
        reference["sizes"], reference["counts"], reference["checksums"], strict=True
    ):
        rows = llava.anyres_rows((int(size[0]), int(size[1])), pinpoints, tile=336, side=24)
        assert (len(rows), zlib.crc32(rows.astype("<i4").tobytes())) == (count, checksum), size
    assert reference["counts"][:2].tolist() == [576 + 48 * 49, 2340]


def test_anyres_map_by_hand():
    # 2 × 1 tiles of 2 × 2 patches. The image is half as wide as high, like its grid: no padding to remove.
    rows = llava.anyres_rows((40, 20), ((4, 2),), tile=2, side=2)
    newline = -1
    assert rows.tolist() == [0, 1, 2, 3, 4, 5, newline, 6, 7, newline, 8, 9, newline, 10, 11, newline]
    # 1 × 2 tiles. The image is four times as wide as high: the first and the last row of the grid are padding.
    wide = llava.anyres_rows((10, 40), ((4, 8),), tile=4, side=4)
    assert wide[16:].tolist() == [20, 21, 22, 23, 36, 37, 38, 39, -1, 24, 25, 26, 27, 40, 41, 42, 43, -1]
    with pytest.raises(ValueError, match="at least one pixel each way"):
        llava.anyres_rows((0, 40), ((4, 8),), tile=4, side=4)


@pytest.mark.parametrize("name", NAMES[2:])
def test_map_of_a_batch_puts_the_newline_behind_all_tiles(name):
    reference, rows = golden(name), prepared(name).feature_rows
    for row in (0, 1):
        expected = np.where(reference[f"rows{row}"] < 0, 5 * 16, reference[f"rows{row}"])
        np.testing.assert_array_equal(rows[row][reference["input_ids"][row] == 39], expected)
    assert (rows[reference["input_ids"] != 39] == WORD).all()


# Parity with eager torch


@pytest.mark.parametrize("name", NAMES)
def test_every_layer_agrees_with_hugging_face(name):
    """One compiled program runs no knockout, a window, and a knockout in all layers, on batches with padding."""
    reference, mask = golden(name), golden(name)["token_types"] > 0
    compiled = []
    for case, knockouts in {"": (), "window_": WINDOW, "everywhere_": (Knockout("all"),)}.items():
        ours = run(name, knockouts=knockouts)
        residual, logits, final = (np.asarray(x) for x in (ours.residual, ours.logits, ours.final))
        assert error(residual[:, mask], reference[f"{case}residual"][:, mask]) < CRITERION, case
        assert error(logits[mask][None], reference[f"{case}logits"][mask][None]) < CRITERION, case
        if not case:
            assert error(final[mask][None], reference["final"][mask][None]) < CRITERION
        compiled.append(programs())
    assert len(set(compiled)) == 1
    change = np.abs(reference["window_logits"] - reference["logits"])[mask].max()
    assert change > 1  # the knockout has a large effect


@cache
def full_tower():
    """The vision tower of the tiny LLaVA-1.5 with Mistral, with all its blocks."""
    with tempfile.TemporaryDirectory() as path:
        last = {"vision_feature_layer": -1}
        folder_of("llava_15_mistral", Path(path), edit=lambda config, _: config.update(last))
        return llava.load(path, dtype=jnp.float32).vision


@cache
def tower_states(**changed):
    """All 1 + 3 states of that tower for the first tile of the golden batch."""
    config = replace(full_tower().config, **changed)
    graphdef = abstract_model(VisionTower, config, jnp.float32)[0]
    tile = golden("llava_15_mistral")["pixel_values"][:1]
    states = jax.jit(lambda params, tile: nnx.merge(graphdef, params).states(tile))
    return np.asarray(states(nnx.state(full_tower()), tile))[:, 0]


def test_vision_tower_alone_agrees_and_its_eps_matters():
    reference = golden("llava_15_mistral")["clip"]
    assert error(tower_states()[:-1], reference) < CRITERION
    assert error(tower_states(norm_eps=1e-6)[:-1], reference) > 40 * CRITERION


def test_vision_blocks_that_nobody_reads_are_not_loaded():
    vision, full = loaded("llava_15_mistral").vision, full_tower()
    assert vision.blocks is not None
    assert full.blocks is not None
    assert vision.blocks.up.kernel.shape[0] == vision.config.depth == 2
    assert full.blocks.up.kernel.shape[0] == 3


# Mutations: every mistake must increase the error


def run_error(name, graphdef, params, inputs):
    """The error of the residual stream from the program that `forward` runs."""
    ours = model_file.run(graphdef, params, inputs, collect="all", groups=GROUPS).residual
    mask = golden(name)["token_types"] > 0
    return error(np.asarray(ours)[:, mask], golden(name)["residual"][:, mask])


def language_residual(config):
    """The error of the residual stream of the tiny Mistral with another config, from golden embeddings."""
    name = "llava_15_mistral"
    inputs, reference = prepared(name), golden(name)
    graphdef = abstract_model(LanguageModel, config, jnp.float32)[0]
    params = nnx.state(loaded(name).language)
    residual = jax.jit(lambda params, *inputs: nnx.merge(graphdef, params)(*inputs).residual)(
        params, reference["residual"][0], inputs.types, inputs.knockout_mask
    )
    mask = reference["token_types"] > 0
    return error(np.asarray(residual)[:, mask], reference["residual"][:, mask])


@pytest.mark.parametrize(
    "changed",
    [
        pytest.param({"norm_eps": 1e-6}, id="{'eps': 1e-06}"),
        pytest.param({"rope_theta": 1e4}, id="{'theta': 10000.0}"),
    ],
)
def test_wrong_constant_of_the_language_model_is_seen(changed):
    config = loaded("llava_15_mistral").config.text
    assert (config.norm_eps, config.rope_theta) == (1e-5, 1e6)
    assert language_residual(replace(config, **changed)) > 40 * CRITERION


def test_interleaved_rotation_is_seen():
    """Rotating neighboring channels is equivalent to reordering the channels of queries and keys."""
    name = "llava_15_mistral"
    graphdef, params = nnx.split(loaded(name))

    def reorder(path, x):
        if not re.search(r"language.*(query|key).*kernel", jax.tree_util.keystr(path)):
            return x
        heads = np.asarray(x).reshape(*x.shape[:2], -1, 8)
        return jax.device_put(heads[..., [0, 2, 4, 6, 1, 3, 5, 7]].reshape(x.shape), x.sharding)

    params = jax.tree_util.tree_map_with_path(reorder, params)
    assert run_error(name, graphdef, params, prepared(name)) > 40 * CRITERION


@pytest.mark.parametrize("mistake", ["none", "tanh", "cls", "layer"])
def test_mistake_on_the_way_of_the_image_is_seen(mistake, monkeypatch):
    """Tower and projector give the embeddings of the first image. Each mistake makes an error above four criteria."""
    model, reference = loaded("llava_15_mistral"), golden("llava_15_mistral")
    if mistake == "tanh":
        monkeypatch.setattr(model_file, "exact_gelu", jax.nn.gelu)
    states = tower_states()[-1 if mistake == "layer" else -2]
    features = states[:-1] if mistake == "cls" else states[1:]
    graphdef, params = nnx.split(model.projector)
    embedded = jax.jit(lambda params, features: nnx.merge(graphdef, params)(features))(params, features[None])
    theirs = reference["residual"][0, 0][reference["token_types"][0] == TokenType.IMAGE]
    difference = error(embedded, theirs[None])
    assert difference < CRITERION if mistake == "none" else difference > 4 * CRITERION


def test_newline_that_is_dropped_is_seen():
    name = "llava_next_mistral"
    graphdef, params = nnx.split(loaded(name))
    inputs = prepared(name)
    dropped = inputs._replace(feature_rows=np.where(inputs.feature_rows == 80, 79, inputs.feature_rows))
    assert run_error(name, graphdef, params, inputs) < CRITERION
    assert run_error(name, graphdef, params, dropped) > 1000 * CRITERION


@pytest.mark.parametrize("shift", [-1, 1])
@pytest.mark.parametrize("group", [TokenType.QUESTION, TokenType.IMAGE], ids=lambda group: group.name)
def test_span_that_is_off_by_one_is_seen(group, shift):
    """A knockout whose group is shifted by one token differs from the golden knockout."""
    name = "llava_next_mistral"
    reference = golden(name)
    types, mask = reference["token_types"], reference["token_types"] > 0
    is_member = types == group
    shifted = np.where(is_member, TokenType.TEXT, types)
    shifted[np.roll(is_member, shift, axis=1)] = group
    assert ((shifted == group).sum(1) == is_member.sum(1)).all()
    ours = np.asarray(run(name, token_types=shifted, knockouts=WINDOW).residual)
    assert error(ours[:, mask], reference["window_residual"][:, mask]) > 1000 * CRITERION


# What knockouts, padding and pooling must do


def test_images_do_not_feel_that_questions_are_blind_and_no_window_compiles_anew():
    name = "llava_next_mistral"
    types = golden(name)["token_types"]
    plain = np.asarray(run(name).residual)
    compiled = programs()
    for layers in (*llava.windows(4, 3), "all"):
        knockout = np.asarray(run(name, knockouts=(Knockout(layers),)).residual)
        assert np.abs(knockout - plain)[:, types == TokenType.IMAGE].max() == 0.0
        first = 0 if layers == "all" else layers[0]
        change = np.abs(knockout - plain)[:, types == TokenType.QUESTION].max(axis=(1, 2))
        assert (change[: first + 1] == 0).all()
        assert (change[first + 1 :] > 0).all()
    user_types = (Knockout((0, 3), target=7, source=5), Knockout((2,), TokenType.LAST, TokenType.TEXT))
    run(name, knockouts=user_types)
    assert programs() == compiled


def test_query_that_sees_no_key_adds_nothing_and_learns_nothing_of_the_future():
    name = "llava_15_llama"
    blind = (Knockout("all", TokenType.TEXT, TokenType.TEXT),)
    ids = golden(name)["input_ids"]
    other_ids = np.where(golden(name)["token_types"] == TokenType.QUESTION, 5, ids)
    first, second = (
        np.asarray(run(name, knockouts=blind, input_ids=tokens).residual)[:, :, 0]
        for tokens in (ids, other_ids)
    )
    np.testing.assert_array_equal(first, second)


@pytest.mark.parametrize("name", ["llava_15_mistral", "llava_next_llama"])
def test_padding_and_batch_order_change_nothing(name):
    """Padding at any position and swapped rows give the same states, from one compiled program."""
    reference = golden(name)
    plain, mask = run(name), reference["token_types"] > 0
    compiled = programs()
    length = mask.shape[1]

    def move(positions, array, fill):
        result = np.full_like(array, fill)
        for row, keep_mask in enumerate(mask):
            result[row, positions(keep_mask.sum())] = array[row, keep_mask]
        return result

    def pad_left(count):
        return np.arange(length - count, length)

    def pad_inside(count):
        return np.r_[0:7, length - count + 7 : length]

    for positions in (pad_left, pad_inside):
        fills = (("input_ids", 38), ("token_types", 0))
        ids, types = (move(positions, reference[key], fill) for key, fill in fills)
        changed = batch_of(name, input_ids=ids, token_types=types, knockouts=WINDOW)
        for key in ("input_ids", "token_types", "pixel_values", "image_sizes"):
            changed[key] = None if changed[key] is None else changed[key][::-1]
        ours = llava.forward(loaded(name), **changed)
        residual = np.asarray(ours.residual)[:, ::-1][:, types > 0]
        assert error(residual, reference["window_residual"][:, mask]) < CRITERION
        logits = np.asarray(ours.logits)[::-1][types > 0]
        assert error(logits[None], reference["window_logits"][mask][None]) < CRITERION
    assert plain.residual.shape == reference["residual"].shape
    assert programs() == compiled


def test_pooled_states_are_the_means_of_all_states():
    name = "llava_next_mistral"
    reference, model, inputs = golden(name), loaded(name).language, prepared(name)
    types, groups = reference["token_types"], (TokenType.IMAGE, TokenType.LAST, TokenType.QUESTION, 5)
    graphdef, params = nnx.split(model)
    output = jax.jit(
        lambda params, *inputs: nnx.merge(graphdef, params)(*inputs, collect="pooled", groups=groups)
    )(params, reference["residual"][0], inputs.types, inputs.knockout_mask)
    states = reference["residual"].astype(np.float64)
    lengths = np.sqrt((states**2).mean(-1, keepdims=True) + model.config.norm_eps)
    for group, row in np.ndindex(3, 2):
        is_member = types[row] == groups[group]
        for ours, theirs in (
            (output.residual, states),
            (output.normalized, states / lengths),
            (np.asarray(output.final)[None], reference["final"][None]),
        ):
            assert error(ours[:, row, group], theirs[:, row, is_member].mean(1)) < 2 * CRITERION
    assert np.isnan(output.residual[:, :, 3]).all()  # no token has type 5: there is no mean
    last = reference["logits"][types == TokenType.LAST]
    assert error(np.asarray(output.logits)[None], last[None]) < CRITERION


def test_without_token_types_images_are_found_by_their_id_and_nothing_is_padding():
    name = "llava_15_llama"
    types = prepared(name, token_types=None).types
    np.testing.assert_array_equal(types, np.where(golden(name)["input_ids"] == 39, 2, 1))


# Refusals


@pytest.mark.parametrize(
    ("name", "changed", "words"),
    [
        (NAMES[0], {"input_ids": np.zeros((2, 3))}, "input_ids are integers (B, T), got float64 (2, 3)"),
        (NAMES[0], {"input_ids": np.full((2, 29), 40)}, "token ids lie in 0 … 39, got 40 … 40"),
        (NAMES[0], {"pixel_values": None}, "image tokens need pixel_values, got 32 tokens"),
        (NAMES[0], {"pixel_values": np.zeros((2, 3, 28, 27))}, "(2, 3, 28, 28), got (2, 3, 28, 27)"),
        (NAMES[2], {"pixel_values": np.zeros((2, 3, 28, 28))}, "(2, tiles, 3, 28, 28), got (2, 3, 28, 28)"),
        (NAMES[2], {"image_sizes": None}, "LLaVA-1.6 needs image_sizes, (height, width) for each of 2 rows"),
        (NAMES[2], {"pixel_values": np.zeros((2, 2, 3, 28, 28))}, "(41, 60) needs 5 tiles, got 2"),
        (
            NAMES[0],
            {"input_ids": np.full((2, 29), 39)},
            "row 0 must have one image token 39 per image feature",
        ),
        (NAMES[0], {"token_types": np.zeros((2, 28), int)}, "token_types are integers from 0 in the shape"),
        (NAMES[0], {"token_types": np.zeros((2, 29), int)}, "an image token is not padding, got 32 that are"),
        (NAMES[0], {"knockouts": (Knockout((4,)),)}, "the model has layers 0 … 3, got [4]"),
    ],
)
def test_batch_that_breaks_a_rule_is_refused(name, changed, words):
    with pytest.raises(ValueError, match=re.escape(words)):
        prepared(name, **changed)


def test_sequence_beyond_a_sliding_window_is_refused():
    config = loaded(NAMES[1]).config
    config = replace(config, text=replace(config.text, sliding_window=8))
    with pytest.raises(ValueError, match="no sliding window, which matters beyond 8 tokens, got 29"):
        llava.prepare(config, **batch_of(NAMES[1]))
