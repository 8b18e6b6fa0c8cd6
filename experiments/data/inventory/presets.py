"""The commands, which are the presets of the command line."""

from experiments import run
from experiments.data.inventory.config import COMMANDS, MAY_CHANGE_ON_RESUME, Config

TEXTS = (
    "All data sets: their sources, sizes, and what is prepared. The default.",
    "Generate or read the named data sets once, for later runs of all programs.",
    "Compare SHA-256, counts and statistics of prepared data with the known ones.",
    "Draw samples of prepared data as pictures.",
)
PRESETS = {name: (text, Config(name)) for name, text in zip(COMMANDS, TEXTS, strict=True)}
CONTINUATION = run.Continuation("data", PRESETS, MAY_CHANGE_ON_RESUME, extend=run.extend_fields("names"))
command_line = run.CommandLine(
    "experiments.data", str(Config.__doc__), PRESETS, continuation=CONTINUATION, words="names"
)
