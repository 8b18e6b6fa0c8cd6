"""Read docstrings as plain text with Google sections, not as reStructuredText.

The docstrings are written for a terminal: `name` is code, an indented block is a table or an equation whose columns
line up, and |u| or *b are mathematics. A hook turns that into reStructuredText before napoleon reads the sections.
Others shorten signatures, and the directive `names` lists the public names of a module with links.
"""

import inspect
import re
from collections.abc import Iterator
from importlib import import_module
from types import ModuleType
from typing import Any

from docutils import nodes
from docutils.statemachine import StringList
from flax import nnx
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective
from sphinx.util.inspect import stringify_signature

PACKAGES = ("pdeformer", "pid", "experiments")
SECTION = re.compile(r"(Args|Attributes|Returns|Raises|Yields|Examples?|References?|Fields|Notes?):$")
CODE = re.compile(r"(``[^`]+``|`[^`]+`)")
MARKUP = re.compile(r"(?<!\\)([*|]|(?<=\w)_(?=\W|$))")
ENTRY = re.compile(r"[\w/.]+ {2,}\S")  # a line of the table of files: name, blanks, what the file holds
HIDDEN_COLON = "\ue000"  # napoleon takes what stands before the first colon for the type of an attribute
PYTHON = re.compile(r"\s*(\w+ = [\w.]+\(|import |from |>>> )")
UNDOCUMENTED = re.compile(r"(Alias for field number \d+|Call self as a function\.)$")


def markup(line: str) -> str:
    """Code between backticks as literals; whatever else reStructuredText would take for markup, escaped."""
    parts = CODE.split(line)
    for index, part in enumerate(parts):
        if index % 2 == 0:
            parts[index] = MARKUP.sub(r"\\\1", part)
        else:
            glued = parts[index + 1][:1].isalnum()  # as in `vmap`s
            parts[index] = f"``{part.strip('`')}``" + ("\\ " if glued else "")
    return "".join(parts)


def indent_of(line: str) -> int:
    """The number of blanks in front of a line."""
    return len(line) - len(line.lstrip())


def as_blocks(lines: list[str]) -> list[str]:
    """The table of files in a module's docstring, indented like every other table."""
    result, in_table = [], False
    for line in lines:
        starts = ENTRY.match(line) is not None
        in_table = bool(line.strip()) and (starts or (in_table and indent_of(line) > 0))
        if in_table and result and result[-1].strip() and indent_of(result[-1]) == 0:
            result.append("")
        result.append("    " + line if in_table else line)
    return result


def convert(lines: list[str]) -> Iterator[str]:
    """The lines of one docstring as reStructuredText."""
    in_section = in_doctest = in_block = False
    previous = ""
    for line in lines:
        blank = not line.strip()
        if line == "Example::":  # not executed
            yield from (".. rubric:: Example", "")
            in_section, previous = False, ""
            continue
        if in_block and not blank and indent_of(line) == 0:
            in_block = False
            yield ""
        if not in_block and not blank:
            if indent_of(line) == 0:
                in_section = SECTION.match(line) is not None
            elif not in_section and not previous.strip():
                in_block = True
                yield from (f".. code-block:: {'python' if PYTHON.match(line) else 'text'}", "")
            elif not in_section and not in_doctest:
                line = line.lstrip()  # a hanging indent
        in_doctest = not blank and (in_doctest or line.lstrip().startswith(">>>"))
        verbatim = in_block or in_doctest or SECTION.match(line)
        yield line if verbatim else markup(line)
        previous = line


def process_docstring(app: Sphinx, what: str, name: str, obj: Any, options: Any, lines: list[str]) -> None:
    """The hook of autodoc for docstrings; it changes `lines` in place."""
    if lines and UNDOCUMENTED.match(lines[0]):
        lines[:] = [""]
        return
    text = CODE.sub(lambda code: re.sub(r"\s*\n\s*", " ", code.group()), "\n".join(lines))
    plain = text.split("\n")
    lines[:] = list(convert(as_blocks(plain) if what == "module" else plain))
    if what in ("attribute", "property"):
        lines[:] = [line.replace(":", HIDDEN_COLON) for line in lines]


def restore_colons(app: Sphinx, what: str, name: str, obj: Any, options: Any, lines: list[str]) -> None:
    """Undo the last step of `process_docstring`, after napoleon."""
    lines[:] = [line.replace(HIDDEN_COLON, ":") for line in lines]


def process_signature(
    app: Sphinx, what: str, name: str, obj: Any, options: Any, signature: str | None, returns: str | None
) -> tuple[str | None, str | None]:
    """The hook of autodoc for signatures: a module of flax has that of its `__init__`."""
    if what == "class" and isinstance(obj, type) and issubclass(obj, nnx.Module):
        own = inspect.signature(obj.__init__)
        without_self = own.replace(parameters=list(own.parameters.values())[1:])
        signature = stringify_signature(without_self, unqualified_typehints=True)
    return signature, returns


def skip_member(app: Sphinx, what: str, name: str, obj: Any, skip: bool, options: Any) -> bool | None:  # noqa: FBT001  Sphinx passes it so
    """The hook of autodoc for members: what a module imports from other packages is left out."""
    home = getattr(obj, "__module__", None)
    foreign = isinstance(home, str) and home.split(".")[0] not in PACKAGES
    return True if what == "module" and foreign else None


def shorten_types(app: Sphinx, doctree: nodes.document) -> None:
    """Write `Array` for the class behind it."""
    for text in list(doctree.findall(nodes.Text)):
        if "jaxlib._jax." in text:
            text.parent.replace(text, nodes.Text(text.replace("jaxlib._jax.", "")))


class Names(SphinxDirective):
    """`.. names:: pid` lists the public names of a module; `:without:` leaves some out."""

    required_arguments = 1
    option_spec = {"without": str}

    def run(self) -> list[nodes.Node]:
        """The names with links, in one paragraph."""
        module = import_module(self.arguments[0])
        without = {name.strip() for name in self.options.get("without", "").split(",")}
        names = [name for name in public_names(module) if name not in without]
        box = nodes.container(classes=["names"])
        links = " · ".join(f":py:obj:`~{module.__name__}.{name}`" for name in names)
        self.state.nested_parse(StringList([links]), self.content_offset, box)
        return [box]


def public_names(module: ModuleType) -> list[str]:
    """What a module exports, or else the functions and classes that stand in it or that it gives on."""
    if exported := getattr(module, "__all__", None):
        return sorted(name for name in exported if not isinstance(getattr(module, name), ModuleType))
    return sorted(
        name
        for name, value in vars(module).items()
        if (inspect.isfunction(value) or inspect.isclass(value))
        and not name.startswith("_")
        and value.__module__.startswith(module.__name__)
    )


def setup(app: Sphinx) -> dict[str, bool]:
    """Run before napoleon, whose priority is 500."""
    app.connect("autodoc-process-docstring", process_docstring, priority=400)
    app.connect("autodoc-process-docstring", restore_colons, priority=600)
    app.connect("autodoc-process-signature", process_signature)
    app.connect("autodoc-skip-member", skip_member)
    app.connect("doctree-read", shorten_types)
    app.add_directive("names", Names)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
