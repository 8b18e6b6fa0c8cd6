"""Check a LLaVA checkpoint layer by layer, or count what the published models need on a mesh.

python -m pid.llava verify FOLDER       compare a Hugging Face folder with what torch computes from it
python -m pid.llava sizes               print parameters, bytes per device and a lowered forward pass
"""

import sys
from collections.abc import Sequence
from difflib import get_close_matches

from pid.interface.help_text import help_of, help_text, is_help
from pid.interface.parsing import build
from pid.interface.refusals import run_program
from pid.llava.parity.memory import Sizes, print_sizes
from pid.llava.parity.report import Verify, verify

COMMANDS: dict[str, type[Verify] | type[Sizes]] = {"verify": Verify, "sizes": Sizes}


def main(arguments: Sequence[str]) -> int:
    """Run a command line and return its exit status: 0 on success, 1 if a check failed.

    Raises:
        ValueError: an argument is invalid.
    """
    words = list(arguments)
    names = [word for word in words if word in COMMANDS][:1]
    if is_help(words):
        print(help_of(COMMANDS[names[0]], f"python -m pid.llava {names[0]}") if names else general_help())
        return 0
    command = read(names[0] if names else _refuse(words), words)
    if isinstance(command, Sizes):
        print_sizes(command)
        return 0
    return 0 if verify(command) else 1


def read(name: str, words: list[str]) -> Verify | Sizes:
    """Return the command that the words describe. Raises ValueError if one is invalid."""
    words.remove(name)
    return build(COMMANDS[name], words, f"python -m pid.llava {name}")


def _refuse(words: list[str]) -> str:
    """Raise ValueError: the words have no command."""
    word = next((word for word in words if not word.startswith("-")), "none")
    similar = get_close_matches(word, COMMANDS, n=1)
    hint = f"did you mean {similar[0]}?" if similar else "write for example python -m pid.llava sizes."
    raise ValueError(f"a command is one of {', '.join(COMMANDS)}, got {word}; {hint}")


def general_help() -> str:
    """Return the text of `--help` without a command."""
    about = (__doc__ or "").splitlines()[0]
    commands = {name: " ".join((kind.__doc__ or "").split()) for name, kind in COMMANDS.items()}
    usage = "python -m pid.llava COMMAND [OPTIONS]"
    return help_text(
        usage, f"{about} COMMAND --help lists its options.", [], words=commands, title="Commands"
    )


def run() -> None:
    """Run the command line of this process and exit with its status."""
    sys.exit(run_program(main, sys.argv[1:]))


if __name__ == "__main__":
    run()
