"""Keyword arguments from the fields of a dataclass: each is defined once, for all functions that take it."""

import ast
import difflib
import functools
import inspect
import re
import sys
import textwrap
from collections.abc import Callable, Mapping
from dataclasses import MISSING, fields, is_dataclass
from typing import Any, Literal, TypeVar, get_args, get_origin

OptionsT = TypeVar("OptionsT")
FunctionT = TypeVar("FunctionT")
WIDTH = 116  # of a docstring line


def keyword_options(
    options: OptionsT, signature: Callable[[OptionsT], FunctionT], **defaults: Any
) -> Callable[[Callable[..., Any]], FunctionT]:
    """Let a function take the fields of its last parameter, an options object, as keyword arguments.

    The decorated function builds the object and refuses unknown keywords. `inspect.signature` and `help` show every
    field with its type, default and description: the description replaces the entry of the last parameter in the
    `Args` section, except for fields that this section describes itself.

    Args:
        options: A dataclass; its fields become keyword arguments.
        signature: A generic function of `options` whose result type is that of the decorated function. Only type
            checkers use it.
        **defaults: Defaults that differ from those of the class.
    """
    names: dict[str, Any] = {field.name: field for field in fields(options)}  # pyright: ignore[reportArgumentType]
    build: Any = options

    def decorate(function: Callable[..., Any]) -> Any:
        full_signature = _signature(function, names, defaults)
        last = list(inspect.signature(function).parameters)[-1]

        @functools.wraps(function)
        def with_keywords(*arguments: Any, **keywords: Any) -> Any:
            for name in keywords.keys() - full_signature.parameters.keys():
                raise TypeError(
                    _unknown_keyword(function.__qualname__, name, list(full_signature.parameters))
                )
            try:
                bound = full_signature.bind(*arguments, **keywords).arguments
            except TypeError as error:
                raise TypeError(f"{function.__qualname__}(): {error}") from None
            values = defaults | {name: bound.pop(name) for name in names if name in bound}
            check_words(build, values)  # before a run-time type checker raises an error without a remedy
            return function(**bound, **{last: build(**values)})

        with_keywords.__doc__ = _document(function.__doc__, last, build)
        vars(with_keywords)["__signature__"] = full_signature
        return with_keywords

    return decorate


def check_words(options: type, values: Mapping[str, Any]) -> None:
    """Check the values of fields of the dataclass `options` whose type is a `Literal`.

    Raises:
        ValueError: A value is none of the words.
    """
    for field in fields(options):
        kinds = [kind for kind in (field.type, *get_args(field.type)) if get_origin(kind) is Literal]
        optional = type(None) in get_args(field.type)
        value = values.get(field.name, field.default)
        if not kinds or (optional and value is None):
            continue
        words = get_args(kinds[0])
        if value not in words:
            choices = ", ".join(words) + (", or None (the default)" if optional else "")
            raise ValueError(f"{field.name} must be one of {choices}, got {value!r}.")


def _signature(
    function: Callable, names: Mapping[str, Any], defaults: Mapping[str, Any]
) -> inspect.Signature:
    """Return the signature of `function` with keyword-only parameters in place of its last one."""
    signature = inspect.signature(function)
    default = {name: field.default for name, field in names.items()} | dict(defaults)
    default = {name: value for name, value in default.items() if value is not MISSING}
    keywords = [
        inspect.Parameter(
            name,
            inspect.Parameter.KEYWORD_ONLY,
            default=default.get(name, inspect.Parameter.empty),
            annotation=field.type,
        )
        for name, field in names.items()
    ]
    return signature.replace(parameters=[*list(signature.parameters.values())[:-1], *keywords])


def _unknown_keyword(function: str, name: str, names: list[str]) -> str:
    close = difflib.get_close_matches(name, names, n=3)
    remedy = f"did you mean {' or '.join(map(repr, close))}?" if close else f"it takes {', '.join(names)}."
    return f"{function}() got an unexpected keyword argument {name!r}; {remedy}"


def _document(text: str | None, last: str, options: type) -> str | None:
    """Replace the entry `last` of the Args section of `text` by the descriptions of the fields."""
    entry = re.search(rf"^( +){last}:.*\n(?:\1 +.*\n)*", text or "", re.MULTILINE)
    if text is None or entry is None:
        return text
    indent = entry.group(1)
    fill = textwrap.TextWrapper(WIDTH, initial_indent=indent, subsequent_indent=indent + " " * 4).fill
    lines = [
        fill(f"{name}: {description}")
        for name, description in _field_descriptions(options).items()
        if not re.search(rf"^ +{name}:", text, re.MULTILINE)
    ]
    return text[: entry.start()] + "\n".join(lines) + "\n" + text[entry.end() :]


def _field_descriptions(options: type) -> dict[str, str]:
    """Return the attribute docstrings of a dataclass and of its bases, in the order of its fields."""
    texts = {}
    for base in reversed(options.__mro__):
        if is_dataclass(base):
            body = _class_bodies(base.__module__).get(base.__name__, [])
            for field, text in zip(body, body[1:], strict=False):
                if isinstance(field, ast.AnnAssign) and isinstance(text, ast.Expr):
                    texts[ast.unparse(field.target)] = inspect.cleandoc(ast.literal_eval(text.value))
    return {field.name: texts[field.name] for field in fields(options) if field.name in texts}


@functools.cache
def _class_bodies(module: str) -> dict[str, list[ast.stmt]]:
    try:
        tree = ast.parse(inspect.getsource(sys.modules[module]))
    except OSError:  # no source code, as in a frozen program: the fields then have no description
        return {}
    return {node.name: node.body for node in tree.body if isinstance(node, ast.ClassDef)}
