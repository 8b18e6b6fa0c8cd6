"""The official models on padded lines: PAD in the loss, every token visible, and two paths of evaluation.

B lines, L tokens, D channels
"""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx
from jax.sharding import Mesh
from jaxtyping import Array, Bool, Float, Int

from experiments import run
from experiments.data import arrays
from experiments.lm.config import Config, Network
from experiments.lm.next_token import all_batches, training_batch
from experiments.lm.padding.padded_lines import Lines
from pdeformer import cta, sharding, train

KINDS = {"official_baseline": None, "official_diffusion": "diffusion"}
"""Name of an official model -> its steps."""


class PaddedCell(NamedTuple):
    """One training on padded lines, for every seed."""

    model: str
    """official_baseline or official_diffusion."""
    length: int
    """Tokens to which lines are padded."""
    name: str
    """Name of the training in the run."""


class PaddedScores(NamedTuple):
    """Mean nats of a model on the test lines."""

    counted: float
    """Over all targets, PAD among them; the states at PAD are those of the model."""
    zeroed: float
    """The same with the states at PAD set to 0, as the baseline of the published code is evaluated."""
    real: float
    """Over the targets that are not PAD; both paths agree on it."""
    pad_share: float
    """Share of PAD among the targets."""


def padded_cells(config: Config) -> list[PaddedCell]:
    """Return the trainings on padded lines; none without --official-padding."""
    if not config.official_padding:
        return []
    several = len(config.lengths) > 1
    return [
        PaddedCell(model, length, f"{model}_T{length}" if several else model)
        for length in config.lengths
        for model in KINDS
    ]


def states_and_head(model: Any, ids: Int[Array, "b l"], pad: int, key: Any, *, zeroed: bool) -> Any:
    """Return the logits (B, L, V); `zeroed` sets the states at PAD to 0 before the head reads them."""
    mask = ids != pad
    x = model.hidden_states(ids, mask, key)
    x = jnp.where(mask[..., None], x, 0) if zeroed else x
    return cta.affine(x, model.fc["weight"][...], model.fc["bias"][...])


@functools.cache
def padded_loss(pad: int) -> train.LossFunction:
    """Return the loss of the first public code: the mean over all next tokens of a line, PAD among them."""

    def loss(model: Any, batch: dict[str, Any], key: Any) -> train.Sums:
        ids = jnp.asarray(batch["tokens"]).astype(jnp.int32)
        logits = states_and_head(model, ids, pad, key, zeroed=False)[:, :-1]
        weights = jnp.broadcast_to(batch["weights"][:, None] / logits.shape[1], logits.shape[:2])
        return train.cross_entropy(logits, ids[:, 1:], weights)

    return loss


@functools.cache
def builder(
    network: Network, model: str, vocabulary: int, length: int, steps: int
) -> Callable[[nnx.Rngs], cta.OfficialLM]:
    """Return a function that builds an official model without a causal mask; equal arguments share programs."""
    kind, sizes = KINDS[model], {"width": network.width, "ffn": network.ffn, "layers": network.layers}

    def build(rngs: nnx.Rngs) -> cta.OfficialLM:
        weights = cta.init_weights(
            rngs.params(),
            vocabulary=vocabulary,
            outputs=vocabulary,
            length=length,
            kind=kind,
            steps=steps,
            identical_layers=kind is None,
            **sizes,
        )
        return cta.OfficialLM(weights, kind=kind, heads=network.heads, causal=False, dropout=network.dropout)

    return build


