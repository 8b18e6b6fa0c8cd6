"""Run samples through a model under many conditions and keep what is needed of every layer on disk.

    store = llava.capture(model, rows, conditions={"baseline": (), **{f"window {l}": (Knockout(w),)
                          for l, w in enumerate(llava.windows(32))}}, store="activations")
    store.states("baseline", TokenType.LAST)[12], store.change("window 12")

While the device works on a batch, the host writes the one before.

C conditions, B rows of a batch, G groups, n rows of a shard
"""

import dataclasses
import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sized
from pathlib import Path
from typing import Protocol, TypeVar, runtime_checkable

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from pid.llava.activations.activation_store import Store, key
from pid.llava.activations.batching import (
    Alike,
    Buckets,
    Conditions,
    batches,
    default_buckets,
    lay_out,
    tables,
)
from pid.llava.activations.shard_writer import Config, Writer
from pid.llava.activations.shared_prefix import Measured, measure
from pid.llava.knockout import Knockout
from pid.llava.model.language_model import GROUPS
from pid.llava.model.llava import Llava
from pid.llava.partitioning import put
from pid.llava.preprocessing.encoded_prompt import Row
from pid.llava.progress import bar

X = TypeVar("X")

LAYOUT = 1
"""The version of what a shard holds; raised with every change that older readers would misread."""
DTYPES = ("float32", "bfloat16")


@runtime_checkable
class HasRows(Protocol):
    """Something that gives rows, like an encoded batch."""

    def rows(self) -> Iterable[Row]: ...


@dataclasses.dataclass(frozen=True)
class Choice:
    """What is captured of each sample: with the model and the caller's fingerprints, the configuration of a store.

    Raises:
        ValueError: no baseline or several, states of no condition, groups that are none, another dtype.
    """

    conditions: Conditions
    """Name → knockouts, the baseline first."""
    states: tuple[str, ...]
    """The conditions whose states are stored; the answer is stored under all of them."""
    groups: tuple[int, ...]
    """Groups of tokens whose states are pooled."""
    options: tuple[int, ...]
    """Token ids whose logits are kept."""
    buckets: Buckets
    """Lengths to pad to."""
    dtype: str
    """Of states on disk."""

    def __post_init__(self):
        idle = [name for name, cuts in self.conditions.items() if not cuts]
        if len(idle) != 1:
            raise ValueError(
                f"one condition is the baseline, without knockouts, got {idle}; have one 'baseline': ()."
            )
        first = {idle[0]: ()}
        object.__setattr__(self, "conditions", first | {k: v for k, v in self.conditions.items() if v})
        object.__setattr__(self, "states", tuple(sorted({*self.states})))
        if unknown := {*self.states} - {*self.conditions}:
            raise ValueError(
                f"states are stored of conditions, got {sorted(unknown)}; name some of {list(self.conditions)}."
            )
        if not self.groups or len({*self.groups}) < len(self.groups) or min(self.groups) < 1:
            raise ValueError(f"groups are different types above PAD=0, got {self.groups}; name each once.")
        if self.dtype not in DTYPES:
            raise ValueError(
                f"states are stored as {' or '.join(DTYPES)}, got {self.dtype!r}; name one of them."
            )


def capture(
    model: Llava,
    samples: Iterable[Row] | HasRows,
    *,
    conditions: Mapping[str, Iterable[Knockout]],
    groups: Iterable[int] = GROUPS,
    states: Iterable[str] | None = None,
    store: str | Path,
    weights: str = "",
    encoding: str = "",
    options: Iterable[int] = (),
    buckets: Buckets | None = None,
    batch: int = 8,
    dtype: str = "float32",
    share: tuple[int, int] | None = None,
) -> Store:
    """Pooled states of every layer, and the answer, of every sample under every condition; into the folder `store`.

    samples: rows with names of their own. conditions: name → knockouts, one of them empty: the baseline. states: the
    conditions whose states are stored, by default all; a 7B takes 3 MB for each, of each sample.
    weights, encoding: fingerprints of the checkpoint and of how prompts were made, which only the caller knows;
    a store refuses to go on with others. options: token ids whose logits are kept. buckets: lengths to pad to, see
    `default_buckets`. batch: rows that run together. dtype: of states on disk, "float32" or "bfloat16".
    share: (index, count), the samples index, index + count, … alone; by default the share of this process among
    all, whose models lie each on its own devices.

    Called again it goes on: rows in intact shards are not run again, and the others end in the same files as if
    nothing had happened. The `Store` returned has the rows of other processes as far as these have come.

    Raises:
        ValueError: names the rule that conditions, rows or a store begun with another configuration break.
    """
    choice = Choice(
        {name: tuple(cuts) for name, cuts in conditions.items()},
        tuple(conditions if states is None else states),
        tuple(map(int, groups)),
        tuple(map(int, options)),
        default_buckets(model.config) if buckets is None else buckets,
        dtype,
    )
    run = runner(model, choice, batch)
    index, count = (jax.process_index(), jax.process_count()) if share is None else share
    config = _config(model, choice, weights, encoding)
    writer = Writer(Path(store), config, index=index, count=count)
    rows = samples.rows() if isinstance(samples, HasRows) else samples
    total = len(range(index, len(rows), count)) if isinstance(rows, Sized) else None
    with bar("capture", total, "samples") as done:
        new = unstored(rows, dict(writer.stored), index, count, done)
        begun = ((some, run(some)) for some in batches(new, batch, choice.conditions, choice.buckets))
        for some, measured in one_late(begun):
            writer.save(some.places, (row.name for row in some.rows), _arrays(some, measured, choice))
            done(len(some.rows))
    return Store.open(store)


