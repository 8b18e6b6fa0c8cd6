"""Captured activations on disk, read in the order of the samples whatever the order of the shards.

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

from pid.llava.activations.shard_writer import Config, Shard, fingerprint, lines, manifests, read_config
from pid.llava.progress import counted


def key(kind: str, condition: str, group: int | None = None) -> str:
    """The name of an array in a shard."""
    return f"{kind}/{condition}" if group is None else f"{kind}/{condition}/{int(group)}"


@dataclass(frozen=True)
class States:
    """Pooled states (L+1, n, D) that lie on disk: `states[layer]` reads those of one layer, `np.asarray` all."""

    store: "Store"
    name: str
    """Of the array in each shard."""
    shape: tuple[int, int, int]
    """(L+1, n, D)."""
    dtype: np.dtype = np.dtype(np.float32)

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, layer: int) -> Float[np.ndarray, "n d"]:
        if not -len(self) <= layer < len(self):
            raise IndexError(f"states have {len(self)} layers, 0 … {len(self) - 1}, got {layer}.")
        return self.store.gather(self.name, layer % len(self))

    def __iter__(self) -> Iterator[Float[np.ndarray, "n d"]]:
        return (self[layer] for layer in range(len(self)))

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:  # noqa: FBT001  NumPy's protocol
        if copy is False:
            raise ValueError("states are read from disk, got copy=False; leave it out.")
        whole = np.empty(self.shape, self.dtype if dtype is None else dtype)
        for layer, states in enumerate(self):
            whole[layer] = states
        return whole


@dataclass(frozen=True)
class Store:
    """What `capture` has written; rows are in the order of its samples."""

    path: Path
    """The folder."""
    config: Config
    """What was captured, and from what."""
    shards: tuple[Shard, ...]
    """The finished shards of all processes."""

    @classmethod
    def open(cls, path: str | Path, *, verify: bool = False) -> "Store":
        """The rows stored so far. Sizes of files are checked; with `verify` every byte.

        Raises:
            FileNotFoundError: no store.
            ValueError: a shard that is damaged or of another configuration, or two rows of one name or place.
        """
        folder = Path(path)
        config = read_config(folder)
        shards = tuple(shard for manifest in manifests(folder).values() for shard in lines(manifest))
        for shard in counted("check", shards, "shards"):
            if shard.config != fingerprint(config):
                raise ValueError(
                    f"all shards of a store have its configuration, got another for {shard.file} in {folder}; "
                    f"delete its line and capture again."
                )
            if damage := shard.damage(folder, verify=verify):
                raise ValueError(
                    f"a shard is as its manifest says, but {damage}; capture again into the same folder, which "
                    f"replaces damaged shards alone."
                )
        for what in ("names", "places"):
            count = Counter(value for shard in shards for value in getattr(shard, what))
            if twice := [value for value, times in count.items() if times > 1]:
                raise ValueError(
                    f"rows of a store have {what} of their own, got {twice[0]!r} twice in {folder}; capture each "
                    f"share once, into a new folder."
                )
        return cls(folder, config, shards)

    @property
    def names(self) -> tuple[str, ...]:
        """The names of the rows."""
        placed = [pair for shard in self.shards for pair in zip(shard.places, shard.names, strict=True)]
        return tuple(name for _, name in sorted(placed))

    @property
    def conditions(self) -> tuple[str, ...]:
        """The names of the conditions."""
        return tuple(self.config["conditions"])

    @property
    def groups(self) -> tuple[int, ...]:
        """The groups of tokens."""
        return tuple(self.config["groups"])

    @property
    def baseline(self) -> str:
        """The condition that cuts nothing."""
        return next(name for name, cuts in self.config["conditions"].items() if not cuts)

    def states(self, condition: str, group: int, *, normalised: bool = False) -> States:
        """The mean residual stream of a group under a condition, (L+1, n, D), read layer by layer.

        normalised: the mean of tokens each divided by its root mean square. A row without a token of the group has
        NaN. Raises KeyError for what was not captured.
        """
        if condition not in self.config["states"]:
            raise KeyError(f"this store has states of {self.config['states']}, got {condition!r}.")
        if group not in self.groups:
            raise KeyError(f"this store has the groups {self.groups}, got {int(group)}.")
        text = self.config["model"]["text"]
        name = key("normalised" if normalised else "residual", condition, group)
        return States(self, name, (text["layers"] + 1, len(self.names), text["width"]))

    def greedy(self, condition: str) -> Int[np.ndarray, "n"]:
        """The likeliest next token (n,)."""
        return self.gather(key("greedy", self._known(condition)))

    @property
    def p_base(self) -> Float[np.ndarray, "n"]:
        """The probability of the baseline's likeliest token, by the baseline (n,)."""
        return self.p_new(self.baseline)

    def p_new(self, condition: str) -> Float[np.ndarray, "n"]:
        """The probability of the baseline's likeliest token under a condition (n,)."""
        return self.gather(key("probability", self._known(condition)))

    def change(self, condition: str) -> Float[np.ndarray, "n"]:
        """100 (p_new - p_base) / p_base, in percent (n,). [Zhang et al. 2025]"""
        return 100 * (self.p_new(condition) - self.p_base) / self.p_base

    def logits(self, condition: str) -> Float[np.ndarray, "n o"]:
        """The logits of the options (n, O)."""
        return self.gather(key("logits", self._known(condition)))

    def _known(self, condition: str) -> str:
        if condition not in self.conditions:
            raise KeyError(f"this store has the conditions {self.conditions}, got {condition!r}.")
        return condition

    def gather(self, name: str, layer: int | None = None) -> np.ndarray:
        """An array of all shards, or one layer of it, its rows in order; float32, or int32 for tokens."""
        rank = {
            place: at for at, place in enumerate(sorted(p for shard in self.shards for p in shard.places))
        }
        whole: np.ndarray | None = None
        for shard in self.shards:
            path = self.path / shard.file
            try:
                with safe_open(path, framework="np") as file:
                    part = file.get_tensor(name) if layer is None else file.get_slice(name)[layer]
            except SafetensorError as problem:
                raise ValueError(
                    f"a shard must be whole, got {path} of {path.stat().st_size} bytes: {problem}; capture again "
                    f"into the same folder."
                ) from problem
            if whole is None:
                whole = np.empty(
                    (len(rank), *part.shape[1:]), np.int32 if part.dtype == np.int32 else np.float32
                )
            whole[[rank[place] for place in shard.places]] = part
        if whole is None:
            raise ValueError(f"a store is read when it has rows, got none in {self.path}; capture some.")
        return whole
