"""LLaVA on a mesh and at full size: slices of weights, agreement with one device, memory, lowered programs."""

import re
from dataclasses import replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from jax.sharding import AbstractMesh, PartitionSpec

from pid import llava
from pid.llava.__main__ import main as command
from pid.llava.checkpoint.loading import abstract_model
from pid.llava.parity.memory import lower, model_size
from pid.llava.partitioning import MeshShape
from pid.llava.published_models import PUBLISHED_MODELS
from tests.helpers.llava_golden import (
    CRITERION,
    GOLDEN,
    WINDOW,
    batch_of,
    error,
    golden,
    loaded,
    mesh_of,
    run,
    text_arrays,
)


@pytest.fixture(autouse=True)
def full_precision():
    with jax.default_matmul_precision("highest"):
        yield


# Meshes and size


class RecordingArray(np.ndarray):
    """An array that records the size of every slice that is read."""

    reads: list

    def __getitem__(self, index):
        values = np.asarray(self)[index]
        self.reads.append(values.size)
        return values


def test_each_device_reads_only_its_slice():
    arrays = text_arrays("llava_15_mistral")
    for key, array in arrays.items():
        arrays[key] = array.view(RecordingArray)
        arrays[key].reads = []
    config = replace(loaded("llava_15_mistral").config.text, tie_embeddings=True)
    model = llava.load_text(config, arrays, dtype=jnp.float32, mesh=mesh_of(2, 4))
    for key in ("self_attn.q_proj", "self_attn.k_proj", "self_attn.o_proj", "mlp.up_proj", "mlp.down_proj"):
        array = arrays[f"model.layers.1.{key}.weight"]
        assert array.reads
        assert set(array.reads) == {array.size // 4}
    assert set(arrays["model.embed_tokens.weight"].reads) == {40 * 32 // 4}
    sharding: Any = model.blocks.down.kernel[...].sharding
    assert sharding.spec == PartitionSpec(None, "model")


def test_eight_devices_agree_with_one():
    name = "llava_next_mistral"
    model = llava.load(GOLDEN / name, dtype=jnp.float32, mesh=mesh_of(2, 4))
    kernel = model.language.blocks.query.kernel[...]
    assert kernel.addressable_shards[0].data.shape == (4, 32, 8)
    ours, not_padding = run(name, model, knockouts=WINDOW), golden(name)["token_types"] > 0
    assert (
        error(np.asarray(ours.residual)[:, not_padding], golden(name)["window_residual"][:, not_padding])
        < CRITERION
    )
    assert (
        error(np.asarray(ours.logits)[not_padding][None], golden(name)["window_logits"][not_padding][None])
        < CRITERION
    )
    one_sample: dict[str, Any] = {key: value[:1] for key, value in batch_of(name).items()}
    with pytest.raises(ValueError, match="divides evenly over data=2, got 1 samples"):
        llava.forward(model, **one_sample)
    with pytest.raises(ValueError, match=r"without \['model'\]"):
        llava.load(GOLDEN / name, dtype=jnp.float32, mesh=jax.make_mesh((8,), ("data",)))


@pytest.mark.parametrize("name", PUBLISHED_MODELS)
def test_full_size_in_bfloat16_traces_to_states_in_bfloat16_and_logits_in_float32(name):
    config = PUBLISHED_MODELS[name].config
    length, size = 2400, np.array([[375, 500]])
    tokens = np.arange(1, length + 1)[None]
    tokens[0, 5 : 5 + (2340 if config.pinpoints else 576)] = config.image_token
    pixels = np.zeros((1, *((5,) if config.pinpoints else ()), 3, 336, 336), np.float32)
    inputs = llava.prepare(config, tokens, pixels, image_sizes=size)
    model = nnx.eval_shape(lambda: llava.Llava(config, dtype=jnp.bfloat16, rngs=nnx.Rngs(0)))
    graphdef, params = nnx.split(model)

    words = llava.prepare(config, np.ones((2, 7), int), None)

    def run(params, inputs, words):
        model = nnx.merge(graphdef, params)
        return model(inputs), model(inputs, collect="pooled"), model(words)

    states, means, text = jax.eval_shape(run, params, inputs, words)
    assert (text.residual.shape, text.logits.shape) == ((33, 2, 7, 4096), (2, 7, 32064))
    assert (states.residual.shape, states.residual.dtype) == ((33, 1, length, 4096), jnp.bfloat16)
    assert (states.final.dtype, states.logits.dtype) == (jnp.bfloat16, jnp.float32)
    assert states.logits.shape == (1, length, 32064)
    assert (means.residual.shape, means.residual.dtype) == ((33, 1, 3, 4096), jnp.float32)
    assert (means.normalized.shape, means.logits.shape) == ((33, 1, 3, 4096), (1, 32064))


def shapes_of(config):
    return abstract_model(llava.Llava, config, jnp.bfloat16)[1]


@pytest.mark.parametrize(
    ("name", "billions"), [("llava-1.5-7b-hf", 7.06), ("llava-v1.6-mistral-7b-hf", 7.57)]
)
def test_full_size_needs_the_memory_that_arithmetic_says(name, billions):
    config = PUBLISHED_MODELS[name].config
    text, vision = config.text, config.vision
    assert (vision.depth, vision.patches, vision.norm_eps, text.norm_eps) == (23, 576, 1e-5, 1e-5)
    assert text.rope_theta == (1e6 if "mistral" in name else 1e4)
    params = shapes_of(config)

    width, queries, keys = text.hidden_size, text.num_heads * text.head_dim, text.num_kv_heads * text.head_dim
    maps = (
        text.num_layers * (2 * width * (queries + keys) + 3 * width * text.mlp_dim)
        + 2 * text.vocab_size * width
    )
    norms = (2 * text.num_layers + 1) * width
    channels, ffn = vision.hidden_size, vision.mlp_dim
    block = 4 * channels * (channels + 1) + 2 * channels * ffn + ffn + channels + 4 * channels
    tower = channels * (3 * 14**2 + 1 + 577 + 2) + 23 * block
    projector = (channels + 1 + width + 1) * width
    newline = width if config.pinpoints else 0
    replicated = norms + tower + projector + newline

    count = sum(int(np.prod(leaf.shape)) for leaf in jax.tree.leaves(params))
    assert count == maps + replicated
    assert abs((count + block) / 1e9 - billions) < 0.005
    assert abs(2 * (count + block) / 2**30 - {7.06: 13.2, 7.57: 14.1}[billions]) < 0.1
    for ways in (1, 2, 8):
        mesh = AbstractMesh((1, ways), ("data", "model"))
        assert llava.bytes_per_device(params, mesh) == 2 * (maps // ways + replicated)
        assert model_size(params, mesh) == (count, 2 * count, 2 * (maps // ways + replicated))


@pytest.mark.parametrize("name", PUBLISHED_MODELS)
def test_full_size_lowers_for_eight_devices_without_any_weights(name):
    """In one pooled forward pass every weight matrix is split over eight devices, and no other array is."""
    published, mesh = PUBLISHED_MODELS[name], mesh_of(1, 8)
    text, config = lower(published, mesh, dtype=jnp.bfloat16).as_text(), published.config.text
    assert "mhlo.num_partitions = 8" in text
    main = text[text.index("@main(") : text.index("->", text.index("@main("))]
    split = [argument for argument in main.split("%arg") if '{"model"}' in argument]
    shapes = sorted(re.findall(r"tensor<([\dx]+)xbf16>", argument)[0] for argument in split)
    queries, keys = config.num_heads * config.head_dim, config.num_kv_heads * config.head_dim
    layers, width, ffn = config.num_layers, config.hidden_size, config.mlp_dim
    expected = [(layers, width, n) for n in (queries, keys, keys, ffn, ffn)]
    expected += [(layers, queries, width), (layers, ffn, width), (config.vocab_size, width)]
    expected += [(width, config.vocab_size)]
    assert shapes == sorted("x".join(map(str, shape)) for shape in expected)
    tokens, tiles = {"llava-1.5-7b-hf": (640, 1), "llava-v1.6-mistral-7b-hf": (3008, 5)}[name]
    assert f"tensor<1x{tokens}xi32>" in main
    assert f"tensor<1x{tiles}x3x336x336xf32>" in main


def test_sizes_of_the_published_models_are_printed(capsys):
    assert command(["sizes", "--mesh.model", "4", "--mesh.data", "2", "--platform", "tpu"]) == 0
    printed = capsys.readouterr().out
    for name, published in PUBLISHED_MODELS.items():
        config = published.config
        shapes = shapes_of(config)
        size = model_size(shapes, AbstractMesh((2, 4), ("data", "model")))
        assert f"{name}\n  parameters       {size.parameters:,}, {size.total:,} bytes in bfloat16" in printed
        assert f"{size.per_device:,} bytes ({size.per_device / 2**30:.2f} GiB) of data=2, model=4" in printed
        assert f"2 x {published.tokens} tokens" in printed
    assert printed.count("lowered for 8 tpu devices") == 2
    with pytest.raises(ValueError, match="an axis of a mesh has at least one device, got data=1, model=0"):
        MeshShape(model=0)
