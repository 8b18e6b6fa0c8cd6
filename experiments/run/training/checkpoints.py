"""Checkpoints of one training (Orbax): written asynchronously, restored onto any mesh.

A checkpoint is a flat dictionary, name -> array, with the names that also decide placement:
`params/blocks/ffn/up/kernel`. Its folder is renamed to the step only when it is complete, so an incomplete checkpoint
is never read after a kill. Process 0 then adds the checksums of its files.
"""

import contextlib
import glob
import json
import logging
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import jax
import numpy as np
import tensorstore
from orbax.checkpoint import v1 as ocp

from experiments.run.distributed import call_on_first, is_first
from experiments.run.training.checksums import find_fault, has_checksums, write_checksums
from pdeformer.sharding import path_name


def _is_not_of_orbax(record: logging.LogRecord) -> bool:
    """Return False for what Orbax logs about an error that it raises as well: pages of calls."""
    return "orbax" not in record.pathname


class Checkpoints:
    """Context manager around the checkpoints of one folder. Leaving it waits until all writes have ended.

    Args:
        folder: folder of the checkpoints.
        keep: number of latest checkpoints that stay. The best by score (the later of equals) stays too.
    """

    def __init__(self, folder: Path, *, keep: int = 2) -> None:
        """Open the folder, and delete incomplete checkpoints in it."""
        training: Any = cast(Any, ocp.training)  # its annotations refuse its own policies
        policies = training.preservation_policies
        best = policies.BestN(get_metric_fn=_score, n=1, keep_checkpoints_without_metrics=False)
        self._folder, self._is_read_back, self._exit = folder, False, contextlib.ExitStack()
        self._checkpointer = training.Checkpointer(
            self._exit.enter_context(plain_path(folder)),
            preservation_policy=policies.AnyPreservationPolicy([policies.LatestN(keep), best]),
            save_decision_policy=training.save_decision_policies.FixedIntervalPolicy(1),
            cleanup_tmp_directories=True,
        )
        self._exit.callback(self._checkpointer.close)
        self._exit.callback(logging.getLogger("absl").removeFilter, _is_not_of_orbax)
        logging.getLogger("absl").addFilter(_is_not_of_orbax)
        self._checksums = _ChecksumThread()
        self._exit.callback(self._checksums.finish)

    def __enter__(self) -> "Checkpoints":
        """Return the checkpoints themselves."""
        return self

    def __exit__(self, *_: object) -> None:
        """Wait for the writes and close."""
        with self._exit:
            self._checkpointer.wait()

    @property
    def latest(self) -> int | None:
        """The step of the last checkpoint, None if there is none."""
        return self._checkpointer.latest.step if self._checkpointer.latest else None

    @property
    def best(self) -> tuple[float, int] | None:
        """(score, step) of the best checkpoint among those with a score, None if there is none."""
        scored = [(_score(c.metrics), c.step) for c in self._checkpointer.checkpoints if c.metrics]
        return max(scored, default=None)

    def save(self, step: int, state: Any, score: float | None = None) -> None:
        """Start to save asynchronously. The arrays may be donated as soon as this returns.

        The first checkpoint is waited for and read back, so that no run goes on whose checkpoints cannot be restored.
        """
        metrics = None if score is None else {"score": score}
        arrays = _flatten(state)
        kinds = _kinds(arrays)
        self.wait()  # so that Orbax deletes no checkpoint whose files are being read
        self._checkpointer.save_async(step, arrays, metrics=metrics)
        self._checksums.start(self._folder / str(step))
        if not self._is_read_back:
            self._is_read_back = True
            self.wait()
            call_on_first(lambda: self._read_back(step, kinds))

    def wait(self) -> None:
        """Wait until everything is on disk."""
        self._checkpointer.wait()
        self._checksums.finish()

    def restore(self, state: Any, step: int | None = None) -> Any:
        """Return the state saved at `step` (default: the latest), placed as `state` is. This deletes `state`.

        Raises ValueError, with the names, if names, shapes or types differ from those of `state`, or if the checkpoint
        is damaged.
        """
        self.wait()
        step = self.latest if step is None else step
        call_on_first(lambda: self._check_files(step))
        target = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=x.sharding), state)
        self._check(step, _flatten(target))
        for leaf in jax.tree.leaves(state):
            leaf.delete()  # so that there are never two states in device memory
        saved = self._checkpointer.load(step, abstract_state=_flatten(target))
        if "step" in saved and (own := int(saved["step"])) != step:
            raise ValueError(
                f"the checkpoint of step {step} must have its state, got that of step {own} in "
                f"{self._folder / str(step)}; give the folders of checkpoints their former names."
            )
        return jax.tree_util.tree_map_with_path(lambda path, _: saved[path_name(path)], target)

    def shapes(self, step: int) -> dict[str, tuple[int, ...]]:
        """Return the names of the arrays of a checkpoint and their shapes."""
        self.wait()
        return {name: tuple(leaf.shape) for name, leaf in self._checkpointer.metadata(step).metadata.items()}

    def read(self, step: int) -> dict[str, np.ndarray]:
        """Return the arrays of a checkpoint by name, in the memory of this host.

        Raises ValueError if the checkpoint is damaged.
        """
        self.wait()
        call_on_first(lambda: self._check_files(step))
        return dict(read_arrays(self._folder / str(step)))

    def _read_back(self, step: int, kinds: dict[str, str]) -> None:
        """Raise ValueError unless the checkpoint has readable arrays of the same names, shapes and types."""
        fault = find_fault_in_arrays(self._folder / str(step), kinds)
        if fault:
            raise ValueError(
                f"a checkpoint must be readable as soon as it is saved, got {self._folder / str(step)} where {fault}; "
                f"check the disk, or use another --out."
            )

    def _check_files(self, step: int | None) -> None:
        """Raise ValueError if the files of a checkpoint are missing or differ from what was saved."""
        checkpoint = self._folder / str(step)
        fault = find_fault_in_checkpoint(checkpoint)
        if fault:
            raise ValueError(
                f"the checkpoint of step {step} must be whole, got {checkpoint} where {fault}; put its files back, or "
                f"delete the folder {self._folder} and use --resume to train from the first step."
            )

    def _check(self, step: int | None, target: dict[str, Any]) -> None:
        """Raise ValueError for a checkpoint of another model or optimizer."""
        old, new = _kinds(self._checkpointer.metadata(step).metadata), _kinds(target)
        differing = [
            f"{name}: saved {old.get(name, 'nothing')}, now {new.get(name, 'nothing')}"
            for name in sorted(old.keys() | new.keys())
            if old.get(name) != new.get(name)
        ]
        if differing:
            more = f" and {len(differing) - 6} more" if len(differing) > 6 else ""
            raise ValueError(
                f"a checkpoint fits only the model and optimizer that it was saved from, got differences in "
                f"{'; '.join(differing[:6])}{more} ({self._folder / str(step)}); use that configuration, or another "
                f"--out."
            )


