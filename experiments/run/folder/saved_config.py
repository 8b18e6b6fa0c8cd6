"""The saved configuration of a run: read from `config.json`, built as a dataclass, compared with another one."""

import dataclasses
import os
import types
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from experiments.run.folder.atomic_files import read_json
from experiments.run.folder.json_types import flatten

C = TypeVar("C")
NAME = "config.json"
NOTHING = "nothing"


def read_fields(folder: Path, renamed: Mapping[str, str]) -> dict[str, Any]:
    """Return the saved fields of a run, under their present names.

    Args:
        folder: the run folder.
        renamed: old -> new names of top-level fields.

    Raises:
        ValueError: the file is damaged.
    """
    path = folder / NAME
    remedy = "restore it, or use another --out"
    fields = read_json(path, remedy)
    if not isinstance(fields, dict):
        raise ValueError(f"{path} must be an object with the options of a run, got {fields!r:.60}; {remedy}.")
    return {renamed.get(name, name): value for name, value in fields.items()}


def build(default: C, fields: Mapping[str, Any], path: Path) -> C:
    """Return a configuration from the types of JSON.

    Args:
        default: the configuration whose values the missing fields take. Its type is that of the result.
        fields: saved fields; fields that the type does not have are left out.
        path: the file, for the message.

    Raises:
        ValueError: a value does not have the type of its field, or contradicts another one.
    """
    try:
        return _dataclass(type(default), fields, default, "")
    except ValueError as error:
        raise ValueError(f"{path} must be a valid configuration, got: {error}") from None


def unknown_fields(default: Any, fields: Mapping[str, Any]) -> list[str]:
    """Return the dotted names of saved fields that the configuration does not have."""
    known = {field.name for field in dataclasses.fields(default)}
    names = [name for name in fields if name not in known]
    for name in known & fields.keys():
        value = getattr(default, name)
        if dataclasses.is_dataclass(value) and isinstance(fields[name], dict):
            names += [f"{name}.{inner}" for inner in unknown_fields(value, fields[name])]
    return sorted(names)


def differences(
    old: Mapping[str, Any], new: Mapping[str, Any], may_differ: Collection[str]
) -> dict[str, str]:
    """Compare two configurations in the types of JSON.

    Args:
        old: the saved one.
        new: the present one.
        may_differ: top-level fields that are not compared.

    Returns:
        A map from the dotted name of every field that differs to "saved ..., now ...".
    """
    before, now = flatten(dict(old)), flatten(dict(new))
    return {
        name: f"saved {before.get(name, NOTHING)!r}, now {now.get(name, NOTHING)!r}"
        for name in sorted(before.keys() | now.keys())
        if name.split(".")[0] not in may_differ
        and not _is_same(before.get(name, NOTHING), now.get(name, NOTHING))
    }


def _is_same(old: Any, new: Any) -> bool:
    """Return whether two values are equal. Earlier releases saved relative paths."""
    if isinstance(old, list) and isinstance(new, list):
        return len(old) == len(new) and all(map(_is_same, old, new))
    if isinstance(old, str) and isinstance(new, str) and Path(new).is_absolute():
        return os.path.abspath(old) == new  # noqa: PTH100  resolve() would follow links
    return old == new


def _dataclass(kind: type[Any], fields: Any, default: Any, name: str) -> Any:
    if not isinstance(fields, Mapping):
        raise _wrong_type(name, "an object", fields)
    hints = get_type_hints(kind, include_extras=True)
    values = {
        field.name: _value(
            hints[field.name], fields[field.name], getattr(default, field.name, None), f"{name}{field.name}"
        )
        for field in dataclasses.fields(kind)
        if field.name in fields
    }
    return dataclasses.replace(default, **values) if isinstance(default, kind) else kind(**values)


def _value(hint: Any, value: Any, default: Any, name: str) -> Any:
    origin, arguments = get_origin(hint), get_args(hint)
    if origin is Annotated:
        return _value(arguments[0], value, default, name)
    if origin in (Union, types.UnionType):
        return _member(arguments, value, default, name)
    if origin is tuple:
        return _tuple(arguments, value, name)
    if origin is Literal:
        if value not in arguments:
            raise _wrong_type(name, f"one of {', '.join(map(str, arguments))}", value)
        return value
    if dataclasses.is_dataclass(hint):
        return _dataclass(hint, value, default, f"{name}.")
    return _scalar(hint, value, name)


def _member(members: tuple[Any, ...], value: Any, default: Any, name: str) -> Any:
    """Return the value as the first member of a union that accepts it."""
    for member in members:
        try:
            return _value(member, value, default, name)
        except ValueError as error:
            last = error
    raise last


def _tuple(arguments: tuple[Any, ...], value: Any, name: str) -> tuple[Any, ...]:
    if not isinstance(value, list):
        raise _wrong_type(name, "a list", value)
    hints = [arguments[0]] * len(value) if arguments[-1] is Ellipsis else arguments
    if len(hints) != len(value):
        raise _wrong_type(name, f"a list of {len(hints)}", value)
    return tuple(_value(hint, item, None, name) for hint, item in zip(hints, value, strict=True))


def _scalar(hint: Any, value: Any, name: str) -> Any:
    if hint is types.NoneType and value is None:
        return None
    if hint is Path and isinstance(value, str):
        return Path(value)
    if hint is float and isinstance(value, int | float) and not isinstance(value, bool):
        return float(value)
    if hint is Any or (hint in (int, str, bool) and type(value) is hint):
        return value
    raise _wrong_type(name, getattr(hint, "__name__", str(hint)), value)


def _wrong_type(name: str, kind: str, value: Any) -> ValueError:
    return ValueError(f"{name.removesuffix('.')} is {kind}, got {value!r:.60}; correct it.")
