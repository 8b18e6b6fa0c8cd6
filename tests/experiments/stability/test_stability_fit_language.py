"""States of a language model for the trajectory fit: projection, residual stream, and the folder of SmolLM2."""

from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from experiments import stability
from experiments.stability import Config, Fit
from experiments.stability.measurements import trajectory_fit
from experiments.stability.trajectories import language_states
from experiments.stability.trajectories.shared_simulator import FittedPDE
from pid import llava

TEXT = llava.TextConfig(
    vocab_size=24, hidden_size=8, mlp_dim=8, num_layers=2, num_heads=2, num_kv_heads=2, head_dim=4, norm_eps=1e-5,
    rope_theta=1e4, sliding_window=None, tie_embeddings=True,
)  # fmt: skip


def test_components_are_the_leading_singular_vectors_and_their_share_of_the_variance():
    rng = np.random.default_rng(0)
    states = rng.normal(size=(3, 4, 5, 6)) * np.array([5, 3, 2, 1, 0.5, 0.1]) + 7
    components = language_states.principal_components(states, 2)
    centered = states.reshape(-1, 6) - states.reshape(-1, 6).mean(axis=0)
    _, singular, rows = np.linalg.svd(centered, full_matrices=False)
    np.testing.assert_allclose(components.share, np.sum(singular[:2] ** 2) / np.sum(singular**2))
    np.testing.assert_allclose(np.abs(np.sum(components.axes.T * rows[:2], axis=1)), 1)
    projected = components(states)
    assert projected.shape == (3, 4, 5, 2)
    np.testing.assert_allclose(np.mean(np.square(projected)), 1, rtol=1e-5)
    increments = np.diff(states, axis=0)
    lost = np.sum(np.square(increments - increments @ components.axes @ components.axes.T))
    np.testing.assert_allclose(components.increment_share, 1 - lost / np.sum(np.square(increments)))


def test_states_are_the_residual_stream_without_the_first_token():
    model = llava.LanguageModel(TEXT, dtype=jnp.float32, rngs=nnx.Rngs(0))
    ids = (
        np.random.default_rng(0).integers(0, 24, size=(language_states.ROWS_AT_ONCE + 3, 5)).astype(np.int32)
    )
    states = language_states.record_language_states(model, ids)
    types = jnp.full(ids.shape, llava.TokenType.TEXT)
    whole = model(model.embed(jnp.asarray(ids)), types, jnp.asarray(llava.knockout_mask((), 2)))
    np.testing.assert_allclose(states, whole.residual[:, :, 1:], atol=1e-5)


def test_a_folder_without_the_files_of_a_model_is_refused_before_anything_is_measured(tmp_path):
    (tmp_path / "config.json").touch()
    config = Config(only=("fit",), fit=Fit(smollm2=tmp_path), out=tmp_path / "run")
    words = r"without model.safetensors, tokenizer.json; write one by `pip install gguf .* FOLDER`"
    with pytest.raises(FileNotFoundError, match=words):
        stability.main(config)
    assert not (tmp_path / "run").exists()


def test_options_of_the_language_model_have_no_effect_without_one():
    idle = Config(only=("fit",)).idle_options()
    assert idle["fit.components"].needed == "--fit.smollm2 FOLDER"
    assert "fit.components" not in Config(fit=Fit(smollm2=Path("folder"))).idle_options()


def test_width_and_components_are_divisible_by_the_heads():
    with pytest.raises(ValueError, match=r"fit.components must be divisible by fit.heads, got 30 and 4"):
        Config(fit=Fit(components=30))
    with pytest.raises(ValueError, match=r"fit.width must be divisible by fit.heads, got 30 and 4"):
        Config(fit=Fit(width=30))


def test_rows_of_text_are_split_by_seed_and_components_read_only_rows_of_the_fit(monkeypatch):
    states = np.random.default_rng(0).normal(size=(3, 8, 4, 6))
    fits = []

    def fit_simulator(fit, test, config, seeds, **options):
        fits.append((fit, test, config))
        shape = (5, len(seeds))
        predictions = np.zeros((*shape, *test[:, 1:].shape[1:]), np.float32)
        ones = np.ones(shape)
        return FittedPDE(predictions, predictions, ones, ones, np.ones((*shape, 3)), np.ones((*shape, 1)))

    monkeypatch.setattr(trajectory_fit, "fit_simulator", fit_simulator)
    monkeypatch.setattr(trajectory_fit, "read_rows", lambda folder, rows, tokens: np.zeros((8, 5), int))
    monkeypatch.setattr(trajectory_fit, "read_language", lambda folder: None)
    monkeypatch.setattr(trajectory_fit, "record_language_states", lambda language, ids: states)
    size = Fit(smollm2=Path("folder"), components=4, heads=2)
    result = trajectory_fit.measure_language(size, (0, 1))
    (fit, test, config) = fits[0]
    assert config.causal
    assert config.shared
    assert config.layers == 2
    assert fit.shape == (2, 3, 6, 4, 4)
    assert test.shape == (2, 3, 2, 4, 4)
    rows = np.random.default_rng(1).permutation(8)[2:]
    components = language_states.principal_components(states[:, rows], 4)
    np.testing.assert_allclose(fit[1], components(states[:, rows]))
    assert result.share[1] == components.share
    assert jax.tree.leaves(
        trajectory_fit.verdict(trajectory_fit.FitResult(result.explained, np.ones(2), result))
    )
