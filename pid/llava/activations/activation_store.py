"""Read captured activations from disk, in the order of the samples.

n rows, L layers, D channels, O options
"""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float, Int
from safetensors import SafetensorError, safe_open

from pid.interface.deprecation import accept_former_keyword
from pid.llava.activations.shard_writer import (
    Shard,
    StoreConfig,
    config_hash,
    manifests,
    read_manifest,
    read_store_config,
)
from pid.llava.model.language_model import FORMER_NORMALIZED
from pid.llava.model_folder.output_folder import output_folder
from pid.llava.progress import track

NORMALIZED = FORMER_NORMALIZED  # in the names of arrays on disk


def array_name(kind: str, condition: str, group: int | None = None) -> str:
    """The name of an array in a shard."""
    return f"{kind}/{condition}" if group is None else f"{kind}/{condition}/{int(group)}"


def _selects_layers(index: Any) -> bool:
    """Whether an index selects along the first axis alone: not an ellipsis, a new axis or a mask of more axes."""
    if index is Ellipsis or index is None or isinstance(index, bool | np.bool_ | tuple):
        return False
    return np.asarray(index).dtype != bool or np.ndim(index) == 1


@dataclass(frozen=True)
class States:
    """Pooled states (L+1, n, D) on disk, read layer by layer. `Store.states` returns them.

    `states[layer]` reads one layer (n, D), and `np.asarray(states)` reads all of them.

    Example::

        states = store.states("baseline", llava.TokenType.LAST)
        states.shape                                # (L+1, n, D)
        states[12]                                  # (n, D)

    The example is not executed, because it needs captured activations.
    """

    store: "Store"
    """The store that holds them."""
    name: str
    """The name of the array in each shard."""
    shape: tuple[int, int, int]
    """(L+1, n, D)."""
    dtype: np.dtype = np.dtype(np.float32)
    """Dtype of the arrays that are returned."""

    def __len__(self) -> int:
        """The number of layers, L+1."""
        return self.shape[0]

    def __getitem__(self, index: Any) -> np.ndarray:
        """Read layers as NumPy would index an array (L+1, n, D); `states[layer]` is (n, D).

        A layer, a slice, an array of layers or a mask of layers reads only these layers. Further indices select rows
        and channels.
        """
        first, rest = (index[0], index[1:]) if isinstance(index, tuple) and index else (index, ())
        if not _selects_layers(first) or not all(isinstance(i, slice) or np.ndim(i) == 0 for i in rest):
            return np.asarray(self)[index]
        try:
            layers = np.arange(len(self))[np.asarray(first, int) if np.shape(first) == (0,) else first]
        except (IndexError, TypeError, ValueError) as error:
            raise IndexError(
                f"states have {len(self)} layers, 0 … {len(self) - 1}, got {index!r}: {error}; index them as an array."
            ) from error
        if layers.ndim == 0:
            return self.store.gather(self.name, int(layers))[rest]
        states = np.empty((layers.size, *self.shape[1:]), self.dtype)
        for place, layer in enumerate(layers.ravel()):
            states[place] = self.store.gather(self.name, int(layer))
        return states.reshape(*layers.shape, *self.shape[1:])[(*[slice(None)] * layers.ndim, *rest)]

    def __iter__(self) -> Iterator[Float[np.ndarray, "n d"]]:
        """The states of each layer (n, D), one after the other."""
        return (self[layer] for layer in range(len(self)))

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:  # noqa: FBT001  NumPy's protocol
        """All states as an array (L+1, n, D)."""
        if copy is False:
            raise ValueError("states are read from disk, got copy=False; leave it out.")
        array = np.empty(self.shape, self.dtype if dtype is None else dtype)
        for layer, states in enumerate(self):
            array[layer] = states
        return array