def find_fault_in_checkpoint(checkpoint: Path) -> str:
    """Return what is wrong with a checkpoint, "" if it is whole. One process can call this alone."""
    return find_fault(checkpoint) if has_checksums(checkpoint) else find_fault_in_arrays(checkpoint)


def find_fault_in_arrays(checkpoint: Path, kinds: dict[str, str] | None = None) -> str:
    """Read every array of a checkpoint, and return what is wrong with them, "" if nothing is.

    Args:
        checkpoint: its folder.
        kinds: name -> type and shape of the arrays that it must have; None accepts all.
    """
    try:
        saved = {name: _kind(array) for name, array in read_arrays(checkpoint)}
    except OSError as error:
        return f"{error.filename or checkpoint} cannot be read ({error.strerror})"
    except ValueError as error:  # TensorStore adds many lines to its own
        return f"the arrays cannot be read ({str(error).partition(':')[0]})"
    return "" if kinds in (None, saved) else "the arrays are not those that were saved"


def read_arrays(checkpoint: Path) -> Iterator[tuple[str, np.ndarray]]:
    """Yield names and arrays of a checkpoint, one after another, without Orbax, whose restoration needs all processes.

    Raises ValueError or OSError if a file is damaged or missing.
    """
    with plain_path(checkpoint) as path:
        state = path / "state"
        for description in (path / "_CHECKPOINT_METADATA", state / "_METADATA", state / "_sharding"):
            json.loads(description.read_bytes())
        base = {"driver": "ocdbt", "base": {"driver": "file", "path": f"{state}/"}}
        keys = [key.decode() for key in tensorstore.KvStore.open(base).result().list().result()]
        names = [key.removesuffix("/zarr.json") for key in keys if key.endswith("/zarr.json")]
        for name in sorted(names):
            store = {"driver": "zarr3", "kvstore": base | {"path": f"{name}/"}}
            yield name, tensorstore.open(store).result().read().result()


@contextlib.contextmanager
def plain_path(folder: Path) -> Iterator[Path]:
    """Yield a path to the same folder that Orbax can read: it takes `*`, `?` and `[` for wildcards.

    A backslash, and bytes that are not UTF-8, need this too. The path then leads through a symbolic link.
    """
    name = str(folder)
    if glob.escape(name) == name and name.isprintable() and "\\" not in name:
        yield folder
        return
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="pdeformer-") as parent:
        link = Path(parent) / "checkpoints"
        link.symlink_to(folder, target_is_directory=True)
        yield link


class _ChecksumThread:
    """Writes the checksums of a checkpoint as soon as it is complete, while the training goes on."""

    def __init__(self) -> None:
        self._thread: threading.Thread | None = None
        self._stop = threading.Event()

    def start(self, checkpoint: Path) -> None:
        """Wait in the background for the checkpoint, and then read its files."""
        if is_first():
            self._stop.clear()
            self._thread = threading.Thread(target=self._write, args=(checkpoint,), daemon=True)
            self._thread.start()

    def finish(self) -> None:
        """Wait for the thread; give up if the checkpoint is not complete by now."""
        if self._thread is not None:
            self._stop.set()
            self._thread.join()
            self._thread = None

    def _write(self, checkpoint: Path) -> None:
        while not checkpoint.exists():
            if self._stop.wait(0.05):
                break
        if checkpoint.exists():
            write_checksums(checkpoint)


def _score(metrics: Any) -> float:
    return metrics["score"]


def _flatten(state: Any) -> dict[str, Any]:
    return {path_name(path): leaf for path, leaf in jax.tree_util.tree_leaves_with_path(state)}


def _kinds(arrays: Any) -> dict[str, str]:
    """Return type and shape of every array, such as `float32[8, 4]`, by name."""
    return {name: _kind(leaf) for name, leaf in arrays.items()}


def _kind(array: Any) -> str:
    return f"{array.dtype}{list(array.shape)}"
