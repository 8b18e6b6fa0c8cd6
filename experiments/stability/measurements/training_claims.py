"""Verdicts on the trainings of `trainability`."""

from collections.abc import Callable

import numpy as np
from jaxtyping import Float

from experiments.run.report.claim_lines import Line, by_sign, interval, power_of_ten, ratio
from experiments.run.report.paired import mean_difference, mean_ratio
from experiments.stability.measurements.random_networks import NORMS
from experiments.stability.measurements.trainability import CORNER_NORMS, Setting, TrainingResult, Trainings

NEAR_CHANCE = 0.05  # share of the loss of a guess by which a run that learned nothing may differ from it
MUCH_LARGER = 10.0  # ratio of gradient norms from which gradients count as grown


def verdict(result: TrainingResult) -> list[Line]:
    """Judge the claims by the measured numbers."""
    recall, listops = result.recall, result.listops
    lines = [_without_residual(recall, norm) for norm in NORMS]
    lines += [_count(recall)]
    lines += [_without_norm(recall, gain) for gain in ends(recall.gains)]
    lines += [_with_both(recall, gain) for gain in ends(recall.gains)]
    lines += [_depth_of_gradient(recall, norm) for norm in CORNER_NORMS]
    lines += [_second_order(recall, recall.gains[0])]
    lines += [_post_norm(recall, gain) for gain in ends(recall.gains)]
    lines += [_without_residual(listops, norm) for norm in CORNER_NORMS]
    return [*lines, _with_both(listops, listops.gains[0])]


def ends(values: tuple[float, ...]) -> tuple[float, ...]:
    """Return the first and the last value, once if they are one."""
    return tuple(dict.fromkeys((values[0], values[-1])))


def size_of(values: Float[np.ndarray, " seed"]) -> str:
    """Format norms by their geometric mean and its interval, as powers of ten; zeros are counted instead."""
    zeros = int(np.sum(values == 0))
    return f"exactly 0 in {zeros} of {values.size} seeds" if zeros else power_of_ten(values)


def ratio_of(above: Float[np.ndarray, " seed"], below: Float[np.ndarray, " seed"]) -> str:
    """Format the paired ratio of two norms; norms that are 0 or not finite have none."""
    is_defined = np.isfinite(above) & np.isfinite(below) & (below > 0)
    if not np.all(is_defined):
        return f"no ratio in {int(np.sum(~is_defined))} of {above.size} seeds"
    return ratio(above / below)


def outcome(final: Float[np.ndarray, " seed"], chance: Float[np.ndarray, " seed"]) -> str:
    """Return what final losses say beside the loss of a guess: by interval over seeds, and by every seed."""
    broken = int(np.sum(~np.isfinite(final)))
    if broken:
        return f"not finite in {broken} of {final.size} seeds"
    difference = mean_difference(final - chance)
    if np.all(final > (1 + NEAR_CHANCE) * chance):
        return "stays above chance"
    if np.all(final > (1 - NEAR_CHANCE) * chance):
        return "learns almost nothing" if difference.sign < 0 else "stays at chance"
    if final.size == 1:
        return "below chance, one seed"
    if difference.sign >= 0:
        return "depends on the seed"
    return "learns" if np.all(final < chance / 2) else "learns in part"


def by_depth(trainings: Trainings, text: Callable[[int], str]) -> str:
    """Join a text for every depth."""
    return "; ".join(f"{depth} layers: {text(depth)}" for depth in trainings.depths)


def _without_residual(trainings: Trainings, norm: str) -> Line:
    gain, chance = trainings.gains[0], trainings.chance.loss

    def text(depth: int) -> str:
        with_it, without = (trainings.setting(norm, residual, gain, depth) for residual in (1.0, 0.0))
        final, standard = (trainings.final("loss", setting) for setting in (without, with_it))
        return (
            f"loss {interval(final, 4)}, by chance {np.mean(chance):.4g}, difference "
            f"{mean_difference(final - chance).format(digits=3)}; with it {interval(standard)}; gradient norm of the "
            f"embedding at step 0 {size_of(trainings.at('embedding_gradient', without))}, with it "
            f"{size_of(trainings.at('embedding_gradient', with_it))}; token similarity at step 0 "
            f"{interval(trainings.at('first_similarity', without), 4)}, with it "
            f"{interval(trainings.at('first_similarity', with_it))}"
        )

    finals = [
        trainings.final("loss", trainings.setting(norm, 0.0, gain, depth)) for depth in trainings.depths
    ]
    words = [outcome(final, chance) for final in finals]
    is_claim = all(word in ("stays at chance", "stays above chance") for word in words)
    return Line(
        f"{trainings.task}: without residual connection nothing is learned (norm {norm}, gain {gain:.3g})",
        by_depth(trainings, text),
        f"{'yes' if is_claim else 'did not happen'}: {_join(trainings.depths, words)}",
    )


