"""Quantities of a PID in rows and tables: symbols, and values by name."""

from typing import Any

from pid.estimators.results import FIELDS
from pid.measures import PID

SYMBOLS = {
    "mi_x": "I(M;X)",
    "mi_y": "I(M;Y)",
    "mi_joint": "I(M;X,Y)",
    "redundancy": "R",
    "unique_x": "U_x",
    "unique_y": "U_y",
    "synergy": "S",
}
"""Field of a PID -> symbol in tables."""


def by_field(pid: PID) -> dict[str, Any]:
    """Return every quantity by name, without the union."""
    return {field: getattr(pid, field) for field in FIELDS}
