"""Captured states equal those of plain runs of all tokens, and prompts share batches of few shapes."""

import re
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from jax.sharding import AxisType

from pid import llava
from pid.llava import Knockout
from pid.llava.activations import shared_prefix
from pid.llava.activations.batching import (
    BatchShape,
    batches,
    conditions_without_sharing,
    default_buckets,
    prefix_length,
    stack_knockout_masks,
)
from pid.llava.activations.collect import one_step_ahead
from pid.llava.model.language_model import Block
from tests.helpers import tiny_llava
from tests.helpers.llava_golden import error
from tests.helpers.programs import shapes
from tests.helpers.tiny_llava import (
    BOX,
    CONDITIONS,
    CRITERION,
    IMAGE,
    LAST,
    QUESTION,
    TEXT,
    capture,
    model,
    rows,
    states_by_group,
    words,
)

ROOT = Path(__file__).resolve().parents[3]
GOLDEN = ROOT / "tests" / "golden"


@pytest.fixture(autouse=True, scope="module")
def quick():
    with tiny_llava.quick_programs():
        yield


@pytest.fixture(scope="module")
def captured(tmp_path_factory):
    """A store captured without interruption."""
    return capture(tmp_path_factory.mktemp("straight") / "store")


def programs():
    """The number of compiled programs of a batch."""
    compiled: Any = shared_prefix.measure
    return compiled._cache_size()


@cache
def truth(knockouts):
    """All states (L+1, n, T, D) and last logits (n, V) of the prompts, from one plain run."""
    length = 40
    ids, types = np.zeros((5, length), np.int32), np.zeros((5, length), np.int32)
    pixels = np.zeros((5, 5, 3, 4, 4), np.float32)
    for i, row in enumerate(rows()):
        ids[i, : len(row.ids)], types[i, : len(row.ids)] = row.ids, row.types
        tiles = np.asarray(row.pixels)
        pixels[i, : len(tiles)] = tiles
    sizes = np.array([row.image_size for row in rows()])
    output = llava.forward(
        model(), ids, pixels, image_sizes=sizes, token_types=types, knockouts=knockouts, collect="all"
    )
    ends = [len(row.ids) - 1 for row in rows()]
    return np.asarray(output.residual), np.asarray(output.logits)[range(5), ends]


def means(states, group):
    """The means over the tokens of a group, for each prompt (L+1, n, D)."""
    means_by_row = [
        states[:, i, : len(row.ids)][:, row.types == group].mean(1) for i, row in enumerate(rows())
    ]
    return np.stack(means_by_row, axis=1)


def assert_equals_plain_runs(store, conditions):
    """Assert that all arrays of the store equal those of plain runs."""
    greedy = truth(())[1].argmax(-1)
    for name, knockouts in conditions.items():
        states, logits = truth(knockouts)
        lengths = np.sqrt((states**2).mean(-1, keepdims=True) + tiny_llava.CONFIG.text.norm_eps)
        for raw, normalized in ((states, False), (states / lengths, True)):
            theirs = np.stack([means(raw, group) for group in store.groups], axis=2)
            assert error(states_by_group(store, name, normalized=normalized), theirs) < CRITERION, name
        probabilities = np.asarray(jax.nn.softmax(logits))
        np.testing.assert_allclose(store.p_new(name), probabilities[range(5), greedy], rtol=2e-5)
        np.testing.assert_array_equal(store.greedy(name), logits.argmax(-1))
        assert error(store.logits(name)[None], logits[None][:, :, [3, 7]]) < 2 * CRITERION


# Shared prefix


def test_every_condition_has_the_states_and_answers_of_a_run_of_all_tokens(captured):
    assert captured.names == ("a", "b", "c", "d", "e")
    assert_equals_plain_runs(captured, CONDITIONS)
    assert np.abs(captured.change("first")).min() > 0.1  # the knockouts have a large effect
    np.testing.assert_array_equal(captured.change("baseline"), 0)


def test_other_windows_and_pairs_of_types_run_the_same_programs(captured, tmp_path):
    capture(tmp_path / "before")
    compiled = programs()
    conditions = {f"window {i}": (Knockout(window),) for i, window in enumerate(llava.windows(3, 1)[:2])}
    conditions |= {"none": (), "box": (Knockout((2,), BOX, QUESTION),)}
    conditions |= {"blind": (Knockout("all", TEXT, IMAGE), Knockout((0,), QUESTION, BOX))}
    assert_equals_plain_runs(capture(tmp_path / "after", conditions=conditions), conditions)
    assert programs() == compiled


def test_images_do_not_feel_that_later_tokens_are_blind(captured):
    for name in ("first", "last"):
        for normalized in (False, True):
            knockout, base = (captured.states(c, IMAGE, normalized=normalized) for c in (name, "baseline"))
            assert np.abs(np.asarray(knockout) - np.asarray(base)).max() == 0.0
        knockout, base = (np.asarray(captured.states(c, LAST)) for c in (name, "baseline"))
        change = np.abs(knockout - base).max(axis=(1, 2))
        assert change[0] == 0
        assert change[-1] > 0.01
    change = np.asarray(captured.states("images", IMAGE)) - np.asarray(captured.states("baseline", IMAGE))
    assert (np.abs(change).max(axis=(1, 2)) > 1e-3).tolist() == [
        False,
        False,
        True,
        True,
    ]  # the knockout is in layer 1


