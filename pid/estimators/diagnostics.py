"""When an estimate is doubtful, in plain sentences.

m, x, y coordinates, n samples; information in bits
"""

import math

import numpy as np

from pid.estimators.config import EstimateConfig
from pid.estimators.covariance_fit import Observed
from pid.estimators.results import pid_from_array

WORTH_A_WORD = 0.1  # bits of bias in the joint information
LARGE_SHARE = 0.5  # of the corrected joint information


def of(seen: Observed, value: np.ndarray, plugin: np.ndarray, layer: int) -> tuple[str, ...]:
    """What to doubt in one layer with these corrected and plug-in fields."""
    config, n, bias, counts = seen.config, seen.plan.n, seen.bias[layer], seen.found.counts[layer]
    return (
        *_infinite(plugin),
        *_few_samples(value, bias, counts, n, config),
        *_not_thinned(seen),
        *_nothing(value, plugin, config),
    )


def _infinite(plugin: np.ndarray) -> list[str]:
    told = pid_from_array(plugin)
    names = {"x": told.mi_x, "y": told.mi_y, "x and y together": told.mi_joint}
    known = [name for name, information in names.items() if math.isinf(information)]
    if not known:
        return []
    return [
        f"the target, or a part of it, is a function of {known[0]}: the information is infinite and was not corrected; "
        f"remove what a source copies from the target, or add noise."
    ]


def _few_samples(
    value: np.ndarray, bias: np.ndarray, counts: np.ndarray, n: int, config: EstimateConfig
) -> list[str]:
    m, x, y = (int(count) for count in counts)
    joint, size = float(bias[2]), f"n={n} for {m}, {x} and {y} dimensions"
    if config["shrinkage"] is not None:
        return [f"shrinkage lowers all information by an amount that was not corrected ({size})."]
    wanted = math.ceil(m * (x + y) / (2 * math.log(2) * WORTH_A_WORD))
    if config["debias"] == "none" and joint > WORTH_A_WORD:
        return [
            f"not corrected, and the joint information is too high by {joint:.2f} bits at {size}; use "
            f"debias='wishart', fewer dimensions, or about {wanted} samples."
        ]
    if config["debias"] != "none" and joint > LARGE_SHARE * pid_from_array(value).mi_joint:
        return [
            f"a bias of {joint:.2f} bits was taken from the joint information, which leaves "
            f"{pid_from_array(value).mi_joint:.2f} ({size}); the atoms are doubtful."
        ]
    return []


def _not_thinned(seen: Observed) -> list[str]:
    if seen.config["debias"] != "thinned" or seen.thinned or seen.config["measure"] != "broja":
        return []
    return [
        f"n={seen.plan.n} samples are too few to be split in {seen.covs.shape[-1]} dimensions; the union was corrected "
        f"as by debias='wishart'."
    ]


def _nothing(value: np.ndarray, plugin: np.ndarray, config: EstimateConfig) -> list[str]:
    if config["debias"] == "none":
        return []
    after, before = pid_from_array(value), pid_from_array(plugin)
    lost = [name for name in ("mi_x", "mi_y") if getattr(after, name) == 0 < getattr(before, name)]
    return [f"{' and '.join(lost)} is not above its bias and was set to 0."] if lost else []
