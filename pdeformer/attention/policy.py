"""How many steps of pseudo-time a sequence gets, as a function of its length alone."""

from typing import Literal, get_args

Policy = Literal["fixed", "linear", "log2"]


def step_budget(
    length: int,
    *,
    policy: str = "fixed",
    steps: int = 4,
    scale: int = 2048,
    min_length: int = 0,
    max_steps: int = 8,
) -> int:
    """Steps n for a sequence of `length` tokens, at most `max_steps`; 0 below `min_length`.

        fixed     n = steps
        linear    n = max(1, ⌊length / scale⌋)
        log2      n = max(1, ⌊log₂ length⌋)

    Names and defaults are those of the official serving path, which applies the steps to a packed, zero-padded batch
    and in prefill alone. Here a sequence's own length decides. Take it once, of the prompt: prefill and decoding then
    follow one operator, and no request changes another's answer.

    Raises ValueError for an unknown policy, a length < 0, a scale < 1, or a number of steps < 0.
    [Zhang & Zhou, code of "Continuous-Time Attention", 2026]
    """
    if policy not in get_args(Policy):
        raise ValueError(f"policy must be one of {', '.join(get_args(Policy))}, got {policy!r}.")
    if length < 0 or scale < 1 or min(steps, min_length, max_steps) < 0:
        raise ValueError(
            "a step budget needs length, steps, min_length, max_steps >= 0 and scale >= 1, got "
            f"{length}, {steps}, {min_length}, {max_steps} and {scale}."
        )
    if length < min_length:
        return 0
    wanted = {"fixed": steps, "linear": max(1, length // scale), "log2": max(1, length.bit_length() - 1)}
    return min(wanted[policy], max_steps)
