"""Read docstrings as plain text with Google sections, not as reStructuredText.

The docstrings are written for a terminal: `name` is code, an indented block is a table or an equation whose columns
line up, and |u| or *b are mathematics. This hook turns that into reStructuredText before napoleon reads the sections.
"""

import re
from collections.abc import Iterator
from typing import Any

from sphinx.application import Sphinx

SECTION = re.compile(r"(Args|Attributes|Returns|Raises|Yields|Examples?|References?|Fields|Notes?):$")
CODE = re.compile(r"(``[^`]+``|`[^`]+`)")
MARKUP = re.compile(r"(?<!\\)([*|]|(?<=\w)_(?=\W|$))")


def markup(line: str) -> str:
    """Code between backticks as literals; whatever else reStructuredText would take for markup, escaped."""
    parts = CODE.split(line)
    return "".join(
        f"``{part.strip('`')}``" if odd else MARKUP.sub(r"\\\1", part) for odd, part in _numbered(parts)
    )


def _numbered(parts: list[str]) -> Iterator[tuple[bool, str]]:
    return ((index % 2 == 1, part) for index, part in enumerate(parts))


def indent_of(line: str) -> int:
    """The number of blanks in front of a line."""
    return len(line) - len(line.lstrip())


def convert(lines: list[str]) -> Iterator[str]:
    """The lines of one docstring as reStructuredText."""
    in_section = in_doctest = in_block = False
    previous = ""
    for line in lines:
        blank = not line.strip()
        if in_block and not blank and indent_of(line) == 0:
            in_block = False
        if not in_block and not blank:
            if indent_of(line) == 0:
                in_section = SECTION.match(line) is not None
            elif not in_section and not previous.strip():
                in_block = True
                yield from ("::", "")
            elif not in_section and not in_doctest:
                line = line.lstrip()  # a hanging indent
        in_doctest = not blank and (in_doctest or line.lstrip().startswith(">>>"))
        verbatim = in_block or in_doctest or SECTION.match(line)
        yield line if verbatim else markup(line)
        previous = line


def process(app: Sphinx, what: str, name: str, obj: Any, options: Any, lines: list[str]) -> None:
    """The hook of autodoc; it changes `lines` in place."""
    text = CODE.sub(lambda code: re.sub(r"\s*\n\s*", " ", code.group()), "\n".join(lines))
    lines[:] = list(convert(text.split("\n")))


def setup(app: Sphinx) -> dict[str, bool]:
    """Run before napoleon, whose priority is 500."""
    app.connect("autodoc-process-docstring", process, priority=400)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
