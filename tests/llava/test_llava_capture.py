"""Captured states against plain runs of all tokens; kill and resume; the same on a mesh and by shares."""

import os
import re
import shutil
import signal
import subprocess
import sys
import time
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
from pid.llava import Knockout, TokenType
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
from tests.helpers.tiny_llava import (
    BOX,
    CONDITIONS,
    IMAGE,
    LAST,
    QUESTION,
    TEXT,
    capture,
    model,
    row,
    rows,
    words,
)

ROOT = Path(__file__).resolve().parent.parent.parent
GOLDEN = ROOT / "tests" / "golden"
CRITERION = 1e-5  # of each layer's largest entry
QUICK = "JAX_DISABLE_MOST_OPTIMIZATIONS"


@pytest.fixture(autouse=True, scope="module")
def quick():
    """Programs that compile in a third of the time and run as true."""
    jax.config.update(QUICK.lower(), True)  # noqa: FBT003
    with jax.default_matmul_precision("highest"):
        yield
    jax.config.update(QUICK.lower(), False)  # noqa: FBT003


@pytest.fixture(scope="module")
def captured(tmp_path_factory):
    """A store that nothing interrupted."""
    return capture(tmp_path_factory.mktemp("straight") / "store")


def programs():
    """How many programs of a batch are compiled."""
    compiled: Any = shared_prefix.measure
    return compiled._cache_size()


def error(ours, theirs):
    """The largest |difference| / largest |entry| of a layer; the leading axis is the layer."""
    axes = tuple(range(1, theirs.ndim))
    return float((np.abs(ours - theirs).max(axes) / np.abs(theirs).max(axes)).max())


@cache
def truth(knockouts):
    """All states (L+1, n, T, D) and the last token's logits (n, V) of the rows, by one run of all their tokens."""
    length = 40
    ids, types = np.zeros((5, length), np.int32), np.zeros((5, length), np.int32)
    pixels = np.zeros((5, 5, 3, 4, 4), np.float32)
    for at, some in enumerate(rows()):
        ids[at, : len(some.ids)], types[at, : len(some.ids)] = some.ids, some.types
        tiles = np.asarray(some.pixels)
        pixels[at, : len(tiles)] = tiles
    sizes = np.array([some.image_size for some in rows()])
    output = llava.forward(
        model(), ids, pixels, image_sizes=sizes, token_types=types, knockouts=knockouts, collect="all"
    )
    ends = [len(some.ids) - 1 for some in rows()]
    return np.asarray(output.residual), np.asarray(output.logits)[range(5), ends]


def means(states, group):
    """The means over the tokens of a group, row by row (L+1, n, D)."""
    means_by_row = [
        states[:, at, : len(some.ids)][:, some.types == group].mean(1) for at, some in enumerate(rows())
    ]
    return np.stack(means_by_row, axis=1)


def of_groups(store, condition, **options):
    """The states of all groups (L+1, n, G, D)."""
    return np.stack([np.asarray(store.states(condition, group, **options)) for group in store.groups], axis=2)


def assert_true(store, conditions):
    """Everything in the store is what plain runs give."""
    greedy = truth(())[1].argmax(-1)
    for name, cuts in conditions.items():
        states, logits = truth(cuts)
        lengths = np.sqrt((states**2).mean(-1, keepdims=True) + tiny_llava.CONFIG.text.norm_eps)
        for raw, normalized in ((states, False), (states / lengths, True)):
            theirs = np.stack([means(raw, group) for group in store.groups], axis=2)
            assert error(of_groups(store, name, normalized=normalized), theirs) < CRITERION, name
        chances = np.asarray(jax.nn.softmax(logits))
        np.testing.assert_allclose(store.p_new(name), chances[range(5), greedy], rtol=2e-5)
        np.testing.assert_array_equal(store.greedy(name), logits.argmax(-1))
        assert error(store.logits(name)[None], logits[None][:, :, [3, 7]]) < 2 * CRITERION


