"""Optional dependencies: which extra of the package a room needs, said before an import fails."""

import sys
from importlib.util import find_spec
from pathlib import Path


def require_extra(extra: str, room: str, *modules: str) -> None:
    """Check that the modules of an extra are installed.

    Args:
        extra: name of the extra in `pyproject.toml`.
        room: what needs it, for the message.
        *modules: top-level names of the modules that are imported.

    Raises:
        ImportError: a module is missing; the text names the command that installs it.
        SystemExit: a module is missing while a program of this package starts, which prints the text alone.
    """
    missing = [module for module in modules if find_spec(module) is None]
    if not missing:
        return
    text = (
        f"{room} needs the extra {extra!r}, got no module {', '.join(missing)}; "
        f"pip install 'pdeformer[{extra}]'."
    )
    if is_program_start() and "--traceback" not in sys.argv:
        print(text, file=sys.stderr)
        raise SystemExit(2)
    raise ImportError(text)


def is_program_start() -> bool:
    """Return whether this import belongs to the start of a program: `python -m ...`, or one of our commands."""
    command = sys.argv[0] if sys.argv else ""
    return command == "-m" or Path(command).stem.startswith(("pdeformer-", "pid-llava"))
