"""A Transformer as a partial differential equation, with residual connection and LayerNorm as switches.

    ∂u/∂t = D ∂²u/∂x² + λ Attention(N(u)) + FeedForward(N(u))

x is the position of a token and t the depth. A layer of a Transformer is one explicit Euler step of dt = 1; the
residual connection is the u in u + dt ∂u/∂t. [Zhang & Zhou, "Understanding Transformer Architecture through
Continuous Dynamics", 2024]

    from pdeformer import simulator

    config = simulator.SimulatorConfig(layers=12, norm="none")
    weights = simulator.init_weights(config, key, gain=2.0)
    run = simulator.simulate(u, weights, config, record=simulator.measure_state)

Files, each importing only those above it:

config            `SimulatorConfig`, the switches of a program, and `Coefficients`, numbers that may be traced
weights           weights of all layers: drawn, or those of a model
forces            diffusion, attention and feed-forward sublayer as terms of ∂u/∂t
time_step         one step in time: Euler, Heun, RK4; first and second order; splitting
state_statistics  what is recorded of the state after each layer
simulation        `simulate`: all layers, by `lax.scan`
error_control     `simulate_adaptive`: the same equation with the error control of diffrax
grid              `run_grid`: one function over a grid of settings, vmapped and sharded
"""

from pdeformer.simulator.config import Coefficients as Coefficients
from pdeformer.simulator.config import SimulatorConfig as SimulatorConfig
from pdeformer.simulator.error_control import simulate_adaptive as simulate_adaptive
from pdeformer.simulator.grid import run_grid as run_grid
from pdeformer.simulator.simulation import Simulation as Simulation
from pdeformer.simulator.simulation import simulate as simulate
from pdeformer.simulator.state_statistics import Observation as Observation
from pdeformer.simulator.state_statistics import StateStatistics as StateStatistics
from pdeformer.simulator.state_statistics import measure_state as measure_state
from pdeformer.simulator.state_statistics import record_state as record_state
from pdeformer.simulator.weights import SimulatorWeights as SimulatorWeights
from pdeformer.simulator.weights import init_weights as init_weights
from pdeformer.simulator.weights import weights_of as weights_of

__all__ = [
    "Coefficients",
    "Observation",
    "Simulation",
    "SimulatorConfig",
    "SimulatorWeights",
    "StateStatistics",
    "init_weights",
    "measure_state",
    "record_state",
    "run_grid",
    "simulate",
    "simulate_adaptive",
    "weights_of",
]
