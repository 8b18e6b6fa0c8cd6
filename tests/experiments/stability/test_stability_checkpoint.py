"""`python -m experiments.stability --checkpoint`: layers of the models of a run of lra, and of a LLaVA."""

import dataclasses
import json
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx

from experiments import lra, run, stability
from experiments.data import arrays
from experiments.pid_llava import toy
from experiments.stability.trained_layers import layer_measures, llava_folder, lra_run, model_folders
from pdeformer import diagnostics
from pdeformer.layers import PDEAttentionConfig, StencilConfig
from pid import llava
from pid.llava import TokenType

ROWS = 6
ALL = "before_norm+before_attention+attention_diffusion"
VARIANTS = ["baseline", ALL]
LAYERS = 2
TOY = Path(toy.__file__).parent / "models" / "seed0"


@pytest.fixture(scope="module")
def lra_folder(tmp_path_factory):
    """The folder of a tiny run of lra: the baseline, and layers at two places with evolved attention."""
    folder = tmp_path_factory.mktemp("lra")
    config = dataclasses.replace(
        lra.PRESETS["quick"][1],
        steps=2,
        batch=8,
        mesh=lra.Mesh(data=1),
        placement=("before_norm", "before_attention"),
        combine=True,
        stencil=StencilConfig("adaptive"),
        attention=PDEAttentionConfig("diffusion", steps=2),
        model=lra.Network(
            layers=LAYERS,
            width=8,
            heads=2,
            ffn=8,
            max_len=24,
            dropout=0.1,
            attention_dropout=0.0,
            pooling="cls",
        ),
        generated=lra.Generated(min_length=9, max_length=25, train=200, val=16, test=16),
        cadence=run.LoopIntervals(log_every=1, eval_every=2, checkpoint_every=1, keep=1),
        data_dir=folder / "data",
        out=folder / "run",
    )
    lra.main(config)
    return folder / "run"


@pytest.fixture(scope="module")
def measured(lra_folder, tmp_path_factory):
    """(run folder of the measurement, its summary)."""
    out = tmp_path_factory.mktemp("measured") / "run"
    config = stability.Config(checkpoint=lra_folder, checkpoint_rows=ROWS, out=out)
    return out, stability.main(config)


def rebuilt(folder, variant):
    """(model, tokens, segment ids, labels) of a variant."""
    saved = lra_run.read_run(folder)
    batch = lra_run.test_rows(saved, ROWS)
    training = next(t for t in lra_run.trainings(folder) if t.variant == variant)
    model = nnx.merge(*lra_run.restore(lra_run.model_config(saved, variant), training.checkpoint))
    return (
        model,
        *arrays.model_inputs(batch.tokens, batch.lengths, first_id=0),
        jnp.asarray(batch.labels),
    )


def test_every_variant_has_a_row_for_every_layer(measured):
    out, summary = measured
    assert json.loads((out / "summary.json").read_text()) == summary
    row = summary["checkpoint"]
    assert row["numbers"]["models"] == [f"{name}, seed 0, step 2" for name in VARIANTS]
    cells = [cells for cells in row["table"] if cells]
    assert [cells[1] for cells in cells] == [str(layer) for layer in range(LAYERS + 1)] * len(VARIANTS)
    assert all(len(cells) == 2 + len(model_folders.COLUMNS) for cells in cells)
    assert cells[0][3] == "-"
    assert "not finite" not in {cell for row in cells for cell in row}
    assert (out / "checkpoint.png").read_bytes().startswith(b"\x89PNG")
    assert "analyses" not in summary


@pytest.mark.parametrize("variant", VARIANTS)
def test_the_states_and_the_loss_are_those_of_the_model(measured, lra_folder, variant):
    model, tokens, ids, labels = rebuilt(lra_folder, variant)
    logits = model(tokens, ids)
    nats = optax.softmax_cross_entropy_with_integer_labels(logits, labels).mean()
    numbers = measured[1]["checkpoint"]["numbers"]
    index = VARIANTS.index(variant)
    np.testing.assert_allclose(numbers["loss"][index], nats, rtol=1e-5)
    stack = lra_run.stack_of(model, tokens, ids, labels)
    u, graph = stack.first, nnx.split(model.blocks)
    for layer in range(LAYERS):
        block = nnx.merge(graph[0], jax.tree.map(lambda x: x[layer], graph[1]))  # noqa: B023
        before, u = u, block(u, stack.segment_ids)
        change = np.mean(diagnostics.relative_change(u, before, stack.segment_ids))
        np.testing.assert_allclose(
            numbers["measures"]["relative_change"][index][layer + 1], change, rtol=1e-4
        )
        similarity = np.mean(diagnostics.token_similarity(u, stack.segment_ids))
        np.testing.assert_allclose(
            numbers["measures"]["token_similarity"][index][layer + 1], similarity, rtol=1e-4
        )


