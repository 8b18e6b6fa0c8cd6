"""The presets of the suite, and its command line."""

from collections.abc import Sequence
from pathlib import Path

from experiments import run
from experiments.lra.config import MAY_CHANGE_ON_RESUME
from experiments.lra.presets import SUITES
from experiments.lra.suite.suite_config import SuiteConfig
from experiments.run.folder import saved_config

SUITE_PRESETS = {
    "suite-quick": (SUITES["suite-quick"], SuiteConfig()),
    "suite-controls": (
        SUITES["suite-controls"],
        SuiteConfig(
            preset="suite-controls",
            tasks=("listops", "pathfinder", "mqar", "text", "image"),
            controls=("convolution", "canon", "shift", "positions_only", "lru"),
            seeds=(0, 1, 2),
        ),
    ),
    "suite": (SUITES["suite"], SuiteConfig(preset="suite", scale="two-layer")),
    "suite-lra": (SUITES["suite-lra"], SuiteConfig(preset="suite-lra", scale="lra")),
}
ALIASES = {"all": "suite"}
"""Another first word -> its preset."""
SUITE_CONTINUATION = run.Continuation(
    "lra",
    SUITE_PRESETS,
    MAY_CHANGE_ON_RESUME,
    extend=run.extend_fields("tasks", "seeds", "controls", "windows"),
)
"""More tasks, seeds and controls are trained beside the finished ones."""
suite_command_line = run.CommandLine(
    "experiments.lra",
    "The suite of the Long Range Arena: every task, one table.",
    SUITE_PRESETS,
    continuation=SUITE_CONTINUATION,
)
PATHS = ("out", "data-dir", "manual-dir", "o")
"""Options whose value is no preset."""


def suite_arguments(arguments: Sequence[str]) -> list[str] | None:
    """Return the arguments of a suite with the name of its preset, None if they are those of a single task.

    A suite is named by its preset, or by the folder of a suite that is resumed.
    """
    words = [*(ALIASES.get(word, word) for word in arguments[:1]), *arguments[1:]]
    for word, before in zip(words, ("", *words), strict=False):
        if word.replace("_", "-") in SUITE_PRESETS and before.lstrip("-").replace("_", "-") not in PATHS:
            return words
    is_resume = "--resume" in words
    return words if is_resume and saved_preset(words) in SUITE_PRESETS else None


def saved_preset(words: Sequence[str]) -> str:
    """Return the preset of the run in --out, "" without one."""
    folder = ""
    for word, following in zip(words, (*words[1:], ""), strict=True):
        name, equals, value = word.partition("=")
        if name.startswith("-") and name.lstrip("-").replace("_", "-") in ("out", "o", "output-dir"):
            folder = value if equals else following
    if not folder or not (Path(folder) / saved_config.NAME).is_file():
        return ""
    return str(saved_config.read_fields(Path(folder), {}).get("preset", ""))
