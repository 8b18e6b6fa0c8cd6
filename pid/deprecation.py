"""Former names of attributes and keywords. They work for one release, with a DeprecationWarning."""

import functools
import warnings
from collections.abc import Callable, Mapping
from types import ModuleType
from typing import Any, TypeVar

F = TypeVar("F", bound=Callable[..., Any])


def warn_former_name(former: str, name: str, *, stacklevel: int = 3) -> None:
    """Warn that `former` is now called `name`.

    The default `stacklevel` attributes the warning to the caller of the function that calls this one.
    """
    warnings.warn(
        f"{former} is now {name}; the old name goes with the next release.",
        DeprecationWarning,
        stacklevel=stacklevel,
    )


def former_attribute(holder: object, name: str, former: Mapping[str, str]) -> Any:
    """Return the attribute whose former name is `name`, with a warning.

    Args:
        holder: the module or instance whose `__getattr__` calls this.
        name: the missing attribute.
        former: former name → name.

    Raises:
        AttributeError: `name` is not a former name.
    """
    owner = holder.__name__ if isinstance(holder, ModuleType) else type(holder).__name__
    if name not in former:
        raise AttributeError(f"{owner} has no attribute {name!r}")
    warn_former_name(f"{owner}.{name}", f"{owner}.{former[name]}", stacklevel=4)
    return getattr(holder, former[name])


def accept_former_keyword(former: str, name: str) -> Callable[[F], F]:
    """Make a function accept the keyword `name` under its former name too, with a warning."""

    def decorate(function: F) -> F:
        @functools.wraps(function)
        def call(*args: Any, **kwargs: Any) -> Any:
            if former in kwargs:
                warn_former_name(f"{function.__name__}({former}=...)", f"{name}=")
                kwargs[name] = kwargs.pop(former)
            return function(*args, **kwargs)

        return call  # pyright: ignore[reportReturnType]

    return decorate