def _config(model: Llava, choice: Choice, weights: str, encoding: str) -> Config:
    """What the contents of a store depend on, as JSON gives it back."""
    config = {
        "layout": LAYOUT,
        "model": dataclasses.asdict(model.config),
        "compute": jnp.dtype(model.language.norm.dtype).name,
        "weights": weights,
        "encoding": encoding,
        **{name: getattr(choice, name) for name in ("states", "groups", "options", "dtype")},
        "buckets": dataclasses.asdict(choice.buckets),
        "conditions": {
            name: [dataclasses.asdict(cut) for cut in cuts] for name, cuts in choice.conditions.items()
        },
    }
    return json.loads(json.dumps(config))


def runner(model: Llava, choice: Choice, size: int) -> Callable[[Alike], Measured]:
    """What begins to run a batch of up to `size` rows, and to copy its results to the host, and returns at once.

    Raises:
        ValueError: a layer or an option that the model lacks.
    """
    graphdef, params = nnx.split(model)
    beside = model.language.norm.scale[...].sharding
    text, conditions = model.config.text, choice.conditions
    if beyond := [token for token in choice.options if not 0 <= token < text.vocabulary]:
        raise ValueError(f"options are token ids 0 … {text.vocabulary - 1}, got {beyond}; drop them.")
    blocks = tables(conditions.values(), text.layers)
    options = np.array(choice.options, np.int32)
    kept = np.array([list(conditions).index(name) for name in choice.states], np.int32)

    def run(batch: Alike) -> Measured:
        is_full = np.array([name in batch.shape.full for name in conditions])
        measured = measure(
            graphdef,
            params,
            put(lay_out(model.config, batch, size), beside),
            blocks[~is_full],
            blocks[is_full],
            np.argsort(np.argsort(is_full, kind="stable")),
            kept,
            options,
            prefix=batch.shape.prefix,
            groups=choice.groups,
        )
        for array in measured:
            array.copy_to_host_async()
        return measured

    return run


def unstored(
    rows: Iterable[Row], stored: Mapping[str, int], index: int, count: int, done: Callable[[int], object]
) -> Iterator[tuple[int, Row]]:
    """The rows of a share that are not stored yet, with their places; `done` hears of the others.

    Raises:
        ValueError: two rows of one name, or a stored row in another place.
    """
    names, seen = {place: name for name, place in stored.items()}, set()
    for place, row in enumerate(rows):
        if row.name in seen:
            raise ValueError(f"rows have names of their own, got {row.name!r} twice; rename one of them.")
        seen.add(row.name)
        if stored.get(row.name, place) != place or names.get(place, row.name) != row.name:
            raise ValueError(
                f"rows keep their places, got {row.name!r} at {place}, where the store has "
                f"{names.get(place)!r}; pass the samples in the order of before, new ones last."
            )
        if place % count == index:
            if row.name in stored:
                done(1)
            else:
                yield place, row


def one_late(begun: Iterable[X]) -> Iterator[X]:
    """Each item when the next one has been begun, so that the device works while the host writes."""
    before: list[X] = []
    for item in begun:
        yield from before
        before = [item]
    yield from before


def _arrays(batch: Alike, measured: Measured, choice: Choice) -> dict[str, np.ndarray]:
    """What a shard holds: states (L+1, n, D) of a condition and group, and the answer under each condition."""
    found, rows, dtype = jax.device_get(measured), slice(len(batch.rows)), jnp.dtype(choice.dtype)
    arrays = {}
    for kind in ("residual", "normalised"):
        for condition, states in zip(choice.states, getattr(found, kind), strict=True):
            for at, group in enumerate(choice.groups):
                arrays[key(kind, condition, group)] = states[:, rows, at].astype(dtype)
    for at, condition in enumerate(choice.conditions):
        for kind in ("greedy", "probability", "logits"):
            arrays[key(kind, condition)] = getattr(found, kind)[at, rows]
    return arrays
