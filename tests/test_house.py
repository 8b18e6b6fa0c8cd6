"""The house itself: imports point down, the public names exist, the README's example runs."""

import ast
import re
from pathlib import Path

import pytest

import pdeformer
import pid

ROOT = Path(__file__).resolve().parent.parent
ROOMS = {
    "pdeformer": (
        "stencil",
        "pde",
        "kernels",
        "integrators",
        "attention",
        "layers",
        "model",
        "cta",
        "simulator",
        "diagnostics",
        "sharding",
        "train",
    ),
    "pid": (
        "former_names",
        "gaussian",
        "measures",
        "gaussianize",
        "flow",
        "estimators",
        "plots",
        "gqa",
        "llava",
        "toyworld",
    ),
    "experiments": ("blas", "run", "data"),  # the programs stand below both and do not import each other
}
JAX_ONLY = {
    "pdeformer": ("stencil", "pde", "kernels", "integrators", "attention"),
    "pid": ("gaussian", "measures"),
}
MAY_IMPORT = {
    "pdeformer": {"pdeformer"},
    "pid": {"pid"},
    "experiments": {"experiments", "pdeformer", "pid"},
}


def imports(file):
    """Dotted names of every module a file imports."""
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        if isinstance(node, ast.ImportFrom) and node.module:
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def files():
    for package in ROOMS:
        for file in sorted((ROOT / package).rglob("*.py")):
            if file != ROOT / package / "__init__.py":
                yield package, file.relative_to(ROOT / package).with_suffix("").parts[0], file


FILES = list(files())


@pytest.mark.parametrize(("package", "room", "file"), FILES, ids=lambda x: str(getattr(x, "name", x)))
def test_a_file_imports_only_what_stands_above_it(package, room, file):
    order = ROOMS[package]
    for name in imports(file):
        top, *rest = name.split(".")
        if top in ROOMS or top == "tests":
            assert top in MAY_IMPORT[package], f"{file.name} imports {name}"
        if top != package or not rest or rest[0] == room:
            continue
        above = order[: order.index(room)] if room in order else order
        assert rest[0] in above, f"{package}/{room} imports {name}, which does not stand above it"


@pytest.mark.parametrize(
    "file", [f for p, room, f in FILES if room in JAX_ONLY.get(p, ())], ids=lambda f: f.name
)
def test_the_mathematics_needs_no_neural_network_library(file):
    assert not {name.split(".")[0] for name in imports(file)} & {"flax", "optax", "distrax", "orbax"}


def test_every_room_is_in_the_plan():
    for package, order in ROOMS.items():
        if package == "experiments" or not (ROOT / package).exists():
            continue
        rooms = {path.stem for path in (ROOT / package).iterdir() if path.suffix == ".py" or path.is_dir()}
        assert rooms - {"__init__", "__pycache__"} <= set(order)


@pytest.mark.parametrize("package", [pdeformer, pid], ids=lambda package: package.__name__)
def test_public_names_are_exported_and_no_module_bears_the_name_of_a_function(package):
    for name in package.__all__:
        assert hasattr(package, name), name
    modules = {path.stem for path in (ROOT / package.__name__).rglob("*.py")}
    functions = {name for name in package.__all__ if callable(getattr(package, name))}
    assert not modules & functions


def test_the_example_of_the_readme_runs():
    blocks = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    assert blocks
    for block in blocks:
        exec(compile(block, "README.md", "exec"), {})
