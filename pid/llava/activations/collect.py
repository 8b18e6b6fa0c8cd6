"""Run samples through a model under many conditions and store the pooled states of every layer.

    store = llava.capture(model, rows, conditions={"baseline": (), **{f"window {l}": (Knockout(w),)
                          for l, w in enumerate(llava.windows(32))}}, store="activations")
    store.states("baseline", TokenType.LAST)[12], store.change("window 12")

While the device works on a batch, the host writes the previous one.

C conditions, B rows of a batch, G groups, n rows of a shard
"""

import dataclasses
import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sized
from os import PathLike
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from pid.llava.activations.activation_store import NORMALIZED, Store, array_name
from pid.llava.activations.batching import (
    Buckets,
    PromptBatch,
    batches,
    default_buckets,
    stack_knockout_masks,
    to_device_inputs,
)
from pid.llava.activations.capture_config import CaptureConfig, make_capture_config
from pid.llava.activations.host_group import (
    check_takes_all_hosts,
    from_first_host,
    replicated,
    wait_for_all_hosts,
)
from pid.llava.activations.row_checks import HasRows, check_row, pending, prompt_digest, to_row, to_rows
from pid.llava.activations.shard_writer import ShardWriter, StoreConfig
from pid.llava.activations.shared_prefix import Measurement, measure
from pid.llava.config import config_fields_on_disk
from pid.llava.knockout import Knockout
from pid.llava.model.language_model import GROUPS
from pid.llava.model.llava import Llava, check_model
from pid.llava.partitioning import put_inputs, spans_hosts
from pid.llava.preprocessing.encoded_prompt import EncodedPrompt
from pid.llava.progress import progress_bar

X = TypeVar("X")

LAYOUT = 1
"""The version of the content of a shard. It rises with every change that older readers would misread."""


def capture(
    model: Llava,
    samples: Iterable[EncodedPrompt] | HasRows,
    *,
    conditions: Mapping[str, Iterable[Knockout] | Knockout],
    groups: Iterable[int] | int = GROUPS,
    states: Iterable[str] | str | None = None,
    store: str | Path,
    weights: str = "",
    encoding: str = "",
    options: Iterable[int] | int = (),
    buckets: Buckets | None = None,
    batch: int = 8,
    dtype: Any = "float32",
    share: tuple[int, int] | None = None,
) -> Store:
    """Store pooled states of every layer, and the answer, of every sample under every condition.

    A second call with the same arguments resumes: rows in intact shards are not run again. The files of the other rows
    are the same as those of an uninterrupted call.

    Args:
        model: the model.
        samples: encoded prompts with unique names, or a `Batch`.
        conditions: name → knockouts. Exactly one has no knockouts: the baseline.
        groups: token types over which states are averaged.
        states: names of the conditions whose states are stored. None is all; a 7B model takes 3 MB per condition and
            sample.
        store: the folder to write to.
        weights: fingerprint of the checkpoint, which only the caller knows. A store refuses to resume with another.
        encoding: fingerprint of the encoding of prompts, such as `fingerprint(processor)`. A store refuses to resume
            with another.
        options: token ids whose logits are stored.
        buckets: lengths to which prompts are padded. None is `default_buckets(model.config)`.
        batch: prompts that run together, at least 1.
        dtype: dtype of states on disk, "float32" or "bfloat16".
        share: (index, count): only the samples index, index + count, … None is the share of this process among all
            JAX processes if their models each lie on their own devices, and all samples if one model lies on the
            devices of all. Then every process passes the same arguments and a folder that all can read; the first one
            writes.

    Returns:
        The store, with the rows that other processes have stored so far.

    Raises:
        ValueError: conditions or prompts break a rule, or the store has another configuration.

    Example::

        rows = llava.encode_prompts(processor, samples)
        conditions = {"baseline": (), "blind": (llava.Knockout("all"),)}
        store = llava.capture(model, rows, conditions=conditions, store="activations")
        store.states("blind", llava.TokenType.LAST)[12]         # (n, D)

    The example is not executed, because it needs the weights of a model.

    Reference:
        Geva et al. 2023 for attention knockout; Zhang et al. 2025 for LLaVA.
    """
    check_model(model)
    capture_config = make_capture_config(
        default_buckets(model.config) if buckets is None else buckets,
        conditions=conditions,
        groups=groups,
        states=states,
        options=options,
        dtype=dtype,
    )
    _check_texts(store, weights, encoding)
    if not isinstance(batch, int | np.integer) or batch < 1:
        raise ValueError(f"a batch has at least one prompt, got batch={batch!r}; choose a positive number.")
    run = make_runner(model, capture_config, int(batch))
    sharding = model.language.norm.scale[...].sharding
    check_takes_all_hosts(sharding)
    is_joint = spans_hosts(sharding)
    index, count = _share((0, 1) if share is None and is_joint else share)
    rows = to_rows(samples)
    config = _store_config(model, capture_config, weights, encoding)
    writer = open_writer(Path(store), config, index=index, count=count, is_joint=is_joint)
    total = len(range(index, len(rows), count)) if isinstance(rows, Sized) else None
    rows = (to_row(row, place) for place, row in enumerate(rows))
    with progress_bar("capture", total, "samples") as advance:
        new = pending(rows, dict(writer.stored), index, count, advance, dict(writer.digests))
        new = ((place, check_row(model.config, row, capture_config.groups)) for place, row in new)
        planned = batches(new, batch, capture_config.conditions, capture_config.buckets)
        for prompts, measurement in one_step_ahead((prompts, run(prompts)) for prompts in planned):
            if not isinstance(writer, ShardWriter):
                jax.block_until_ready(measurement)
                continue
            names = (row.name for row in prompts.rows)
            digests = map(prompt_digest, prompts.rows)
            writer.save(prompts.places, names, _arrays(prompts, measurement, capture_config), digests)
            advance(len(prompts.rows))
    if is_joint:
        wait_for_all_hosts("captured")
    return Store.open(store)


