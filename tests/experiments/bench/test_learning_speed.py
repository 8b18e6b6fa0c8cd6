"""`experiments.bench.learning`: the plain Transformer equals ours, every loader reads the split, sections run."""

from dataclasses import replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from experiments.bench import Config, machine, main
from experiments.bench.config import LoaderSize, TrainingSize
from experiments.bench.learning import batch_sources, input_speed, training_speed
from experiments.bench.learning.plain_classifier import PlainClassifier, plain_parameters
from experiments.bench.learning.two_layer import OPTIMIZER, Training, full_rows, listops_rows, two_layer
from experiments.data import listops
from pdeformer import sharding

BATCH, TOKENS = 3, 24
STEPS = 3


def test_training_in_plain_flax_has_the_same_losses():
    case = training_speed.Case("no dropout", listops_rows(BATCH, TOKENS))
    ours, plain = (program.stepper() for program in training_speed.programs_of(case))
    losses = np.array([(ours().loss, plain()) for _ in range(STEPS)], float)
    np.testing.assert_allclose(losses[:, 0], losses[:, 1], rtol=1e-5)
    assert np.all(np.diff(losses[:, 0]) < 0)
    after = plain_parameters(ours.state.params, two_layer(TOKENS, dropout=0.0))
    assert jax.tree.structure(after) == jax.tree.structure(plain.state.params)
    for x, y in zip(jax.tree.leaves(after), jax.tree.leaves(plain.state.params), strict=True):
        # an update of Adam has the size of the rate, also of entries with almost no gradient
        np.testing.assert_allclose(x, y, rtol=0, atol=STEPS * OPTIMIZER.learning_rate)


def test_rows_are_sequences_with_their_values_and_padding():
    rows = listops_rows(BATCH, TOKENS)
    for values, length, label in zip(rows.tokens, rows.lengths, rows.labels, strict=True):
        symbols = [listops.VOCABULARY[value] for value in values[:length]]
        assert listops.evaluate(symbols) == label
        assert not values[length:].any()
    assert full_rows(BATCH, TOKENS).tokens.min() > 0


def test_dropout_of_plain_flax_depends_on_its_key_alone():
    config = replace(two_layer(TOKENS, dropout=0.5), layers=1)
    graphdef, params = nnx.split(PlainClassifier(config, rngs=nnx.Rngs(0)))
    batch = full_rows(BATCH, TOKENS)

    @jax.jit
    def logits(key):
        rngs = None if key is None else nnx.Rngs(dropout=key)
        model = nnx.merge(graphdef, params)
        return model(jnp.asarray(batch.tokens), jnp.asarray(batch.lengths), rngs)

    fixed, first, again, other = (
        np.asarray(logits(None if seed is None else jax.random.key(seed))) for seed in (None, 0, 0, 1)
    )
    np.testing.assert_array_equal(first, again)
    assert min(np.abs(first - other).max(), np.abs(first - fixed).max()) > 1e-3


@pytest.mark.parametrize(
    "source",
    [
        batch_sources.our_batches,
        batch_sources.our_grain_batches,
        batch_sources.example_grain_batches,
        batch_sources.loop_batches,
    ],
)
def test_a_loader_reads_every_example_once_in_an_epoch(source):
    with batch_sources.split_on_disk(12, TOKENS) as split:
        assert isinstance(split.tokens, np.memmap)
        batch_of_step = source(split, 4)
        batches = [batch_of_step(step) for step in range(3)]
        tokens, stored = np.concatenate([batch[0] for batch in batches]), np.array(split.tokens)
    assert tokens.dtype == np.uint8
    np.testing.assert_array_equal(np.unique(tokens, axis=0), np.unique(stored, axis=0))
    assert len(np.unique(stored, axis=0)) == 12 == len(tokens)
    assert not np.array_equal(tokens, stored)


def add(state, x):
    return state + x, x


def lowerable(make=lambda: jax.jit(add)):
    return training_speed.Lowerable(make, (jnp.zeros(2), jnp.ones(2)))


def test_programs_are_compiled_anew_and_the_cache_is_as_before(monkeypatch):
    def option():
        return jax.config.jax_enable_compilation_cache  # type: ignore[attr-defined]  jax adds it at run time

    before, calls = option(), []
    monkeypatch.setattr(jax, "clear_caches", lambda: calls.append("clear"))

    def program(name):
        def make():
            calls.append((name, option()))
            return jax.jit(add)

        return lowerable(make)

    result = training_speed.compilation(program("ours"), program("plain"))
    order = [("ours", False), ("plain", False), ("plain", False), ("ours", False)]
    assert calls == [call for pair in order for call in (pair, "clear")]
    assert option() == before
    assert min(result.first_ms, result.second_ms) > 0


def test_a_stepper_replaces_its_state():
    stepper = lowerable().stepper()
    assert [float(stepper()[0]) for _ in range(3)] == [1, 1, 1]
    np.testing.assert_array_equal(stepper.state, [3, 3])


def test_the_sections_run(tmp_path, monkeypatch):
    """The steps are those of a counter; their program is tested above."""
    monkeypatch.setattr(machine, "SMALL", {"elements": 2**10, "rows": 16})
    monkeypatch.setattr(jax, "clear_caches", lambda: None)
    monkeypatch.setattr(training_speed, "programs_of", lambda case: (lowerable(), lowerable()))

    def count(state, batch, key):
        del key
        return state + batch["lengths"].sum(), batch["labels"]

    state: Any = jnp.zeros((), jnp.int32)
    training = Training(state, count, sharding.make_mesh(data=1))
    monkeypatch.setattr(input_speed, "make_training", lambda config: training)
    config = Config(
        only=("training", "loader"),
        pairs=2,
        training=TrainingSize(lengths=(TOKENS,), batch=BATCH),
        loader=LoaderSize(examples=32, tokens=TOKENS, batches=(4,), per_call=8, steps=2),
        out=tmp_path,
    )
    rows = main(config)["rows"]
    names = [row["case"] for row in rows]
    cases = [case.title for case in training_speed.cases_of(BATCH, TOKENS)]
    assert names[:6] == [f"T={TOKENS}, {case}" for case in (*cases, "ListOps, compilation")]
    assert len([name for name in names if name.startswith("B=4, against ")]) == len(input_speed.PEERS)
    assert len([name for name in names if name.startswith(f"2 steps of B={BATCH}, T={TOKENS}: ")]) == 3
    assert all(row["first_ms"] > 0 < row["second_ms"] for row in rows)