def test_the_entropy_is_that_of_plain_attention_on_what_it_reads(measured, lra_folder):
    """Written out for the first block, with a layer before the norm and one before the attention."""
    model, tokens, ids, labels = rebuilt(lra_folder, ALL)
    stack = lra_run.stack_of(model, tokens, ids, labels)
    graphdef, params = nnx.split(model.blocks)
    block, segments = nnx.merge(graphdef, jax.tree.map(lambda x: x[0], params)), stack.segment_ids
    u = block.norm_attention(block.stencils["before_norm"](stack.first, segments, causal=False))
    query, key, _ = block.attention.project(block.stencils["before_attention"](u, segments, causal=False))
    entropy = np.mean(diagnostics.attention_entropy(query, key, segment_ids=segments))
    number = measured[1]["checkpoint"]["numbers"]["measures"]["attention_entropy"][VARIANTS.index(ALL)][1]
    np.testing.assert_allclose(number, entropy, rtol=1e-5)
    query, key, _ = block.attention.project(block.norm_attention(stack.first))
    other = np.mean(diagnostics.attention_entropy(query, key, segment_ids=segments))
    assert abs(other / number - 1) > 1e-4


def linear_stack(matrices, first, ids):
    """A stack u ← u W with the loss Σ u² / 2."""

    def scan(layer, carry, *inputs):
        return jax.lax.scan(lambda carry, xs: layer(xs[0], carry, *xs[1]), carry, (matrices, inputs))

    def project(block, u):
        return (u[:, :, None],) * 3

    return layer_measures.Stack(
        len(matrices), first, ids, scan, lambda w, u: u @ w, project, lambda u: jnp.sum(u**2) / 2
    )


def test_growth_and_gradient_of_linear_layers_are_products_of_matrices():
    rng = np.random.default_rng(0)
    matrices, first = rng.normal(size=(3, 4, 4)), rng.normal(size=(2, 5, 4))
    ids = np.ones((2, 5), int)
    ids[0, 3:] = 0
    tangent = rng.normal(size=first.shape)
    stack = linear_stack(
        jnp.asarray(matrices, jnp.float32), jnp.asarray(first, jnp.float32), jnp.asarray(ids)
    )
    measures = layer_measures.measure_stack(stack, jnp.asarray(tangent, jnp.float32))
    moved, lengths, last = np.where(ids[..., None] > 0, tangent, 0), [], first
    for w in matrices:
        lengths.append(np.log(np.linalg.norm(moved @ w) / np.linalg.norm(moved)))
        moved, last = moved @ w, last @ w
    np.testing.assert_allclose(measures.growth[1:], lengths, rtol=1e-4, atol=1e-5)
    assert np.isnan(measures.growth[0])
    gradients = [last]
    for w in matrices[::-1]:
        gradients.insert(0, gradients[0] @ w.T)
    np.testing.assert_allclose(measures.gradient, [np.linalg.norm(g) for g in gradients], rtol=1e-4)
    np.testing.assert_allclose(measures.loss, np.sum(last**2) / 2, rtol=1e-5)
    np.testing.assert_allclose(measures.statistics.norm[0], np.sqrt(np.mean(first[ids > 0] ** 2)), rtol=1e-5)


@pytest.fixture(scope="module")
def toy_measures():
    """(prompts, measures) of a toy LLaVA."""
    return llava_folder.measure_folder(TOY, 3)