def test_prefix_is_not_repeated_for_each_condition():
    """At full size no array has axes for simultaneous conditions, prefix tokens and head width together."""
    text = replace(
        tiny_llava.CONFIG.text,
        hidden_size=4096,
        mlp_dim=11008,
        num_layers=32,
        num_heads=32,
        num_kv_heads=32,
        head_dim=128,
    )
    language = nnx.eval_shape(lambda: llava.LanguageModel(text, dtype=jnp.bfloat16, rngs=nnx.Rngs(0)))
    graphdef, params = nnx.split(language)
    conditions, prefix, length = 33, 3008, 3008 + 64
    masks = stack_knockout_masks([(Knockout(window),) for window in llava.windows(32)] + [()], 32)
    u, types = jax.ShapeDtypeStruct((1, length, 4096), jnp.bfloat16), jnp.ones((1, length), jnp.int32)

    def run(params, u):
        language = nnx.merge(graphdef, params)
        return shared_prefix.run_with_shared_prefix(
            language, u, types, jnp.asarray(masks), prefix=prefix, groups=(IMAGE, LAST)
        )

    program, output = jax.make_jaxpr(run, return_shape=True)(params, u)
    assert output.residual.shape == output.normalized.shape == (conditions, 33, 1, 2, 4096)
    assert {array.dtype for array in output} == {jnp.dtype(jnp.float32)}
    program_shapes = list(shapes(program.jaxpr))
    chunk = -(-(1 + conditions) // shared_prefix.ROUNDS)
    assert any({chunk, length} <= {*shape} for shape in program_shapes)  # the scores
    assert not [
        shape for shape in program_shapes if {prefix, 128} <= {*shape} and {chunk, conditions} & {*shape}
    ]


def test_layers_below_the_first_cut_are_not_run_again(monkeypatch):
    """9 masks of 3 layers start in layers 0, 1, 2 or never. They run two at a time, after the run without knockouts."""
    lengths: list[int] = []
    plain = Block.__call__

    def counting(self, u, *rest):
        jax.debug.callback(lambda: lengths.append(u.shape[1]))
        return plain(self, u, *rest)

    knockouts = [(Knockout((layer,)),) for layer in (2, 0, 1)] + [()]
    masks = jnp.asarray(
        stack_knockout_masks([*knockouts, knockouts[0], (), knockouts[2], (), knockouts[0]], 3)
    )
    np.testing.assert_array_equal(shared_prefix.first_knockout_layer(masks), [2, 0, 1, 3, 2, 3, 1, 3, 2])
    language, types = model().language, jnp.asarray([[TEXT, IMAGE, IMAGE, QUESTION, LAST]])
    u = jax.random.normal(jax.random.key(0), (1, 5, language.config.hidden_size))
    monkeypatch.setattr(Block, "__call__", counting)
    ours = shared_prefix.run_with_shared_prefix(language, u, types, masks, prefix=3, groups=(QUESTION, LAST))
    jax.effects_barrier()
    assert lengths.count(3) == 3  # the prefix, once in each layer
    assert lengths.count(2) == 1 + 2 + 4  # 2, 4 and 7 runs of the suffix, two at a time
    run = shared_prefix.run_without_sharing
    theirs = jax.jit(lambda u: run(language, u, types, masks, groups=(QUESTION, LAST)))(u)
    for our, their in zip(ours, theirs, strict=True):
        assert error(np.asarray(our), np.asarray(their)) < CRITERION
    residual = np.asarray(ours.residual)
    is_changed = np.abs(residual - residual[3:4]).max(axis=(2, 3, 4)) > 0
    assert is_changed.sum(axis=1).tolist() == [1, 3, 2, 0, 1, 0, 2, 0, 1]


def test_eight_devices_other_buckets_batches_and_orders_change_nothing(captured, tmp_path):
    mesh = jax.make_mesh((2, 4), ("data", "model"), axis_types=(AxisType.Auto,) * 2)
    conditions = {name: CONDITIONS[name] for name in ("later", "first", "baseline")}
    buckets = llava.Buckets(prefix=(40,), suffix=(16,))
    changes = {"conditions": conditions, "states": ("later", "first"), "buckets": buckets, "batch": 4}
    other = capture(tmp_path, rows()[::-1], model=model(mesh), **changes)
    assert other.names == captured.names[::-1]
    for name in ("later", "first"):  # one without sharing, one with a shared prefix
        assert error(states_by_group(other, name)[:, ::-1], states_by_group(captured, name)) < 2 * CRITERION
    with pytest.raises(KeyError, match=re.escape("has states of ['first', 'later'], got 'baseline'")):
        other.states("baseline", LAST)
    for name in conditions:
        np.testing.assert_allclose(other.p_new(name)[::-1], captured.p_new(name), rtol=1e-4)


def test_text_alone_is_run_in_full_and_has_no_image(tmp_path):
    conditions = {"baseline": (), "cut": (Knockout("all", LAST, QUESTION),)}
    samples, groups = [words("w"), words("v", 5)], (QUESTION, LAST)
    store = capture(tmp_path, samples, conditions=conditions, groups=groups)
    prompt = words("w")
    for name, knockouts in conditions.items():
        inputs = prompt.ids[None], None
        plain = llava.forward(model(), *inputs, token_types=prompt.types[None], knockouts=knockouts)
        theirs = np.asarray(plain.residual)[:, 0][:, prompt.types == QUESTION].mean(1)
        assert error(np.asarray(store.states(name, QUESTION))[:, 0], theirs) < CRITERION
    message = r"IMAGE needs image tokens, got text alone in sample 'w'; .* with groups=\(3, 4\)"
    with pytest.raises(ValueError, match=message):
        capture(tmp_path / "image", samples, conditions=conditions, groups=(IMAGE, QUESTION, LAST))


def test_states_are_those_of_hugging_face(tmp_path):
    """LLaVA-1.5 with its golden knockout window, and the baseline."""
    reference = np.load(GOLDEN / "llava_15_mistral.npz")
    samples = []
    for i, types in enumerate(reference["token_types"]):
        not_padding, pixels = types > 0, reference["pixel_values"][i : i + 1].astype(np.float32)
        ids = reference["input_ids"][i][not_padding].astype(np.int32)
        samples.append(llava.EncodedPrompt(f"{i}", ids, types[not_padding].astype(np.int32), pixels, None))
    conditions = {"window": (Knockout((1, 2)),), "baseline": ()}
    golden_model = llava.load(GOLDEN / "llava_15_mistral", dtype=jnp.float32)
    groups, buckets = (IMAGE, QUESTION, LAST), llava.Buckets((24,), (16,))
    store = capture(
        tmp_path, samples, model=golden_model, conditions=conditions, groups=groups, buckets=buckets
    )
    for name, case in {"window": "window_", "baseline": ""}.items():
        theirs = np.stack(
            [
                np.stack(
                    [reference[f"{case}residual"][:, i, types == g].mean(1) for g in store.groups], axis=1
                )
                for i, types in enumerate(reference["token_types"])
            ],
            axis=1,
        )
        assert error(states_by_group(store, name), theirs) < 2.5e-5


# Batches of few shapes


def test_prefix_ends_with_the_image_and_leaves_the_last_token():
    assert [
        prefix_length(np.array(types)) for types in ([1, 2, 2, 3, 4], [1, 3, 4], [1, 2, 2], [2, 1, 2, 4])
    ] == [
        3,
        0,
        2,
        3,
    ]
    for name, expected in {"baseline": False, "first": False, "later": True, "images": True}.items():
        types = np.array([TEXT, BOX, IMAGE])
        assert (name in conditions_without_sharing(types, CONDITIONS)) == expected
    assert conditions_without_sharing(np.array([], int), CONDITIONS) == tuple(CONDITIONS)


def test_rows_of_one_shape_share_a_batch_and_the_rest_comes_last():
    buckets = llava.Buckets((24, 32), (8,))
    planned = list(batches(enumerate((*rows(), words("w"))), 2, CONDITIONS, buckets))
    assert [batch.places for batch in planned] == [(0, 1), (2, 4), (3,), (5,)]
    small, large = (BatchShape(prefix, 8, ("later", "images")) for prefix in (24, 32))
    assert [batch.shape for batch in planned] == [small, large, small, BatchShape(0, 8, tuple(CONDITIONS))]
    # If the first batch is stored, the remaining prompts form the same batches as before.
    rest = [(i, rows()[i]) for i in (2, 3, 4)]
    assert [batch.places for batch in batches(rest, 2, CONDITIONS, buckets)] == [(2, 4), (3,)]


def test_default_buckets_are_those_of_the_published_models():
    vision = replace(tiny_llava.CONFIG.vision, image_size=336, patch_size=14)
    pinpoints = ((336, 672), (672, 336), (672, 672), (1008, 336), (336, 1008))
    next_config = replace(tiny_llava.CONFIG, vision=vision, pinpoints=pinpoints)
    assert default_buckets(next_config).prefix == (1536, 2432, 3008)
    assert default_buckets(replace(next_config, pinpoints=None)).prefix == (640,)


def test_device_works_on_the_next_batch_while_the_host_writes():
    events = []

    def start():
        for step in range(3):
            events.append(f"begin {step}")
            yield step

    for step in one_step_ahead(start()):
        events.append(f"write {step}")
    assert events == ["begin 0", "begin 1", "write 0", "begin 2", "write 1", "write 2"]
