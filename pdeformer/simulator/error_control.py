"""`simulate_adaptive`: the same equation with the error control of diffrax, to ask whether an effect is numerical.

B batch, T tokens, D channels, L layers
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from pdeformer.integrators.compilation import compile_once
from pdeformer.simulator.config import TRANSFORMER, Coefficients, SimulatorConfig
from pdeformer.simulator.forces import forces_of
from pdeformer.simulator.weights import SimulatorWeights
from pdeformer.stencil.arguments import convert_segment_ids


class AdaptiveSimulation(NamedTuple):
    """The states of an adaptive simulation."""

    states: Float[Array, "l b t d"]
    """State after each layer."""
    steps: Int[Array, " l"]
    """Time steps that each layer took, rejected ones included."""
    is_accurate: Bool[Array, " l"]
    """Whether the layer reached its end within the tolerance; False from the first failure on."""


def simulate_adaptive(
    u: Float[Array, "b t d"],
    weights: SimulatorWeights,
    config: SimulatorConfig,
    coefficients: Coefficients = TRANSFORMER,
    *,
    segment_ids: Any = None,
    rtol: float = 1e-4,
    atol: float = 1e-6,
    max_steps: int = 1000,
) -> AdaptiveSimulation:
    """Integrate du/dt = F(u) to a tolerance, layer by layer, by diffrax (Dormand-Prince 5(4), PID step control).

    The weights of a layer hold for the time substeps · dt. A residual switch has no meaning here, because
    a differential equation contains the old state.

    Args:
        u: the first state `(B, T, D)`.
        weights: weights of the layers.
        config: the switches; order 1, splitting "parallel", explicit diffusion, norm "none" or "pre".
        coefficients: the numbers; `residual` is 1.
        segment_ids: int or bool `(B, T)`, 0 for padding; None is one segment without padding.
        rtol: relative tolerance.
        atol: absolute tolerance.
        max_steps: largest number of time steps in one layer.

    Returns:
        States, number of steps, and where the tolerance was reached.

    Raises:
        ImportError: diffrax is not installed.
        ValueError: the configuration is no differential equation.

    Example:
        >>> import jax
        >>> from pdeformer.simulator import init_weights
        >>> config = SimulatorConfig(layers=2, width=8, heads=2, ffn=16, splitting="parallel")
        >>> u = jax.random.normal(jax.random.key(1), (1, 5, 8))
        >>> run = simulate_adaptive(u, init_weights(config, jax.random.key(0)), config)
        >>> run.is_accurate.tolist()
        [True, True]

    Reference:
        Kidger, "On Neural Differential Equations", 2022 (diffrax).
    """
    try:
        import diffrax  # noqa: F401  only to say early that it is missing
    except ImportError as error:
        raise ImportError(
            "simulate_adaptive needs the extra 'simulator', got no module diffrax; pip install 'pdeformer[simulator]'."
        ) from error
    allowed = {"order": (1,), "splitting": ("parallel",), "diffusion": ("explicit",), "norm": ("none", "pre")}
    for name, values in allowed.items():
        if (value := getattr(config, name)) not in values:
            raise ValueError(
                f"a differential equation has {name} {' or '.join(map(repr, values))}, got {value!r}; change it."
            )
    if coefficients.residual != 1:
        raise ValueError(
            f"a differential equation contains the old state, got residual={coefficients.residual}."
        )
    ids = None if segment_ids is None else convert_segment_ids(segment_ids)
    return _simulate(
        *(jnp.asarray(u), weights, coefficients, ids),
        config=config,
        tolerances=(rtol, atol),
        max_steps=max_steps,
    )


@compile_once("config", "tolerances", "max_steps")
def _simulate(
    u: Array,
    weights: SimulatorWeights,
    c: Coefficients,
    segment_ids: Array | None,
    *,
    config: SimulatorConfig,
    tolerances: tuple[float, float],
    max_steps: int,
) -> AdaptiveSimulation:
    import diffrax

    time = config.substeps * c.dt
    controller = diffrax.PIDController(rtol=tolerances[0], atol=tolerances[1])

    def run_layer(carry: tuple[Array, Array], params: Any) -> tuple[tuple[Array, Array], Any]:
        u, is_accurate = carry
        block = (weights if config.shared else SimulatorWeights(params, weights.graphdef)).block()
        force = forces_of(block, c, config, segment_ids).total(with_diffusion=True)
        solution = diffrax.diffeqsolve(
            diffrax.ODETerm(lambda t, y, args: force(y)),
            diffrax.Dopri5(),
            *(0.0, time, None, u),
            stepsize_controller=controller,
            max_steps=max_steps,
            throw=False,
        )
        after = jnp.asarray(solution.ys)[0]
        is_accurate &= (solution.result == diffrax.RESULTS.successful) & jnp.all(jnp.isfinite(after))
        return (after, is_accurate), (after, solution.stats["num_steps"], is_accurate)

    params = None if config.shared else weights.params
    _, records = jax.lax.scan(run_layer, (u, jnp.ones((), bool)), params, length=config.layers)
    return AdaptiveSimulation(*records)
