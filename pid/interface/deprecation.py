"""Former names of attributes, keywords and fields. They work for one release, with a DeprecationWarning."""

import functools
import warnings
from collections.abc import Callable, Mapping
from types import ModuleType
from typing import Any, TypeVar

C = TypeVar("C", bound=type)
F = TypeVar("F", bound=Callable[..., Any])


def warn_former_name(former: str, name: str, *, stacklevel: int = 3) -> None:
    """Warn that `former` is now called `name`.

    The default `stacklevel` attributes the warning to the caller of the function that calls this one.
    """
    warnings.warn(
        f"{former} is now called {name}; the former name will be removed in the next release.",
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


def former_property(former: str, name: str) -> Any:
    """Return a read-only property that warns and returns the attribute `name`."""

    def read(self: Any) -> Any:
        warn_former_name(f"{type(self).__name__}.{former}", name)
        return getattr(self, name)

    return property(read, doc=f"Former name of `{name}`.")


def add_former_properties(**names: str) -> Callable[[C], C]:
    """Make the attributes of a class readable under their former names too, given as former=name."""

    def decorate(cls: C) -> C:
        for former, name in names.items():
            setattr(cls, former, former_property(former, name))
        return cls

    return decorate


def accept_former_fields(**names: str) -> Callable[[C], C]:
    """Make a dataclass accept and return its fields under their former names too, given as former=name.

    If a call passes both names, the former one wins, so that `dataclasses.replace(config, former=value)` does what it
    says.
    """

    def decorate(cls: C) -> C:
        init: Callable[..., None] = getattr(cls, "__init__")  # noqa: B009  pyright warns of direct access

        @functools.wraps(init)
        def init_by_either_name(self: Any, *args: Any, **fields: Any) -> None:
            for former, name in names.items():
                if former in fields:
                    warn_former_name(f"{cls.__name__}({former}=...)", f"{name}=")
                    fields[name] = fields.pop(former)
            init(self, *args, **fields)

        setattr(cls, "__init__", init_by_either_name)  # noqa: B010  pyright warns of direct assignment
        return add_former_properties(**names)(cls)

    return decorate
