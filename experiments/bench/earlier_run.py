"""The rows of an earlier run, for `--compare`."""

from pathlib import Path
from typing import Any, NamedTuple

from experiments import run


class EarlierRun(NamedTuple):
    """Times of an earlier run."""

    device: str
    times: dict[tuple[str, str], float]
    """(section, case) -> milliseconds of our implementation."""

    def ratio(self, section: str, case: str, milliseconds: float) -> float | None:
        """Return the earlier time over the present one; None if either is missing."""
        earlier = self.times.get((section, case))
        return None if earlier is None or not milliseconds > 0 else earlier / milliseconds


def read_earlier(path: Path) -> EarlierRun:
    """Read the `summary.json` of an earlier run.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is no summary of `bench`.
    """
    if not path.is_file():
        raise FileNotFoundError(
            f"an earlier run is a summary.json, got {path} which does not exist; check --compare."
        )
    summary: Any = run.read_json(path, "pass another --compare")
    if not isinstance(summary, dict) or summary.get("program") != "bench" or "rows" not in summary:
        raise ValueError(f"an earlier run is a summary.json of bench, got {path}; check --compare.")
    times = {
        (row["section"], row["case"]): row["first_ms"]
        for row in summary["rows"]
        if row.get("first_ms") is not None
    }
    return EarlierRun(str(summary.get("device")), times)
