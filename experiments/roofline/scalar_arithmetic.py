"""Integer arithmetic of a kernel in MLIR, evaluated for many steps of its grid at once."""

import re
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

OPERATIONS: dict[str, Callable[..., Any]] = {
    "addi": np.add,
    "subi": np.subtract,
    "muli": np.multiply,
    "maxsi": np.maximum,
    "minsi": np.minimum,
    "divsi": lambda a, b: (np.sign(a) * np.sign(b)) * (np.abs(a) // np.abs(b)),
    "floordivsi": np.floor_divide,
    "remsi": np.fmod,
    "divui": np.floor_divide,  # of numbers that are not negative
    "remui": np.fmod,
    "andi": np.bitwise_and,
    "ori": np.bitwise_or,
    "xori": np.bitwise_xor,
    "select": np.where,
    "extsi": lambda a: a,
    "extui": lambda a: a,
    "trunci": lambda a: a,
    "index_cast": lambda a: a,
}
"""Operations of the dialect `arith`."""
COMPARISONS = (np.equal, np.not_equal, np.less, np.less_equal, np.greater, np.greater_equal)
"""Comparisons by the number of their predicate."""
BOOLEANS = {"false": 0, "true": 1}


def evaluate(operation: str, operands: Sequence[Any], attributes: str) -> Any:
    """Return the value of an operation for all steps; None if it depends on data, or is not known here.

    Args:
        operation: the name in the dialect `arith`, such as "addi".
        operands: numbers, or arrays with one number for each step; None for what depends on data.
        attributes: text with the attributes of the operation, such as "value = 3 : i32".
    """
    if operation == "constant":
        value = re.search(r"value = (-?\d+|true|false)", attributes)
        return None if value is None else int(BOOLEANS.get(value.group(1), value.group(1)))
    if any(operand is None for operand in operands):
        return None
    if operation == "cmpi":
        predicate = re.search(r"predicate = (\d+)", attributes)
        number = int(predicate.group(1)) if predicate else len(COMPARISONS)
        return COMPARISONS[number](*operands).astype(np.int64) if number < len(COMPARISONS) else None
    return OPERATIONS[operation](*operands) if operation in OPERATIONS else None
