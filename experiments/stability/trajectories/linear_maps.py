"""Baselines that predict the state after a layer from the state before it, fitted one step ahead in closed form.

    identity               u_{l+1} = u_l
    mean                   u_{l+1} = mean of the state after the layer, over rows and tokens
    diffusion alone        u_{l+1} = u_l + D L u_l, D = max(0, Σ⟨L u, Δu⟩ / Σ‖L u‖²)
    linear map             u_{l+1} = u_l W + b, the same for all layers; ridge least squares, token by token
    linear map per layer   the same with W and b of each layer

L is the second difference with walls at both ends, or for causal networks the difference to the token before.

    P = L+1 states, B rows, T tokens, D channels
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

Step = Callable[[Float[np.ndarray, "b t d"], int], Float[np.ndarray, "b t d"]]
"""(state, index of the layer) -> state after the layer."""
IDENTITY, MEAN, DIFFUSION = "identity", "mean", "diffusion alone"
LINEAR, LINEAR_PER_LAYER = "linear map", "linear map per layer"
RIDGE = 1e-6
"""Ridge penalty as a share of the mean variance of the inputs."""


class LinearMap(NamedTuple):
    """An affine map of channels."""

    matrix: Float[np.ndarray, "d d"]
    offset: Float[np.ndarray, " d"]

    def __call__(self, u: Float[np.ndarray, "*b d"]) -> Float[np.ndarray, "*b d"]:
        """Map every token."""
        return u @ self.matrix + self.offset


class Baselines(NamedTuple):
    """Baselines fitted to a trajectory."""

    steps: dict[str, Step]
    """Name -> baseline."""
    diffusivity: float
    """D of the diffusion alone."""


def fit_linear_map(
    inputs: Float[np.ndarray, "n d"], outputs: Float[np.ndarray, "n d"], ridge: float = RIDGE
) -> LinearMap:
    """Minimize Σ‖y - x W - b‖² + r ‖W‖² with r = ridge · trace of the scatter of x / D; the offset is free."""
    center, target = inputs.mean(axis=0), outputs.mean(axis=0)
    x = inputs - center
    scatter = x.T @ x
    penalty = ridge * np.trace(scatter) / len(scatter) * np.eye(len(scatter))
    matrix = np.linalg.solve(scatter + penalty, x.T @ (outputs - target))
    return LinearMap(matrix, target - center @ matrix)


def second_difference(u: Float[np.ndarray, "*b t d"], *, causal: bool) -> Float[np.ndarray, "*b t d"]:
    """Return L u: the fluxes from both neighbors, without flux at the ends; causal: that from the token before."""
    flux = np.diff(u, axis=-2)
    zero = np.zeros_like(u[..., :1, :])
    from_left = -np.concatenate([zero, flux], axis=-2)
    return from_left if causal else from_left + np.concatenate([flux, zero], axis=-2)


def fit_diffusivity(states: Float[np.ndarray, "p b t d"], *, causal: bool) -> float:
    """Return the D ≥ 0 that minimizes Σ‖u_{l+1} - u_l - D L u_l‖²."""
    curvature = second_difference(states[:-1], causal=causal)
    square = float(np.sum(np.square(curvature)))
    return max(0.0, float(np.sum(curvature * np.diff(states, axis=0))) / square) if square else 0.0


def fit_baselines(states: Float[np.ndarray, "p b t d"], *, causal: bool = False) -> Baselines:
    """Fit all baselines to a trajectory, in float64."""
    states = np.asarray(states, np.float64)
    flat = states.reshape(len(states), -1, states.shape[-1])
    means = flat.mean(axis=1)
    shared = fit_linear_map(np.concatenate(flat[:-1]), np.concatenate(flat[1:]))
    per_layer = [fit_linear_map(*pair) for pair in zip(flat[:-1], flat[1:], strict=True)]
    diffusivity = fit_diffusivity(states, causal=causal)
    steps: dict[str, Step] = {
        IDENTITY: lambda u, layer: u,
        MEAN: lambda u, layer: np.broadcast_to(means[layer + 1], u.shape),
        DIFFUSION: lambda u, layer: u + diffusivity * second_difference(u, causal=causal),
        LINEAR: lambda u, layer: shared(u),
        LINEAR_PER_LAYER: lambda u, layer: per_layer[layer](u),
    }
    return Baselines(steps, diffusivity)


def predict_next(step: Step, states: Float[np.ndarray, "p b t d"]) -> Float[np.ndarray, "l b t d"]:
    """Return the prediction of every state from the true state of the layer before."""
    states = np.asarray(states, np.float64)
    return np.stack([step(u, layer) for layer, u in enumerate(states[:-1])])


def roll_out(step: Step, states: Float[np.ndarray, "p b t d"]) -> Float[np.ndarray, "l b t d"]:
    """Return the prediction of every state from the first state alone."""
    u, predictions = np.asarray(states[0], np.float64), []
    for layer in range(len(states) - 1):
        u = step(u, layer)
        predictions.append(u)
    return np.stack(predictions)
