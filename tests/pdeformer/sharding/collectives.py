"""The collectives of a compiled program, read from its HLO."""

import math
import re

BYTES = {"pred": 1, "bf16": 2} | {f"{kind}{bits}": bits // 8 for kind in "suf" for bits in (8, 16, 32, 64)}
COLLECTIVE = re.compile(
    r"= (.*?) (all-reduce|all-gather|reduce-scatter|all-to-all|collective-permute)(?:-start)?\(", re.MULTILINE
)


def collective_bytes(text: str) -> dict[str, int]:
    """Return the bytes of the results of each kind of collective; the body of a loop counts once."""
    result: dict[str, int] = {}
    for shapes, kind in COLLECTIVE.findall(text):
        arrays = re.findall(r"\b([a-z]+\d*)\[([\d,]*)\]", shapes)
        size = sum(BYTES[dtype] * math.prod(int(n) for n in dims.split(",") if n) for dtype, dims in arrays)
        result[kind] = result.get(kind, 0) + size
    return result
