"""Checkpoints of one training (Orbax): written asynchronously, restored onto any mesh.

A checkpoint is a flat dictionary, name -> array, with the names that also decide placement:
`params/blocks/ffn/up/kernel`. Its folder is renamed to the step only when it is complete, so an incomplete checkpoint
is never read after a kill.
"""

from pathlib import Path
from typing import Any, cast

import jax
from orbax.checkpoint import v1 as ocp

from pdeformer.sharding import path_name


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
        self._checkpointer = training.Checkpointer(
            folder,
            preservation_policy=policies.AnyPreservationPolicy([policies.LatestN(keep), best]),
            save_decision_policy=training.save_decision_policies.FixedIntervalPolicy(1),
            cleanup_tmp_directories=True,
        )

    def __enter__(self) -> "Checkpoints":
        """Return the checkpoints themselves."""
        return self

    def __exit__(self, *_: object) -> None:
        """Wait for the writes and close."""
        self._checkpointer.close()

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
        """Start to save asynchronously. The arrays may be donated as soon as this returns."""
        metrics = None if score is None else {"score": score}
        self._checkpointer.save_async(step, _flatten(state), metrics=metrics)

    def wait(self) -> None:
        """Wait until everything is on disk."""
        self._checkpointer.wait()

    def restore(self, state: Any, step: int | None = None) -> Any:
        """Return the state saved at `step` (default: the latest), placed as `state` is. This deletes `state`.

        Raises ValueError, with the names, if names, shapes or types differ from those of `state`.
        """
        self.wait()
        step = self.latest if step is None else step
        target = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=x.sharding), state)
        self._check(step, _flatten(target))
        for leaf in jax.tree.leaves(state):
            leaf.delete()  # so that there are never two states in device memory
        saved = self._checkpointer.load(step, abstract_state=_flatten(target))
        return jax.tree_util.tree_map_with_path(lambda path, _: saved[path_name(path)], target)

    def _check(self, step: int | None, target: dict[str, Any]) -> None:
        """Raise ValueError for a checkpoint of another model or optimizer."""
        saved = self._checkpointer.metadata(step).metadata
        old = {name: f"{leaf.dtype}{list(leaf.shape)}" for name, leaf in saved.items()}
        new = {name: f"{leaf.dtype}{list(leaf.shape)}" for name, leaf in target.items()}
        differing = [
            f"{name}: saved {old.get(name, 'nothing')}, now {new.get(name, 'nothing')}"
            for name in sorted(old.keys() | new.keys())
            if old.get(name) != new.get(name)
        ]
        if differing:
            more = f" and {len(differing) - 6} more" if len(differing) > 6 else ""
            raise ValueError(
                f"a checkpoint fits only the model and optimizer that it was saved from, got differences in "
                f"{'; '.join(differing[:6])}{more} ({self._checkpointer.directory / str(step)}); use that "
                f"configuration, or another --out."
            )


def _score(metrics: Any) -> float:
    return metrics["score"]


def _flatten(state: Any) -> dict[str, Any]:
    return {path_name(path): leaf for path, leaf in jax.tree_util.tree_leaves_with_path(state)}