def assert_alike(store, other, conditions=CONDITIONS):
    """The same rows and the same numbers, but for the order of additions."""
    assert store.names == other.names
    for name in conditions:
        assert error(of_groups(store, name), of_groups(other, name)) < 2 * CRITERION
        np.testing.assert_allclose(store.p_new(name), other.p_new(name), rtol=1e-4)


def files(folder):
    """The content of every file by name."""
    return {path.name: path.read_bytes() for path in Path(folder).iterdir()}


# Two phases


def test_every_condition_has_the_states_and_answers_of_a_run_of_all_tokens(captured):
    assert captured.names == ("a", "b", "c", "d", "e")
    assert_true(captured, CONDITIONS)
    assert np.abs(captured.change("first")).min() > 0.1  # so the knockouts are no small thing
    np.testing.assert_array_equal(captured.change("baseline"), 0)


def test_other_windows_and_pairs_of_types_run_the_same_programs(captured, tmp_path):
    capture(tmp_path / "before")
    compiled = programs()
    conditions = {f"window {at}": (Knockout(some),) for at, some in enumerate(llava.windows(3, 1)[:2])}
    conditions |= {"none": (), "box": (Knockout((2,), BOX, QUESTION),)}
    conditions |= {"blind": (Knockout("all", TEXT, IMAGE), Knockout((0,), QUESTION, BOX))}
    assert_true(capture(tmp_path / "after", conditions=conditions), conditions)
    assert programs() == compiled


def test_images_do_not_feel_that_later_tokens_are_blind(captured):
    for name in ("first", "last"):
        for normalized in (False, True):
            here, there = (captured.states(c, IMAGE, normalized=normalized) for c in (name, "baseline"))
            assert np.abs(np.asarray(here) - np.asarray(there)).max() == 0.0
        here, there = (np.asarray(captured.states(c, LAST)) for c in (name, "baseline"))
        moved = np.abs(here - there).max(axis=(1, 2))
        assert moved[0] == 0
        assert moved[-1] > 0.01
    moved = np.asarray(captured.states("images", IMAGE)) - np.asarray(captured.states("baseline", IMAGE))
    assert (np.abs(moved).max(axis=(1, 2)) > 1e-3).tolist() == [False, False, True, True]  # layer 1 is cut


