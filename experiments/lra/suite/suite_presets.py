"""The presets of the suite, and its command line."""

from collections.abc import Sequence
from pathlib import Path

from experiments import run
from experiments.lra.suite.suite_config import SUITE_MAY_CHANGE, SuiteConfig
from experiments.run.folder import saved_config

SUITE_PRESETS = {
    "suite-quick": (
        "Miniatures of all six tasks, stand-ins among them; under fifteen minutes on two CPU cores.",
        SuiteConfig(),
    ),
    "suite-controls": (
        "The diffusion layer against its controls on five miniatures, three seeds; about two hours on two CPU cores.",
        SuiteConfig(
            preset="suite-controls",
            tasks=("listops", "pathfinder", "mqar", "text", "image"),
            controls=("convolution", "canon", "shift", "positions_only", "lru"),
            seeds=(0, 1, 2),
        ),
    ),
    "suite": (
        "All six tasks with the small Transformer of Nystromformer; accelerators.",
        SuiteConfig(preset="suite", scale="two-layer"),
    ),
    "suite-lra": (
        "All six tasks with the Transformer of the benchmark; accelerators.",
        SuiteConfig(preset="suite-lra", scale="lra"),
    ),
}
ALIASES = {"all": "suite"}
suite_command_line = run.CommandLine(
    "experiments.lra",
    "The suite of the Long Range Arena: every task, one table.",
    SUITE_PRESETS,
    ALIASES,
    run.Continuation(
        "lra", SUITE_PRESETS, SUITE_MAY_CHANGE, {}, run.extend_fields("seeds", "controls", "windows")
    ),
)


def is_suite(arguments: Sequence[str]) -> bool:
    """Return whether the arguments name a preset of the suite, or the folder of a suite to resume."""
    if arguments and arguments[0].replace("_", "-") in (*SUITE_PRESETS, *ALIASES):
        return True
    folder = ""
    for word, following in zip(arguments, (*arguments[1:], ""), strict=True):
        name, equals, value = word.partition("=")
        if name == "--out":
            folder = value if equals else following
    if "--resume" not in arguments or not (Path(folder) / saved_config.NAME).is_file():
        return False
    return str(saved_config.read_fields(Path(folder), {}).get("preset", "")) in SUITE_PRESETS