def train_padded(
    config: Config, cell: PaddedCell, seed: int, lines: Lines, mesh: Mesh, folder: run.Run
) -> PaddedScores:
    """Train an official model on padded lines, and return its scores; a finished training is read from the run."""
    options = config.padding
    name = f"{cell.name} scores"
    if (row := folder.row(name, seed, PaddedScores._fields)) is not None:
        return PaddedScores(**row)
    vocabulary = len(lines.splits["train"].vocabulary)
    optimizer = train.Optimizer(
        options.peak_rate,
        schedule="constant",
        warmup=max(1, options.steps // 10),
        warmup_start=0.1,
        weight_decay=0.01,
        decay="all",
        clip=1.0,
    )
    build = builder(config.model, cell.model, vocabulary, cell.length, options.pde_steps)
    programs = run.make_programs(
        build, optimizer, options.steps, mesh, padded_loss(lines.pad), fsdp=config.mesh.fsdp
    )
    scores: list[PaddedScores] = []

    def test(params: Any) -> train.Evaluation:
        scores.append(measure_padded(programs.graphdef, params, lines.splits["test"], lines.pad, mesh))
        return programs.evaluate(params, all_batches(lines.splits["test"], options.batch, mesh))

    run.train(
        folder,
        variant=cell.name,
        seed=seed,
        steps=options.steps,
        state=programs.init(jax.random.key(seed)),
        step_fn=programs.step,
        batch_fn=functools.partial(training_batch, lines.splits["train"], options.batch, mesh, seed=seed),
        evaluate_fn=lambda params: programs.evaluate(
            params, all_batches(lines.splits["val"], options.batch, mesh)
        ),
        test_fn=test,
        tokens_per_step=options.batch * cell.length,
        cadence=config.cadence,
        profile=config.profile,
    )
    if not scores:  # an earlier start has finished the training, and ended before it saved them
        with run.Checkpoints(folder.checkpoints(cell.name, seed)) as checkpoints:
            params = checkpoints.restore(programs.init(jax.random.key(seed)), options.steps).params
        scores.append(measure_padded(programs.graphdef, params, lines.splits["test"], lines.pad, mesh))
    folder.finish(name, seed, scores[0]._asdict())  # of the last weights
    return scores[0]


def measure_padded(
    graphdef: Any, params: Any, split: arrays.Split, pad: int, mesh: Mesh, size: int = 16
) -> PaddedScores:
    """Return the scores of a model on padded lines, on both paths."""
    nats_of_batch = _make_padded_nats(graphdef, mesh, pad)
    parts = [
        [np.asarray(nats) for nats in nats_of_batch(params, batch)]
        for batch in all_batches(split, size, mesh)
    ]
    counted, zeroed = (np.concatenate(column)[: len(split.labels)] for column in zip(*parts, strict=True))
    is_pad = np.asarray(split.tokens)[:, 1:] == pad
    return split_nats(counted, zeroed, is_pad)


def split_nats(
    counted: Float[np.ndarray, "b l1"], zeroed: Float[np.ndarray, "b l1"], is_pad: Bool[np.ndarray, "b l1"]
) -> PaddedScores:
    """Return the means of both paths over all targets, and over those that are not PAD."""
    real = counted[~is_pad].mean(dtype=float) if not is_pad.all() else np.nan
    values = (counted.mean(dtype=float), zeroed.mean(dtype=float), real, is_pad.mean())
    return PaddedScores(*map(float, values))


@functools.cache
def _make_padded_nats(graphdef: Any, mesh: Mesh, pad: int) -> Any:
    """Return the jitted function `(params, batch) -> nats of both paths`."""

    def nats_of_batch(params: Any, batch: dict[str, Any]) -> list[Any]:
        ids, model = jnp.asarray(batch["tokens"]).astype(jnp.int32), nnx.merge(graphdef, params)
        with jax.sharding.use_abstract_mesh(mesh.abstract_mesh):
            both = [states_and_head(model, ids, pad, None, zeroed=zeroed) for zeroed in (False, True)]
        return [
            optax.softmax_cross_entropy_with_integer_labels(logits[:, :-1], ids[:, 1:]) for logits in both
        ]

    return jax.jit(nats_of_batch, out_shardings=sharding.replicated_sharding(mesh))
