"""The page of flags: every kind of flag that the code can raise has a section there, and no section is left over."""

import ast
import re
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]
PAGE = ROOT / "docs" / "concepts" / "flags.md"


def kinds_in_code() -> Iterator[str]:
    """Yield the third argument of every `Flag(sentence, weight, kind)` in `pid`; names are constants of the module."""
    for path in sorted((ROOT / "pid").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "Flag" and len(node.args) == 3:
                kind = node.args[2]
                if isinstance(kind, ast.Constant):
                    yield str(kind.value)
                elif isinstance(kind, ast.Name) and kind.id.isupper():
                    module = import_module(".".join(path.relative_to(ROOT).with_suffix("").parts))
                    yield getattr(module, kind.id)


def test_every_kind_of_flag_is_explained():
    headings = set(re.findall(r"^### (.+)$", PAGE.read_text(), re.MULTILINE))
    kinds = set(kinds_in_code())
    assert {"dependent samples", "dropped information", "kind of variable"} <= kinds  # the parser sees them
    assert headings == kinds | {"other"}
