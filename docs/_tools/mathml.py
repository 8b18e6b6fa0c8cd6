"""Render equations as MathML when the pages are built.

Readers' browsers draw MathML themselves: the pages need neither a script nor the network.
"""

from typing import Any

from docutils import nodes
from latex2mathml.converter import convert
from sphinx.application import Sphinx


def to_mathml(latex: str, display: str) -> str:
    """LaTeX as a `<math>` element; `aligned` goes by the name under which latex2mathml has it."""
    return convert(latex.strip().replace("{aligned}", "{align*}"), display=display)


def visit_inline(translator: Any, node: nodes.math) -> None:
    """Write an equation in running text."""
    translator.body.append(to_mathml(node.astext(), "inline"))
    raise nodes.SkipNode


def visit_block(translator: Any, node: nodes.math_block) -> None:
    """Write an equation on a line of its own; it scrolls where it is wider than the page."""
    translator.body.append(f'<div class="equation">{to_mathml(node.astext(), "block")}</div>\n')
    raise nodes.SkipNode


def setup(app: Sphinx) -> dict[str, bool]:
    """Register the renderer under the name "mathml"."""
    app.add_html_math_renderer("mathml", (visit_inline, None), (visit_block, None))
    return {"parallel_read_safe": True, "parallel_write_safe": True}
