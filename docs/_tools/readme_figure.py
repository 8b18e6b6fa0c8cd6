"""Draw the figure of the README: `python docs/_tools/readme_figure.py` writes docs/_static/overview.png.

Three panels: a bump moved by three equations, attention weights that diffuse, and a decomposition by layer.
"""

from pathlib import Path

import jax
import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np

import pid
from pdeformer import AdvectionDiffusion, Diffusion, Wave, evolve, pde_attention_weights

OUT = Path(__file__).resolve().parent.parent / "_static" / "overview.png"
COLORS = {"redundancy": "#4477AA", "unique_x": "#EE6677", "unique_y": "#228833", "synergy": "#CCBB44"}


def draw_evolution(ax: mpl.axes.Axes) -> None:
    """A bump before and after 20 steps of three equations."""
    tokens = np.arange(64)
    bump = np.exp(-((tokens - 26) ** 2) / 8)[:, None].astype(np.float32)
    ax.plot(tokens, bump, color="0.6", linestyle=":", label="start")
    equations = {"diffusion": Diffusion(0.4), "wave": Wave(1.0), "advection": AdvectionDiffusion(0.1, -0.8)}
    for name, pde in equations.items():
        ax.plot(tokens, evolve(bump, pde, steps=20), label=name)
    ax.set(title="evolve: 20 steps along the tokens", xlabel="token", ylabel="hidden state")
    ax.legend(fontsize="small", frameon=False)


def draw_attention(axes: list[mpl.axes.Axes]) -> None:
    """Causal attention weights, plain and after four steps of diffusion."""
    query, key = 2.5 * jax.random.normal(jax.random.key(3), (2, 1, 32, 1, 8))
    for ax, steps in zip(axes, (0, 4), strict=True):
        weights = pde_attention_weights(query, key, Diffusion(0.25), steps=steps, is_causal=True)
        ax.imshow(np.sqrt(weights[0, 0]), cmap="magma", vmin=0, vmax=1)
        ax.set(xticks=[], yticks=[], xlabel="key")
        ax.set_title("plain" if steps == 0 else "4 steps of diffusion", fontsize="medium")
    axes[0].set_ylabel("query")


def draw_decomposition(ax: mpl.axes.Axes) -> None:
    """The atoms of a planted model in which language takes vision up, exactly."""
    depth, angle, one = np.linspace(0, 1, 33), np.array([0, np.pi / 6, np.pi / 3, np.pi / 2]), np.eye(4)
    read_v, read_q = np.diag(np.cos(angle)), np.diag(np.sin(angle))
    covariances = []
    for a, b in zip(2 - 1.5 * depth, 2 * depth, strict=True):
        rows = [
            [one, a * read_v, b * read_v + read_q],
            [a * read_v, (a**2 + 1) * one, a * b * one],
            [b * read_v + read_q, a * b * one, (b**2 + 2) * one],
        ]
        covariances.append(np.block(rows))
    atoms = pid.decompose(np.stack(covariances), (4, 4, 4))
    labels = {
        "redundancy": "both",
        "unique_x": "vision alone",
        "unique_y": "language alone",
        "synergy": "only together",
    }
    values = [getattr(atoms, name) for name in COLORS]
    ax.stackplot(
        range(33), values, colors=COLORS.values(), labels=[labels[name] for name in COLORS], alpha=0.85
    )
    ax.set(
        title="decompose: information by layer", xlabel="layer", ylabel="bits", xlim=(0, 32), ylim=(0, 4.6)
    )
    ax.legend(fontsize="small", frameon=False, ncols=2, loc="upper center")


def main() -> None:
    """Draw and save."""
    figure = plt.figure(figsize=(12, 3.3), layout="constrained")
    left, middle, right = figure.subfigures(1, 3, width_ratios=(1, 1.05, 1))
    draw_evolution(left.subplots())
    draw_attention(list(middle.subplots(1, 2)))
    middle.suptitle("pde_attention: causal weights", fontsize="large")
    draw_decomposition(right.subplots())
    figure.savefig(OUT, dpi=110)


if __name__ == "__main__":
    main()
