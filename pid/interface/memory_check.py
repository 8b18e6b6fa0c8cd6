"""Refuses sizes whose arrays cannot fit the memory of the machine, before anything is computed."""

import functools
import math
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

Arrays = Mapping[tuple[str, ...], int]
"""Options whose product is the size of an array -> bytes of each element. Of several values the largest counts."""
CONTAINER = Path("/sys/fs/cgroup/memory.max")
"""Limit of a container."""


def check_memory(config: Any, arrays: Arrays, share: int = 1) -> None:
    """Check that every array of a run fits the memory of this machine by itself.

    Args:
        config: the configuration.
        arrays: the arrays, with lower bounds of their bytes.
        share: number of parts, of which one at a time is in memory.

    Raises:
        ValueError: an array is larger than the memory. The message names its options.
    """
    memory = memory_bytes()
    for names, size in arrays.items():
        values = {name: _largest(config, name) for name in dict.fromkeys(names)}
        needed = size * math.prod(values[name] for name in names) // share
        if needed > memory:
            sizes = ", ".join(f"{name}={value}" for name, value in values.items())
            raise ValueError(
                f"arrays must fit the memory of this machine, {_gib(memory)}, got {_gib(needed)} for {sizes}; "
                f"lower {' or '.join(f'--{name}' for name in values)}."
            )


def memory_bytes() -> int:
    """Return the memory of this machine, or what its container or the limit of the process leaves of it."""
    limits = [sys.maxsize]
    if hasattr(os, "sysconf") and "SC_PHYS_PAGES" in os.sysconf_names:
        limits.append(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"))
    if CONTAINER.is_file() and (text := CONTAINER.read_text().strip()).isdecimal():
        limits.append(int(text))
    return min(limits)


def _largest(config: Any, name: str) -> int:
    """Return the value of an option: of several the largest, 1 for one that is not set."""
    value = functools.reduce(getattr, name.replace("-", "_").split("."), config)
    return max(value, default=1) if isinstance(value, tuple) else value or 1


def _gib(size: int) -> str:
    return f"{size / 2**30:,.3g} GiB" if size < 2**40 else f"{size / 2**40:,.3g} TiB"