def test_prefix_is_not_repeated_for_each_condition():
    """At full size in bfloat16 no array has the axes of conditions run together, prefix tokens and head width."""
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
    blocks = stack_knockout_masks([(Knockout(window),) for window in llava.windows(32)] + [()], 32)
    u, types = jax.ShapeDtypeStruct((1, length, 4096), jnp.bfloat16), jnp.ones((1, length), jnp.int32)

    def run(params, u):
        language = nnx.merge(graphdef, params)
        return shared_prefix.run_with_shared_prefix(
            language, u, types, jnp.asarray(blocks), prefix=prefix, groups=(IMAGE, LAST)
        )

    def shapes(jaxpr):
        for equation in jaxpr.eqns:
            yield from (variable.aval.shape for variable in equation.outvars)
            for inner in jax.tree.leaves(
                list(equation.params.values()), is_leaf=lambda x: hasattr(x, "jaxpr")
            ):
                if hasattr(inner, "jaxpr"):
                    yield from shapes(inner.jaxpr)

    program, output = jax.make_jaxpr(run, return_shape=True)(params, u)
    assert output.residual.shape == output.normalized.shape == (conditions, 33, 1, 2, 4096)
    assert {array.dtype for array in output} == {jnp.dtype(jnp.float32)}
    program_shapes = list(shapes(program.jaxpr))
    together = -(-(1 + conditions) // shared_prefix.ROUNDS)
    assert any({together, length} <= {*shape} for shape in program_shapes)  # the scores
    assert not [
        shape for shape in program_shapes if {prefix, 128} <= {*shape} and {together, conditions} & {*shape}
    ]


def test_layers_below_the_first_cut_are_not_run_again(monkeypatch):
    """9 tables of 3 layers, which begin in layers 0, 1, 2 and never; two at a time after the run without cuts."""
    lengths: list[int] = []
    plain = Block.__call__

    def counting(self, u, *rest):
        jax.debug.callback(lambda: lengths.append(u.shape[1]))
        return plain(self, u, *rest)

    cuts = [(Knockout((layer,)),) for layer in (2, 0, 1)] + [()]
    blocks = jnp.asarray(stack_knockout_masks([*cuts, cuts[0], (), cuts[2], (), cuts[0]], 3))
    np.testing.assert_array_equal(shared_prefix.first_knockout_layer(blocks), [2, 0, 1, 3, 2, 3, 1, 3, 2])
    language, types = model().language, jnp.asarray([[TEXT, IMAGE, IMAGE, QUESTION, LAST]])
    u = jax.random.normal(jax.random.key(0), (1, 5, language.config.hidden_size))
    monkeypatch.setattr(Block, "__call__", counting)
    ours = shared_prefix.run_with_shared_prefix(language, u, types, blocks, prefix=3, groups=(QUESTION, LAST))
    jax.effects_barrier()
    assert lengths.count(3) == 3  # the prefix, once in each layer
    assert lengths.count(2) == 1 + 2 + 4  # 2, 4 and 7 runs of the suffix, by twos
    run = shared_prefix.run_without_sharing
    theirs = jax.jit(lambda u: run(language, u, types, blocks, groups=(QUESTION, LAST)))(u)
    for our, their in zip(ours, theirs, strict=True):
        assert error(np.asarray(our), np.asarray(their)) < CRITERION
    residual = np.asarray(ours.residual)
    moved = np.abs(residual - residual[3:4]).max(axis=(2, 3, 4)) > 0
    assert moved.sum(axis=1).tolist() == [1, 3, 2, 0, 1, 0, 2, 0, 1]


def test_eight_devices_other_buckets_batches_and_orders_change_nothing(captured, tmp_path):
    mesh = jax.make_mesh((2, 4), ("data", "model"), axis_types=(AxisType.Auto,) * 2)
    some = {name: CONDITIONS[name] for name in ("later", "first", "baseline")}
    wide = llava.Buckets(prefix=(40,), suffix=(16,))
    changed = {"conditions": some, "states": ("later", "first"), "buckets": wide, "batch": 4}
    other = capture(tmp_path, rows()[::-1], model=model(mesh), **changed)
    assert other.names == captured.names[::-1]
    for name in ("later", "first"):  # one in full, one in two phases
        assert error(of_groups(other, name)[:, ::-1], of_groups(captured, name)) < 2 * CRITERION
    with pytest.raises(KeyError, match=re.escape("has states of ['first', 'later'], got 'baseline'")):
        other.states("baseline", LAST)
    for name in some:
        np.testing.assert_allclose(other.p_new(name)[::-1], captured.p_new(name), rtol=1e-4)


def test_text_alone_is_run_in_full_and_has_no_image(tmp_path):
    knockouts = (Knockout("all", LAST, QUESTION),)
    store = capture(tmp_path, [words("w"), words("v", 5)], conditions={"baseline": (), "cut": knockouts})
    row_of_text = words("w")
    for name, cuts in {"baseline": (), "cut": knockouts}.items():
        inputs = row_of_text.ids[None], None
        plain = llava.forward(model(), *inputs, token_types=row_of_text.types[None], knockouts=cuts)
        theirs = np.asarray(plain.residual)[:, 0][:, row_of_text.types == QUESTION].mean(1)
        assert error(np.asarray(store.states(name, QUESTION))[:, 0], theirs) < CRITERION
    assert np.isnan(store.states("cut", IMAGE)).all()


def test_states_are_those_of_hugging_face(tmp_path):
    """LLaVA-1.5, its golden window beside the baseline."""
    known = np.load(GOLDEN / "llava_15_mistral.npz")
    samples = []
    for at, types in enumerate(known["token_types"]):
        real, pixels = types > 0, known["pixel_values"][at : at + 1].astype(np.float32)
        ids = known["input_ids"][at][real].astype(np.int32)
        samples.append(llava.EncodedPrompt(f"{at}", ids, types[real].astype(np.int32), pixels, None))
    conditions = {"window": (Knockout((1, 2)),), "baseline": ()}
    model_of_golden = llava.load(GOLDEN / "llava_15_mistral", dtype=jnp.float32)
    groups, buckets = (IMAGE, QUESTION, LAST), llava.Buckets((24,), (16,))
    store = capture(
        tmp_path, samples, model=model_of_golden, conditions=conditions, groups=groups, buckets=buckets
    )
    for name, case in {"window": "window_", "baseline": ""}.items():
        theirs = np.stack(
            [
                np.stack([known[f"{case}residual"][:, at, types == g].mean(1) for g in store.groups], axis=1)
                for at, types in enumerate(known["token_types"])
            ],
            axis=1,
        )
        assert error(of_groups(store, name), theirs) < 2.5e-5


# The plan


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
    rest = [
        (at, rows()[at]) for at in (2, 3, 4)
    ]  # when the first is stored, the others are batched as before
    assert [batch.places for batch in batches(rest, 2, CONDITIONS, buckets)] == [(2, 4), (3,)]


def test_default_buckets_are_those_of_the_published_models():
    vision = replace(tiny_llava.CONFIG.vision, image_size=336, patch_size=14)
    pinpoints = ((336, 672), (672, 336), (672, 672), (1008, 336), (336, 1008))
    next_config = replace(tiny_llava.CONFIG, vision=vision, pinpoints=pinpoints)
    assert default_buckets(next_config).prefix == (1536, 2432, 3008)
    assert default_buckets(replace(next_config, pinpoints=None)).prefix == (640,)


def test_device_works_on_the_next_batch_while_the_host_writes():
    events = []

    def begin():
        for at in range(3):
            events.append(f"begin {at}")
            yield at

    for at in one_step_ahead(begin()):
        events.append(f"write {at}")
    assert events == ["begin 0", "begin 1", "write 0", "begin 2", "write 1", "write 2"]


# Resume


def test_kill_9_then_resume_leaves_the_bytes_of_an_uninterrupted_run(captured, tmp_path):
    folder = tmp_path / "store"
    environment = os.environ | {"JAX_NUM_CPU_DEVICES": "8", QUICK: "true"}
    command = [sys.executable, "-m", "tests.helpers.tiny_llava", str(folder), "600"]
    process = subprocess.Popen(
        command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )
    end, manifest = time.monotonic() + 120, folder / "manifest-0000.jsonl"
    while not (manifest.exists() and manifest.read_bytes().endswith(b"\n")):
        assert process.poll() is None, process.communicate()[0]
        assert time.monotonic() < end, "no shard was written"
        time.sleep(0.01)
    process.kill()
    process.communicate()
    assert process.returncode == -signal.SIGKILL
    assert llava.Store.open(folder).names == ("a", "b")
    (folder / "shard-0.safetensors.0.part").write_bytes(b"half")
    with manifest.open("ab") as file:
        file.write(b'{"file": "shard-')
    capture(folder)
    assert files(folder) == files(captured.path)


def test_damaged_shards_alone_are_captured_again(captured, tmp_path, capsys):
    folder = Path(shutil.copytree(captured.path, tmp_path / "store"))
    first, second, third = (folder / shard.file for shard in captured.shards)
    first.write_bytes(first.read_bytes()[:-1])
    content = bytearray(second.read_bytes())
    content[-1] ^= 1
    second.write_bytes(content)
    before = third.stat().st_ino
    with pytest.raises(ValueError, match=rf"but .*{first.name} has \d+ bytes instead of \d+; capture again"):
        llava.Store.open(folder)
    assert_alike(capture(folder), captured)
    assert {k: v for k, v in files(folder).items() if "shard" in k} == {
        path.name: path.read_bytes() for path in captured.path.glob("shard-*")
    }
    assert third.stat().st_ino == before
    assert capsys.readouterr() == ("", "")  # no terminal, no bar


def test_processes_capture_their_shares_into_one_store(captured, tmp_path):
    assert capture(tmp_path, share=(1, 2)).names == ("b", "d")
    assert_alike(capture(tmp_path, share=(0, 2)), captured)
    assert sorted(path.name for path in tmp_path.glob("*.jsonl")) == [
        "manifest-0000.jsonl",
        "manifest-0001.jsonl",
    ]
    before = files(tmp_path)
    capture(tmp_path)  # one process, to which nothing is left
    assert files(tmp_path) == before


def test_states_in_bfloat16_are_rounded_and_answers_are_not(captured, tmp_path):
    class Encoded:
        """As the encoder gives them."""

        def rows(self):
            return iter(rows())

    store = capture(tmp_path, Encoded(), dtype="bfloat16")
    here, there = (np.asarray(some.states("first", LAST)) for some in (store, captured))
    np.testing.assert_array_equal(here, there.astype(jnp.bfloat16).astype(np.float32))
    np.testing.assert_array_equal(store.p_new("first"), captured.p_new("first"))


# Refusals


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"weights": "other"}, "got weights: stored '', now 'other'; use the stored values"),
        ({"encoding": "other"}, "got encoding: stored '', now 'other'"),
        ({"groups": (IMAGE, LAST)}, "got groups: stored [2, 3, 4, 5], now [2, 4]"),
        ({"buckets": llava.Buckets((24, 32), (8,))}, "got buckets.prefix: stored [32], now [24, 32]"),
        (
            {"conditions": {"baseline": (), "first": (Knockout((0,)),)}},
            "got conditions.first: stored [{'layers': [0, 1], 'target': 3, 'source': 2}], now [{'layers': [0], ",
        ),
        ({"samples": rows() + rows()[1:2]}, "rows have names of their own, got 'b' twice"),
        ({"samples": rows()[1:]}, "rows keep their places, got 'b' at 0, where the store has 'a'"),
        (
            {"conditions": {"cut": (Knockout((0,)),)}},
            "one condition is the baseline, without knockouts, got []",
        ),
        ({"conditions": {"baseline": (), "cut": (Knockout((3,)),)}}, "the model has layers 0 … 2, got [3]"),
        (
            {"states": ("second",)},
            "states are stored of conditions, got ['second']; name some of ['baseline', ",
        ),
        ({"options": (24,)}, "options are token ids 0 … 23, got [24]"),
        ({"groups": (IMAGE, TokenType.PAD)}, "groups are different types above PAD=0, got (2, 0)"),
        ({"dtype": "float16"}, "states are stored as float32 or bfloat16, got 'float16'"),
    ],
)
def test_capture_that_breaks_a_rule_is_refused_and_leaves_the_store(changed, words, captured):
    before = files(captured.path)
    with pytest.raises(ValueError, match=re.escape(words)):
        capture(captured.path, **changed)
    assert files(captured.path) == before


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (
            {"types": np.array([1, 2], np.int32)},
            "as many types as ids and no padding, got ids (35,), types (2,)",
        ),
        ({"types": np.zeros(35, np.int32)}, "35 of PAD in row 'x'"),
        (
            {"types": np.ones(35, np.int32)},
            "an image has tokens and pixels, got 0 tokens of IMAGE and pixels",
        ),
        ({"image_size": (4, 8)}, "one image token 23 per image feature, got 24 for 14"),
    ],
)
def test_row_that_breaks_a_rule_is_refused(change, words, tmp_path):
    with pytest.raises(ValueError, match=re.escape(words)):
        capture(tmp_path, [row("x", before=5, after=6)._replace(**change)])


def test_row_beyond_the_longest_bucket_and_buckets_out_of_order_are_refused(tmp_path):
    with pytest.raises(ValueError, match="a prefix has at most 32 tokens, got 34 in row 'long'"):
        capture(tmp_path, [row("long", before=10)])
    with pytest.raises(ValueError, match=r"positive lengths in rising order, got suffix=\(8, 4\)"):
        llava.Buckets((8,), (8, 4))