class StoredRows(NamedTuple):
    """What a store has already, on a host that does not write."""

    stored: dict[str, int]
    """For each stored row its index among all samples, by name."""
    digests: dict[str, str]
    """For each of these rows the hash of its prompt, by name."""


def open_writer(
    folder: Path, config: StoreConfig, *, index: int, count: int, is_joint: bool
) -> ShardWriter | StoredRows:
    """Open the writer of a share. Of hosts that run together the first has a writer, the others know its rows."""
    writers: list[ShardWriter] = []

    def open_and_list() -> list[dict[str, Any]]:
        writers.append(ShardWriter(folder, config, index=index, count=count))
        return [writers[0].stored, writers[0].digests]

    rows = from_first_host(open_and_list) if is_joint else open_and_list()
    return writers[0] if writers else StoredRows(*rows)


def _check_texts(store: Any, weights: Any, encoding: Any) -> None:
    """Raise TypeError unless the store is a path, and the fingerprints, which it records, are texts."""
    if not isinstance(store, str | PathLike):
        raise TypeError(f"a store is the path of a folder, got {type(store).__name__}; name a folder.")
    for name, fingerprint in (("weights", weights), ("encoding", encoding)):
        if not isinstance(fingerprint, str):
            raise TypeError(
                f"{name} is a fingerprint, a text, got {type(fingerprint).__name__}; pass a text."
            )


def _share(share: tuple[int, int] | None) -> tuple[int, int]:
    """The share of this process: (index, count).

    Raises:
        ValueError: the index is not below the count.
    """
    pair = (jax.process_index(), jax.process_count()) if share is None else share
    is_pair = (
        isinstance(pair, tuple | list) and [isinstance(part, int | np.integer) for part in pair] == [True] * 2
    )
    if not is_pair or not 0 <= pair[0] < pair[1]:
        raise ValueError(f"a share is (index, count), with index 0 … count - 1, got {share}; count from 0.")
    return pair[0], pair[1]


def _store_config(model: Llava, capture_config: CaptureConfig, weights: str, encoding: str) -> StoreConfig:
    """The configuration of a store: everything that its content depends on, in the types of JSON."""
    config = {
        "layout": LAYOUT,
        "model": config_fields_on_disk(model.config),
        "compute": jnp.dtype(model.language.norm.dtype).name,
        "weights": weights,
        "encoding": encoding,
        **{name: getattr(capture_config, name) for name in ("states", "groups", "options", "dtype")},
        "buckets": dataclasses.asdict(capture_config.buckets),
        "conditions": {
            name: [dataclasses.asdict(knockout) for knockout in knockouts]
            for name, knockouts in capture_config.conditions.items()
        },
    }
    return json.loads(json.dumps(config))


def make_runner(
    model: Llava, capture_config: CaptureConfig, size: int
) -> Callable[[PromptBatch], Measurement]:
    """Make a function that starts a batch of up to `size` prompts and returns without waiting for the results.

    Raises:
        ValueError: the model does not have a layer of a knockout or the token id of an option.
    """
    graphdef, params = nnx.split(model)
    sharding = model.language.norm.scale[...].sharding
    replicate = replicated(sharding)
    text, conditions = model.config.text, capture_config.conditions
    if invalid := [token for token in capture_config.options if not 0 <= token < text.vocab_size]:
        raise ValueError(f"options are token ids 0 … {text.vocab_size - 1}, got {invalid}; drop them.")
    masks = stack_knockout_masks(conditions.values(), text.num_layers)
    options = np.array(capture_config.options, np.int32)
    states_of = np.array([list(conditions).index(name) for name in capture_config.states], np.int32)

    def run(batch: PromptBatch) -> Measurement:
        is_unshared = np.array([name in batch.shape.without_sharing for name in conditions])
        measurement = measure(
            graphdef,
            params,
            put_inputs(to_device_inputs(model.config, batch, size), sharding),
            masks[~is_unshared],
            masks[is_unshared],
            np.argsort(np.argsort(is_unshared, kind="stable")),
            states_of,
            options,
            prefix=batch.shape.prefix,
            groups=capture_config.groups,
        )
        measurement = replicate(measurement)
        for array in measurement:
            array.copy_to_host_async()
        return measurement

    return run


def one_step_ahead(items: Iterable[X]) -> Iterator[X]:
    """Yield each item only after the next one was started, so that the device works while the host writes."""
    previous: list[X] = []
    for item in items:
        yield from previous
        previous = [item]
    yield from previous


def _arrays(
    batch: PromptBatch, measurement: Measurement, capture_config: CaptureConfig
) -> dict[str, np.ndarray]:
    """The content of a shard: states (L+1, n, D) by condition and group, and the answer under each condition."""
    on_host, rows = jax.device_get(measurement), slice(len(batch.rows))
    dtype = jnp.dtype(capture_config.dtype)
    arrays = {}
    for kind, by_condition in (("residual", on_host.residual), (NORMALIZED, on_host.normalized)):
        for condition, states in zip(capture_config.states, by_condition, strict=True):
            for index, group in enumerate(capture_config.groups):
                arrays[array_name(kind, condition, group)] = states[:, rows, index].astype(dtype)
    for index, condition in enumerate(capture_config.conditions):
        for kind in ("greedy", "probability", "logits"):
            arrays[array_name(kind, condition)] = getattr(on_host, kind)[index, rows]
    return arrays
