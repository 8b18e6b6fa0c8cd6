"""The section: the five analyses of the first version of the paper, on the same trained networks."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from experiments.run.report.claim_lines import Line
from experiments.stability.analyses import (
    attention_rows,
    bottleneck,
    gradient_flow,
    information_flow,
    perturbations,
)
from experiments.stability.analyses.attention_rows import AttentionRows
from experiments.stability.analyses.bottleneck import Bottleneck
from experiments.stability.analyses.corners import train_corners
from experiments.stability.analyses.gradient_flow import GradientFlow
from experiments.stability.analyses.information_flow import InformationFlow
from experiments.stability.analyses.perturbations import Perturbations
from experiments.stability.config import Analyses


@dataclass(frozen=True)
class AnalysesResult:
    """The results of the five analyses."""

    seeds: tuple[int, ...]
    """Seeds of weights and data."""
    information: InformationFlow
    attention: AttentionRows
    bottleneck: Bottleneck
    gradients: GradientFlow
    perturbations: Perturbations
    loss: Float[np.ndarray, "2 p 2 s"]
    """Test loss of all snapshots in nats; axes norm, snapshot, residual, seed."""


def measure(size: Analyses, seeds: tuple[int, ...]) -> AnalysesResult:
    """Train the networks once, and run the five analyses on them."""
    networks = train_corners(size, seeds)
    return AnalysesResult(
        seeds,
        information_flow.measure(networks),
        attention_rows.measure(networks),
        bottleneck.measure(networks),
        gradient_flow.measure(networks),
        perturbations.measure(networks),
        networks.states.loss,
    )


def verdict(result: AnalysesResult) -> list[Line]:
    """Judge the claims of all five."""
    return [
        *information_flow.verdict(result.information),
        *attention_rows.verdict(result.attention),
        *bottleneck.verdict(result.bottleneck),
        *gradient_flow.verdict(result.gradients),
        *perturbations.verdict(result.perturbations),
    ]
