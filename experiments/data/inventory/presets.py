"""The commands, which are the presets of the command line, and the names of data sets behind them."""

from collections.abc import Sequence

from experiments import run
from experiments.data.inventory.config import COMMANDS, MAY_CHANGE_ON_RESUME, Config

TEXTS = (
    "All data sets: their sources, sizes, and what is prepared. The default.",
    "Generate or read the data sets that are named, once, for later runs of all programs.",
    "Compare SHA-256, counts and statistics of prepared data with the known ones.",
    "Draw samples of prepared data as pictures.",
)
PRESETS = {name: (text, Config(name)) for name, text in zip(COMMANDS, TEXTS, strict=True)}
CONTINUATION = run.Continuation("data", PRESETS, MAY_CHANGE_ON_RESUME, extend=run.extend_fields("names"))


class DataCommandLine(run.CommandLine[Config]):
    """A command line whose first word is a command; the words behind it are names of data sets."""

    def read(self, arguments: Sequence[str]) -> Config:
        """Return the configuration that the arguments describe.

        Raises:
            SystemExit: the arguments ask for help, which is printed.
            ValueError: an argument is invalid, or the configuration contradicts itself.
        """
        words = list(arguments)
        end = next((i for i, word in enumerate(words) if word.startswith("-")), len(words))
        if end > 1 and words[0].lower() in COMMANDS and not {"help"} & set(words[1:end]):
            words = [words[0], "--names", *words[1:end], *words[end:]]
        return super().read(words)

    def _preset(self, words: Sequence[str]) -> str:
        if len(words) > 1 and words[0] in COMMANDS:
            raise ValueError(
                f"names of data sets stand directly behind the command, got {' '.join(words[1:])} elsewhere; write "
                f"python -m experiments.data {' '.join(words)}, and the options behind it."
            )
        return super()._preset(words)


command_line = DataCommandLine("experiments.data", str(Config.__doc__), PRESETS, continuation=CONTINUATION)