def _join(depths: tuple[int, ...], words: list[str]) -> str:
    """Return one word for all depths, or a word by depth."""
    if len(set(words)) == 1:
        return words[0]
    return ", ".join(f"{depth} layers {word}" for depth, word in zip(depths, words, strict=True))


def _count(trainings: Trainings) -> Line:
    """Count over all gains, norms, depths and seeds, which runs end clearly below chance."""
    texts, counts = {}, {}
    for residual in (0.0, 1.0):
        settings = [s for s in trainings.settings if s.residual == residual and s.splitting == "sequential"]
        finals = np.stack([trainings.final("loss", setting) for setting in settings])
        counts[residual] = int(np.sum(finals < (1 - NEAR_CHANCE) * trainings.chance.loss[None]))
        broken = int(np.sum(~np.isfinite(finals)))
        texts[residual] = f"{counts[residual]} of {finals.size} runs" + (
            f" ({broken} not finite)" if broken else ""
        )
    return Line(
        f"{trainings.task}: no run without residual connection learns, whatever norm, gain and depth",
        f"final loss more than {NEAR_CHANCE:.0%} below chance: {texts[0.0]} without it, {texts[1.0]} with it",
        "yes" if counts[0.0] == 0 else "did not happen",
    )


def _without_norm(trainings: Trainings, gain: float) -> Line:
    depth = trainings.depths[-1]
    none, pre = (trainings.setting(norm, 1.0, gain, depth) for norm in ("none", "pre"))
    first = trainings.at("first_nonfinite", none)
    largest, standard = trainings.largest_gradient(none), trainings.largest_gradient(pre)
    broken = int(np.sum(first >= 0))
    steps = f", first at step {' '.join(str(step) for step in first if step >= 0)}" if broken else ""
    return Line(
        f"{trainings.task}: without norm gradients explode (residual on, gain {gain:.3g}, {depth} layers)",
        f"largest gradient norm {size_of(largest)}, pre-LN {size_of(standard)}, ratio {ratio_of(largest, standard)}; "
        f"not finite in {broken} of {first.size} seeds{steps}; final loss "
        f"{interval(trainings.final('loss', none))}, pre-LN {interval(trainings.final('loss', pre))}",
        f"{_explosion(largest, standard, broken)}; {outcome(trainings.final('loss', none), trainings.chance.loss)}",
    )


def _explosion(largest: Float[np.ndarray, " seed"], standard: Float[np.ndarray, " seed"], broken: int) -> str:
    """Return the verdict on gradients without norm beside those with it."""
    if broken:
        return f"yes: not finite in {broken} of {largest.size} seeds"
    if not np.all((largest > 0) & (standard > 0) & np.isfinite(largest / standard)):
        return "no ratio"
    growth = mean_ratio(largest / standard)
    if np.isnan(growth.low):
        return "one seed cannot tell"
    if growth.low > MUCH_LARGER:
        return f"yes: more than {MUCH_LARGER:g} times larger, but finite"
    return "larger, but no explosion" if growth.low > 1 else "did not happen"


def _with_both(trainings: Trainings, gain: float) -> Line:
    chance = trainings.chance

    def text(depth: int) -> str:
        setting = trainings.setting("pre", 1.0, gain, depth)
        return (
            f"loss {interval(trainings.final('loss', setting))}, by chance {np.mean(chance.loss):.4g}; accuracy "
            f"{interval(trainings.final('accuracy', setting))}, by chance {np.mean(chance.accuracy):.3g}; largest "
            f"gradient norm {size_of(trainings.largest_gradient(setting))}"
        )

    words = [
        outcome(trainings.final("loss", trainings.setting("pre", 1.0, gain, depth)), chance.loss)
        for depth in trainings.depths
    ]
    return Line(
        f"{trainings.task}: with residual connection and pre-LN it trains (gain {gain:.3g})",
        by_depth(trainings, text),
        f"{'yes' if set(words) == {'learns'} else 'not fully'}: {_join(trainings.depths, words)}",
    )


