"""Optional dependencies: which extra of the package a room needs, said before an import fails."""

from importlib.util import find_spec


def require_extra(extra: str, room: str, *modules: str) -> None:
    """Check that the modules of an extra are installed.

    Args:
        extra: name of the extra in `pyproject.toml`.
        room: what needs it, for the message.
        *modules: top-level names of the modules that are imported.

    Raises:
        ImportError: a module is missing; the text names the command that installs it.
    """
    missing = [module for module in modules if find_spec(module) is None]
    if missing:
        raise ImportError(
            f"{room} needs the extra {extra!r}, got no module {', '.join(missing)}; "
            f"pip install 'pdeformer[{extra}]'."
        )
