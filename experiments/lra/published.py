"""Published accuracies in percent, for comparison with full runs. None of them was measured with this code."""

from typing import NamedTuple

from experiments.lra.benchmark_tasks import BENCHMARK


class PublishedModel(NamedTuple):
    """A row of a published table."""

    name: str
    """Name of the model."""
    accuracies: tuple[float | None, ...]
    """Accuracies on the tasks of `BENCHMARK`; None is one that is not reported, or no better than chance."""
    source: str
    """Paper that reports them."""


MODELS = (
    PublishedModel("Transformer", (36.37, 64.27, 57.46, 42.44, 71.40, None), "Tay et al. 2021"),
    PublishedModel("Local attention", (15.82, 52.98, 53.39, 41.46, 66.63, None), "Tay et al. 2021"),
    PublishedModel("Linear Transformer", (16.13, 65.90, 53.09, 42.34, 75.30, None), "Tay et al. 2021"),
    PublishedModel("Performer", (18.01, 65.40, 53.82, 42.77, 77.05, None), "Tay et al. 2021"),
    PublishedModel("BigBird", (36.05, 64.02, 59.29, 40.83, 74.87, None), "Tay et al. 2021"),
    PublishedModel("Transformer, two layers", (37.10, 65.02, 79.35, 38.20, 74.16, None), "Xiong et al. 2021"),
    PublishedModel("FlashAttention", (37.6, 63.9, 81.4, 43.5, 72.7, 61.4), "Dao et al. 2022"),
    PublishedModel("Transformer, rotary", (47.9, 79.1, 82.3, 75.0, 76.6, 84.7), "Amos et al. 2024"),
    PublishedModel("S4", (59.60, 86.82, 90.90, 88.65, 94.20, 96.35), "Gu et al. 2022"),
    PublishedModel("S5", (62.15, 89.31, 91.40, 88.00, 95.33, 98.58), "Smith et al. 2023"),
    PublishedModel("MEGA", (63.14, 90.43, 91.25, 90.44, 96.01, 97.98), "Ma et al. 2023"),
)
"""Published rows, in the order in which tables print them. Text is cut at 4000 bytes in Tay et al.; Retrieval there
warms up longer than it trains, so its accuracy is not that of a trained model."""
ROWS = {"lra": "Transformer", "two-layer": "Transformer, two layers", "amos": "Transformer, rotary"}
"""Configuration -> the published model that it repeats."""
PUBLISHED = {
    configuration: {
        task: accuracy
        for task, accuracy in zip(
            BENCHMARK, next(m for m in MODELS if m.name == name).accuracies, strict=True
        )
        if accuracy is not None
    }
    for configuration, name in ROWS.items()
}
"""Configuration -> task -> published accuracy in percent."""
