"""Pictures of an evolution: how a state changes over pseudo-time. Needs the extra `plots`.

T tokens, D channels, n steps
"""

from importlib.util import find_spec
from typing import Any

if find_spec("matplotlib") is None:
    raise ImportError(
        "pdeformer.plots needs the extra 'plots', got no module matplotlib; pip install 'pdeformer[plots]'."
    )

import jax
import jax.numpy as jnp
import matplotlib as mpl
import numpy as np
from jaxtyping import Array, Float, Shaped
from matplotlib.figure import Figure

from pdeformer.integrators import evolve
from pdeformer.integrators.compilation import compile_once
from pdeformer.pde import PDE, Coefficient, Wave
from pdeformer.stencil.arguments import convert_segment_ids

STYLE: dict[Any, Any] = {
    "axes.spines.top": False,
    "axes.spines.right": False,
    "font.size": 9,
    "axes.titlesize": 10,
    "legend.frameon": False,
    "legend.fontsize": 8,
}


@mpl.rc_context(STYLE)
def evolution(
    u: Shaped[Array | np.ndarray, "*s"],
    pde: PDE,
    *,
    steps: int,
    dt: Coefficient = 1.0,
    boundary: str = "neumann",
    segment_ids: Shaped[Array | np.ndarray, "..."] | list | None = None,
    channel: int = 0,
    title: str = "",
    ax: Any = None,
) -> Figure:
    """Draw how `evolve` changes one channel of a state: a map over pseudo-time, and a few profiles.

    The map has one row per time, from 0 at the top to steps·dt, and one column per token. The profiles are the rows
    at four times. Padding is left blank.

    Args:
        u: the state (T,) or (T, D), as in `evolve`.
        pde: the equation.
        steps: the number of steps n, ≥ 1.
        dt: the length of a step in pseudo-time.
        boundary: the rule at the ends of a run, as in `evolve`.
        segment_ids: int or bool (T,), as in `evolve`.
        channel: which channel of (T, D) to draw.
        title: title; a general one by default.
        ax: one or two axes: the map, and the profiles if there are two. None makes a new figure with both.

    Returns:
        The figure.

    Raises:
        ValueError: `u` is not one sequence, the channel does not exist, `steps` is 0, or `evolve` refuses the
            arguments.

    Example:
        >>> import jax.numpy as jnp
        >>> from pdeformer import Diffusion, plots
        >>> u = jnp.zeros(32).at[16].set(1.0)
        >>> figure = plots.evolution(u, Diffusion(0.25), steps=20)
        >>> [ax.get_xlabel() for ax in figure.axes[:2]]
        ['token', 'token']
    """
    u = jnp.asarray(u)
    _check_state(u, channel, steps)
    ids = None if segment_ids is None else convert_segment_ids(segment_ids)
    options: Any = {"boundary": boundary, "segment_ids": ids}
    states = _trajectory(u.reshape(len(u), -1), pde, steps, dt, options)[:, :, channel]
    if ids is not None:
        states = np.where(np.asarray(ids)[None] > 0, states, np.nan)
    axes = _own_axes() if ax is None else np.ravel(ax)
    times = float(dt) * np.arange(steps + 1)
    _draw_map(axes[0], states, times[-1])
    if len(axes) > 1:
        _draw_profiles(axes[1], states, times)
    axes[0].set_title(title or f"{type(pde).__name__}, {steps} steps")
    return axes[0].get_figure(root=True)


def _check_state(u: Array, channel: int, steps: int) -> None:
    if u.ndim not in (1, 2) or u.size == 0:
        raise ValueError(f"evolution draws one sequence (T,) or (T, D), got shape {u.shape}; take one row.")
    channels = 1 if u.ndim == 1 else u.shape[1]
    if (
        not isinstance(channel, int | np.integer)
        or isinstance(channel, bool)
        or not -channels <= channel < channels
    ):
        raise ValueError(f"channel must be one of 0 … {channels - 1}, got {channel!r}; choose one of u.")
    if steps == 0:
        raise ValueError("evolution needs at least one step to draw, got steps=0; raise steps.")


def _trajectory(u: Array, pde: PDE, steps: int, dt: Coefficient, options: Any) -> Float[np.ndarray, "n t d"]:
    """Return the states after 0 … n steps."""
    evolve(u, pde, steps=steps, dt=dt, **options)  # for its checks
    wave = isinstance(pde, Wave)
    # from rest, the state before the first is the state after it
    start = (u, evolve(u, pde, steps=1, dt=dt, **options)) if wave else u
    states = _states(start, pde, dt, options.pop("segment_ids"), steps=steps, **options)
    return np.concatenate([np.asarray(u)[None], np.asarray(states)])


@compile_once("steps", "boundary")
def _states(
    start: Any, pde: PDE, dt: Coefficient, segment_ids: Array | None, *, steps: int, boundary: str
) -> Array:
    def step(state: Any, _: None) -> tuple[Any, Array]:
        state = pde.step(state, dt=dt, segment_ids=segment_ids, boundary=boundary)
        return state, state[0] if isinstance(pde, Wave) else state

    return jax.lax.scan(step, start, length=steps)[1]


def _own_axes() -> np.ndarray:
    figure = Figure(figsize=(6.8, 4.6), layout="constrained")
    return np.ravel(np.array(figure.subplots(2, 1, sharex=True, height_ratios=(3, 2))))


def _draw_map(ax: Any, states: np.ndarray, end: float) -> None:
    """Draw the states as colors; a diverging map around 0 if the values have both signs."""
    finite = states[np.isfinite(states)]
    low, high = (finite.min(), finite.max()) if finite.size else (0.0, 0.0)
    signed = low < 0 < high
    largest = max(abs(low), abs(high))
    colors = {"cmap": "RdBu_r", "vmin": -largest, "vmax": largest} if signed else {"cmap": "viridis"}
    half = end / (2 * (len(states) - 1))
    extent = (-0.5, states.shape[1] - 0.5, end + half, -half)
    image = ax.imshow(states, aspect="auto", interpolation="nearest", extent=extent, **colors)
    ax.get_figure(root=True).colorbar(image, ax=ax, label="u")
    ax.set(xlabel="token", ylabel="pseudo-time")


def _draw_profiles(ax: Any, states: np.ndarray, times: np.ndarray) -> None:
    rows = np.unique(np.linspace(0, len(times) - 1, 4).round().astype(int))
    shades = mpl.colormaps["viridis"](np.linspace(0.0, 0.85, len(rows)))
    for row, shade in zip(rows, shades, strict=True):
        ax.plot(
            states[row], color=shade, marker="." if states.shape[1] < 64 else None, label=f"{times[row]:g}"
        )
    ax.set(xlabel="token", ylabel="u")
    ax.legend(title="pseudo-time", loc="center left", bbox_to_anchor=(1.01, 0.5))