@dataclass(frozen=True)
class Store:
    """The activations that `capture` has written. Rows are in the order of its samples.

    Example::

        store = llava.Store.open("activations")
        store.states("baseline", llava.TokenType.LAST)[12]      # (n, D)
        store.change("window 12")                               # percent (n,)

    The example is not executed, because it needs captured activations.
    """

    path: Path
    """The folder."""
    config: StoreConfig
    """What was captured, and from what."""
    shards: tuple[Shard, ...]
    """The finished shards of all processes."""

    @classmethod
    def open(cls, path: str | Path, *, verify: bool = False) -> "Store":
        """Open the store with the rows captured so far.

        Args:
            path: the folder.
            verify: whether to check every byte of every shard instead of the file sizes only.

        Returns:
            The store.

        Raises:
            FileNotFoundError: the folder is not a store.
            ValueError: a shard is damaged or has another configuration, or two rows share a name or an index.
        """
        folder = output_folder("a store", path)
        config = read_store_config(folder)
        shards = tuple(shard for manifest in manifests(folder).values() for shard in read_manifest(manifest))
        for shard in track("check", shards, "shards"):
            if shard.config != config_hash(config):
                raise ValueError(
                    f"all shards of a store have its configuration, got another for {shard.file} in {folder}; "
                    f"delete its line and capture again."
                )
            if damage := shard.damage(folder, verify=verify):
                raise ValueError(
                    f"a shard must match its manifest, but {damage}; capture again into the same folder, which "
                    f"replaces only damaged shards."
                )
        for field in ("names", "places"):
            count = Counter(value for shard in shards for value in getattr(shard, field))
            if duplicates := [value for value, times in count.items() if times > 1]:
                raise ValueError(
                    f"rows of a store have {field} of their own, got {duplicates[0]!r} twice in {folder}; capture "
                    f"each share once, into a new folder."
                )
        return cls(folder, config, shards)

    @property
    def names(self) -> tuple[str, ...]:
        """The names of the rows."""
        pairs = [pair for shard in self.shards for pair in zip(shard.places, shard.names, strict=True)]
        return tuple(name for _, name in sorted(pairs))

    @property
    def conditions(self) -> tuple[str, ...]:
        """The names of the conditions."""
        return tuple(self.config["conditions"])

    @property
    def groups(self) -> tuple[int, ...]:
        """The groups of tokens whose states were averaged."""
        return tuple(self.config["groups"])

    @property
    def baseline(self) -> str:
        """The name of the condition without knockouts."""
        return next(name for name, knockouts in self.config["conditions"].items() if not knockouts)

    @accept_former_keyword(FORMER_NORMALIZED, "normalized")
    def states(self, condition: str, group: int, *, normalized: bool = False) -> States:
        """The mean residual stream of a group under a condition, (L+1, n, D), read layer by layer.

        Args:
            condition: name of a condition whose states were captured.
            group: a token type, one of `groups`.
            normalized: whether each token is divided by its root mean square before the mean.

        Returns:
            The states. A row without a token of the group is NaN.

        Raises:
            KeyError: the condition or the group was not captured.
        """
        if condition not in self.config["states"]:
            raise KeyError(f"this store has states of {self.config['states']}, got {condition!r}.")
        if group not in self.groups:
            number = int(group) if isinstance(group, int) else repr(group)
            raise KeyError(f"this store has the groups {self.groups}, got {number}.")
        text = self.config["model"]["text"]
        name = array_name(NORMALIZED if normalized else "residual", condition, group)
        return States(self, name, (text["layers"] + 1, len(self.names), text["width"]))

    def greedy(self, condition: str) -> Int[np.ndarray, "n"]:
        """The most likely next token (n,)."""
        return self.gather(array_name("greedy", self._check(condition)))

    @property
    def p_base(self) -> Float[np.ndarray, "n"]:
        """The baseline probability of the baseline's most likely token (n,)."""
        return self.p_new(self.baseline)

    def p_new(self, condition: str) -> Float[np.ndarray, "n"]:
        """The probability under a condition of the baseline's most likely token (n,)."""
        return self.gather(array_name("probability", self._check(condition)))

    def change(self, condition: str) -> Float[np.ndarray, "n"]:
        """The relative change of that probability, 100 (p_new - p_base) / p_base, in percent (n,).

        [Zhang et al. 2025]
        """
        return 100 * (self.p_new(condition) - self.p_base) / self.p_base

    def logits(self, condition: str) -> Float[np.ndarray, "n o"]:
        """The logits of the options (n, O)."""
        return self.gather(array_name("logits", self._check(condition)))

    def _check(self, condition: str) -> str:
        if condition not in self.conditions:
            raise KeyError(f"this store has the conditions {self.conditions}, got {condition!r}.")
        return condition

    def gather(self, name: str, layer: int | None = None) -> np.ndarray:
        """Read an array from all shards, or one layer of it, with its rows in order.

        Args:
            name: the name of the array in each shard, see `array_name`.
            layer: the layer to read; None reads the full array.

        Returns:
            float32, or int32 for token ids.

        Raises:
            KeyError: the store has no array of that name.
            ValueError: a shard is damaged, or the store has no rows.
        """
        rank = {
            place: index
            for index, place in enumerate(sorted(p for shard in self.shards for p in shard.places))
        }
        array: np.ndarray | None = None
        for shard in self.shards:
            path = self.path / shard.file
            try:
                with safe_open(path, framework="np") as file:
                    values = file.get_tensor(name) if layer is None else file.get_slice(name)[layer]
            except SafetensorError as error:
                if "does not contain tensor" in str(error):
                    raise KeyError(f"shards have arrays by the names of array_name, got {name!r}.") from error
                raise ValueError(
                    f"a shard must be whole, got {path} of {path.stat().st_size} bytes: {error}; capture again "
                    f"into the same folder."
                ) from error
            if array is None:
                array = np.empty(
                    (len(rank), *values.shape[1:]), np.int32 if values.dtype == np.int32 else np.float32
                )
            array[[rank[place] for place in shard.places]] = values
        if array is None:
            raise ValueError(f"a store is read when it has rows, got none in {self.path}; capture some.")
        return array
