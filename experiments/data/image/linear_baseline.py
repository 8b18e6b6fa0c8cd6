"""The accuracy of a linear classifier of pixels, to print beside an accuracy of a model."""

import numpy as np
from jaxtyping import Float64

from experiments.data.arrays import Split


def linear_accuracy(train: Split, test: Split, *, penalty: float = 1.0) -> float:
    """Return the test accuracy of least squares with a quadratic penalty, from pixels to one-hot labels.

    W minimizes |X W - Y|^2 + penalty |W|^2, where X has pixels between 0 and 1 and a column of ones.

    Args:
        train: images to fit.
        test: images to classify.
        penalty: weight of the squared norm, above 0.
    """
    pixels, targets = _with_ones(train), np.eye(train.classes)[train.labels]
    gram = pixels.T @ pixels + penalty * np.eye(pixels.shape[1])
    weights = np.linalg.solve(gram, pixels.T @ targets)
    return float(((_with_ones(test) @ weights).argmax(1) == test.labels).mean())


def _with_ones(split: Split) -> Float64[np.ndarray, "n p"]:
    return np.concatenate([split.tokens / 255, np.ones((len(split.labels), 1))], axis=1)
