"""One free parameter explains the published perplexities against length (the paper's Figure 11).

A line of R tokens with cross-entropy c nats each is padded to L tokens. The mean over all L, PAD included, gives

    PDE model, PAD learned:             L ln PPL = R c                        so it hardly depends on L
    baseline, zero states at PAD:       L ln PPL = R c + (L - R) p            p: nats of a PAD

With zero states the logits are the bias of the head, and p ≈ ln V. R = 100 is the free parameter. [Zhang & Zhou,
"Continuous-Time Attention", 2025, Figure 11; its tokenizer has V = 30522]
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

LENGTHS = np.array([256, 512, 1024])
STANDARD = np.array([6865.18, 14869.94, 20746.29])
PDE = np.array([12.65, 3.74, 1.97])
VOCABULARY = 30522
REAL = 100


@dataclass(frozen=True)
class PublishedResult:
    """One value per length 256, 512, 1024; nats."""

    nats_per_line: Float[np.ndarray, " 3"]
    """L ln PPL of the PDE model, R c."""
    pad_nats: Float[np.ndarray, " 3"]
    """Nats that the published baseline then pays per PAD."""
    uniform: float
    """ln V."""
    predicted: Float[np.ndarray, " 3"]
    """Perplexity of the baseline if it pays ln V per PAD."""


def measure() -> PublishedResult:
    """Solve the two equations for the published perplexities."""
    line, uniform = LENGTHS * np.log(PDE), float(np.log(VOCABULARY))
    pad = (LENGTHS * np.log(STANDARD) - line) / (LENGTHS - REAL)
    predicted = np.exp((line + (LENGTHS - REAL) * uniform) / LENGTHS)
    return PublishedResult(line, pad, uniform, predicted)