def test_the_states_of_a_llava_are_those_of_forward(toy_measures):
    prompts, measures = toy_measures
    model = llava.load(TOY, dtype=jnp.float32)
    output = llava.forward(model, prompts.ids, prompts.pixels, token_types=prompts.types, collect="all")
    valid = (prompts.types > TokenType.PAD).astype(np.int32)
    for layer, u in enumerate(output.residual):
        np.testing.assert_allclose(
            measures.statistics.effective_rank[layer],
            np.mean(diagnostics.effective_rank(u, valid)),
            rtol=1e-3,
        )
        cosine = np.mean(diagnostics.cosine(u, output.residual[0], valid))
        np.testing.assert_allclose(measures.statistics.cosine_to_input[layer], cosine, rtol=1e-4)
    log_p = jax.nn.log_softmax(output.logits, axis=-1)
    words = [
        -log_p[b, t, prompts.ids[b, t + 1]]
        for b, t in zip(*np.nonzero(valid[:, :-1] * valid[:, 1:]), strict=True)
        if prompts.types[b, t + 1] != TokenType.IMAGE
    ]
    np.testing.assert_allclose(measures.loss, np.mean(words), rtol=1e-4)


def test_the_attention_of_a_llava_has_rotary_positions_and_sees_no_later_token(toy_measures):
    prompts, measures = toy_measures
    tokens = prompts.ids.shape[1]
    bound = np.mean(np.log(np.arange(1, tokens + 1)))
    entropies = measures.statistics.attention_entropy[1:]
    assert np.all(entropies < bound)
    assert np.all(entropies > 0.5)
    assert np.all(np.isfinite(measures.growth[1:]))
    assert np.all(measures.gradient > 0)


def test_a_folder_of_another_kind_is_refused_before_anything_is_computed(tmp_path, lra_folder, measured):
    for folder, error, words in (
        (tmp_path, FileNotFoundError, "has no config.json"),
        (measured[0], ValueError, "a run of experiments.stability"),
    ):
        with pytest.raises(error, match="run folder of experiments.lra, or the folder of a LLaVA") as refusal:
            stability.main(stability.Config(checkpoint=folder, out=tmp_path / "out"))
        assert words in str(refusal.value)
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(ValueError, match="something else"):
        model_folders.kind_of(tmp_path)
    assert not (tmp_path / "out").exists()


def test_a_checkpoint_of_another_model_is_refused(lra_folder):
    saved = lra_run.read_run(lra_folder)
    training = lra_run.trainings(lra_folder)[0]
    wider = dataclasses.replace(saved, model=dataclasses.replace(saved.model, ffn=12))
    with pytest.raises(ValueError, match="blocks/ffn"):
        lra_run.restore(lra_run.model_config(wider, training.variant), training.checkpoint)


def test_controls_are_left_out_and_other_tasks_and_suites_are_refused(lra_folder, tmp_path):
    saved = lra_run.read_run(lra_folder)
    assert [training.variant for training in lra_run.trainings(lra_folder, saved)] == VARIANTS
    controlled = dataclasses.replace(saved, controls=("canon", "baseline"), windows=(4,))
    assert [training.variant for training in lra_run.trainings(lra_folder, controlled)] == [ALL]
    fields = json.loads((lra_folder / "config.json").read_text())
    path = tmp_path / "config.json"
    path.write_text(json.dumps(fields | {"task": "text"}))
    with pytest.raises(ValueError, match="got a run of the task text"):
        lra_run.read_run(tmp_path)
    path.write_text(json.dumps({"preset": "suite", "tasks": ["text"], "data_dir": str(tmp_path / "data")}))
    with pytest.raises(ValueError, match="without a whole checkpoint"):
        next(lra_run.measure_run(tmp_path, ROWS))
    assert not (tmp_path / "data").exists()


def test_options_of_the_other_sections_have_no_effect_with_a_checkpoint(lra_folder):
    read = stability.command_line.read
    assert read(["--checkpoint", str(lra_folder), "--checkpoint-rows", "3"]).checkpoint_rows == 3
    for words in (["--only", "analyses"], ["--seeds", "0"], ["--analyses.steps", "3"]):
        with pytest.raises(ValueError, match="--checkpoint"):
            read(["--checkpoint", str(lra_folder), *words])
    with pytest.raises(ValueError, match="has an effect only with --checkpoint"):
        read(["--checkpoint-rows", "3"])
