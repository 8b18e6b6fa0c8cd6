"""Old names of configuration fields and arguments. They work for one release, with a `DeprecationWarning`."""

import functools
import warnings
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

C = TypeVar("C", bound=type)
T = TypeVar("T")

BRITISH_NORMALIZED = "normalized".replace("z", "s")
"""The British spelling of a field, an argument and a kind of arrays. The arrays on disk keep it."""


def warn_renamed(old: str, new: str, *, stacklevel: int = 3) -> None:
    """Emit the `DeprecationWarning` that `old` is now called `new`."""
    text = f"{old} is now called {new}; the old name will be removed in the next release."
    warnings.warn(text, DeprecationWarning, stacklevel=stacklevel)


def renamed_property(old: str, new: str) -> Any:
    """A read-only property that warns and returns the attribute `new`."""

    def read(self: Any) -> Any:
        warn_renamed(f"{type(self).__name__}.{old}", new)
        return getattr(self, new)

    return property(read, doc=f"Deprecated name of `{new}`.")


def add_old_properties(**renamed: str) -> Callable[[C], C]:
    """Return a class decorator that adds read-only attributes under old names, passed as old name = new name."""

    def decorate(cls: C) -> C:
        for old, new in renamed.items():
            setattr(cls, old, renamed_property(old, new))
        return cls

    return decorate


def value_by_either_name(value: T, old: str, new: str, keywords: Mapping[str, T]) -> T:
    """The value of the argument `new`, which a call may also pass as `old` among the remaining `keywords`.

    Raises:
        TypeError: `keywords` has another name, as in a call with an unknown argument.
    """
    if unknown := [name for name in keywords if name != old]:
        raise TypeError(f"got an unexpected keyword argument {unknown[0]!r}")
    if old not in keywords:
        return value
    warn_renamed(f"the argument {old}", new, stacklevel=4)
    return keywords[old]


def accept_old_fields(**renamed: str) -> Callable[[C], C]:
    """Return a class decorator: a dataclass accepts and exposes its fields also under their old names.

    Args:
        **renamed: old name = new name. If a call passes both, the old one wins, so that
            `dataclasses.replace(config, old=value)` sets the field.
    """

    def decorate(cls: C) -> C:
        init: Callable[..., None] = getattr(cls, "__init__")  # noqa: B009  pyright warns of direct access

        @functools.wraps(init)
        def init_by_either_name(self: Any, *args: Any, **fields: Any) -> None:
            for old, new in renamed.items():
                if old in fields:
                    warn_renamed(f"{cls.__name__}({old}=...)", f"{new}=")
                    fields[new] = fields.pop(old)
            init(self, *args, **fields)

        setattr(cls, "__init__", init_by_either_name)  # noqa: B010
        return add_old_properties(**renamed)(cls)

    return decorate