def _depth_of_gradient(trainings: Trainings, norm: str) -> Line:
    gain, depth = trainings.gains[0], trainings.depths[-1]
    pairs = []
    for residual in (1.0, 0.0):
        setting = trainings.setting(norm, residual, gain, depth)
        pairs.append([trainings.at(name, setting) for name in ("first_gradient", "last_gradient")])
    with_it, without = pairs
    is_defined = all(np.all(np.isfinite(x) & (x > 0)) for pair in pairs for x in pair)
    word = "yes: without it no gradient reaches a layer"
    if is_defined:
        change = mean_ratio(with_it[0] / with_it[1] / (without[0] / without[1]))
        word = by_sign(
            mean_difference(np.log(with_it[0] / with_it[1] / (without[0] / without[1]))), "yes", "no"
        )
        word = f"{word}: × {change.value:.3g} with it" if change.low > 1 or change.high < 1 else word
    return Line(
        f"{trainings.task}: the residual connection carries the gradient to the first layer (norm {norm})",
        f"gradient norm of the first layer over that of the last at step 0, {depth} layers, gain {gain:.3g}: "
        f"{ratio_of(*with_it)}; without residual {ratio_of(*without)} of {size_of(without[1])}",
        word,
    )


def _second_order(trainings: Trainings, gain: float) -> Line:
    depth = trainings.depths[-1]
    second, first = (trainings.setting("pre", 1.0, gain, depth, order, "parallel") for order in (2, 1))
    similarity = [interval(trainings.at("last_similarity", setting)) for setting in (second, first)]
    return Line(
        f"{trainings.task}: second order in time trains better than first (pre-LN, gain {gain:.3g}, {depth} layers)",
        f"{_pair(trainings, second, first, 'first order')}; token similarity {similarity[0]}, first order "
        f"{similarity[1]}",
        _compare(trainings, second, first, "the opposite here", "supported here"),
    )


def _post_norm(trainings: Trainings, gain: float) -> Line:
    depth = trainings.depths[-1]
    post, pre = (trainings.setting(norm, 1.0, gain, depth) for norm in ("post", "pre"))
    return Line(
        f"{trainings.task}: post-LN trains worse than pre-LN (gain {gain:.3g}, {depth} layers)",
        _pair(trainings, post, pre, "pre-LN"),
        _compare(trainings, post, pre, "supported here", "the opposite here"),
    )


def _pair(trainings: Trainings, setting: Setting, other: Setting, name: str) -> str:
    """Describe two settings side by side."""
    losses, steps, gradients = (
        [quantity(x) for x in (setting, other)]
        for quantity in (
            lambda x: trainings.final("loss", x),
            trainings.steps_to_half,
            trainings.largest_gradient,
        )
    )
    return (
        f"final loss {interval(losses[0])}, {name} {interval(losses[1])}, difference "
        f"{mean_difference(losses[0] - losses[1]).format(digits=3)}; steps to half the loss of a guess "
        f"{interval(steps[0])}, {name} {interval(steps[1])}; largest gradient norm {size_of(gradients[0])}, {name} "
        f"{size_of(gradients[1])}"
    )


def _compare(trainings: Trainings, setting: Setting, other: Setting, above: str, below: str) -> str:
    """Return the words for the signs of the paired differences of the final losses, and of the steps to half."""
    losses = [trainings.final("loss", x) for x in (setting, other)]
    broken = [int(np.sum(~np.isfinite(loss))) for loss in losses]
    if any(broken):
        return f"not finite in {broken[0]} of {losses[0].size} seeds, against {broken[1]}"
    steps = [trainings.steps_to_half(x) for x in (setting, other)]
    words = [by_sign(mean_difference(a - b), above, below) for a, b in (losses, steps)]
    return f"by the final loss: {words[0]}; by the steps to half: {words[1]}"
