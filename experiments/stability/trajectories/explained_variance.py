"""R² = 1 - Σ‖error‖² / Σ‖x - mean‖² of states and of their increments u_{l+1} - u_l.

Sums run over rows, tokens and channels; the mean is that of the layer over rows and tokens. All layers together have
the sums over the layers, each with its own mean. Consecutive states of a residual network are similar, so that the
identity explains much of the states and, by definition, nothing of the increments.

    P = L+1 states, B rows, T tokens, D channels
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float


class Score(NamedTuple):
    """How well predictions agree with a trajectory; -inf where they are not finite."""

    r2_by_layer: Float[np.ndarray, " l"]
    """R² of the state after each layer."""
    r2: Float[np.ndarray, ""]
    """R² of all states after a layer."""
    increment_r2_by_layer: Float[np.ndarray, " l"]
    """R² of the change in each layer."""
    increment_r2: Float[np.ndarray, ""]
    """R² of all changes."""
    mse: Float[np.ndarray, ""]
    """Mean square of the error of an entry; inf where it is not finite."""


def score(
    predicted: Float[np.ndarray, "l b t d"],
    before: Float[np.ndarray, "l b t d"],
    states: Float[np.ndarray, "p b t d"],
) -> Score:
    """Compare predictions with the states.

    Args:
        predicted: predicted state after each layer.
        before: the state from which each was predicted, whose difference to it is the predicted increment.
        states: the trajectory.
    """
    predicted, before, states = (np.asarray(x, np.float64) for x in (predicted, before, states))
    with np.errstate(over="ignore", invalid="ignore"):
        of_states = squares(predicted, states[1:])
        of_increments = squares(predicted - before, np.diff(states, axis=0))
        mse = np.mean(np.square(predicted - states[1:]))
    return Score(
        explained(*of_states),
        explained(*(np.sum(x) for x in of_states)),
        explained(*of_increments),
        explained(*(np.sum(x) for x in of_increments)),
        np.where(np.isfinite(mse), mse, np.inf),
    )


def score_rollout(predicted: Float[np.ndarray, "l b t d"], states: Float[np.ndarray, "p b t d"]) -> Score:
    """Compare a trajectory predicted from the first state alone."""
    return score(predicted, np.concatenate([states[:1], predicted[:-1]]), states)


def squares(
    predicted: Float[np.ndarray, "l b t d"], true: Float[np.ndarray, "l b t d"]
) -> tuple[Float[np.ndarray, " l"], Float[np.ndarray, " l"]]:
    """Return Σ‖error‖² and Σ‖x - mean‖² of each layer."""
    deviation = true - np.mean(true, axis=(1, 2), keepdims=True)
    return (
        np.sum(np.square(predicted - true), axis=(1, 2, 3)),
        np.sum(np.square(deviation), axis=(1, 2, 3)),
    )


def explained(error: Float[np.ndarray, "*l"], total: Float[np.ndarray, "*l"]) -> Float[np.ndarray, "*l"]:
    """Return 1 - error / total; -inf where the error is not finite, NaN where nothing varies."""
    with np.errstate(invalid="ignore", divide="ignore"):
        r2 = np.where(total > 0, 1 - error / np.where(total > 0, total, 1), np.nan)
    return np.where(np.isfinite(error), r2, -np.inf)
