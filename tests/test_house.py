"""The house rules: where a file stands, what it imports, which words it uses, what its documentation holds."""

import ast
import dataclasses
import inspect
import re
import subprocess
import textwrap
from collections import Counter
from functools import cache
from importlib import import_module
from pathlib import Path

import pytest

import pdeformer
import pid
from pdeformer.attention import dot_product_attention
from pdeformer.attention.options import AttentionOptions

ROOT = Path(__file__).resolve().parent.parent
ROOMS = {
    "pdeformer": (
        "arguments",
        "stencil",
        "pde",
        "integrators",
        "attention",
        "sharding",
        "layers",
        "model",
        "cta",
        "diagnostics",
        "simulator",
        "plots",
        "train",
    ),
    "pid": (
        "interface",
        "gaussian",
        "features",
        "measures",
        "discrete",
        "flow",
        "estimators",
        "plots",
        "gqa",
        "llava",
        "toyworld",
    ),
    "experiments": (
        "run",
        "data",
        "roofline",
        "lra",
    ),  # The other programs stand below them and do not import each other.
}
JAX_ONLY = {
    "pdeformer": ("arguments", "stencil", "pde", "integrators", "attention", "sharding"),
    "pid": ("gaussian", "measures", "discrete"),
}
MAY_IMPORT = {
    "pdeformer": {"pdeformer"},
    "pid": {"pid"},
    "experiments": {"experiments", "pdeformer", "pid"},
}
MAX_ENTRIES = 13  # without the files that every package has
PACKAGE_FILES = {"__init__.py", "__init__.pyi", "py.typed"}
CONVENTIONAL_STEMS = {
    *("__init__", "__main__", "config", "api", "types", "results", "progress", "program", "presets"),
    *("figures", "report", "layers", "diagnostics", "plots"),
}
PARTICIPLES = {"found", "seen", "told", "kept", "shown", "asked", "said", "given", "opened", "held", "begun"}
GONE_NAMES = PARTICIPLES | {
    *("Sight", "sight", "Coins", "toss", "serving", "march", "multiplier", "share_budget", "from_diagonals"),
    *(
        "two_calls",
        "react",
        "Quantity",
        "ranked",
        "precise",
        "widest",
        "doubts",
        "observe",
        "Observed",
        "climb",
    ),
    *(
        "judge",
        "calibrate",
        "Alike",
        "lay_out",
        "Surroundings",
        "two_phase",
        "in_full",
        "one_late",
        "unstored",
    ),
    *(
        "run_ours",
        "LOOKS",
        "Dials",
        "gathered",
        "together",
        "agreed",
        "FREE",
        "Cadence",
        "rungs",
        "block_table",
    ),
    *("AttentionPDE", "Attended", "artefact", "standardise", "normalised", "tokenise"),
}
BRITISH = re.compile(
    r"\b(\w*(?:normalis|standardis|optimis|tokenis|materialis|initialis|generalis|regularis|parametris|symmetris"
    r"|visualis|organis|summaris|minimis|maximis|specialis|serialis|quantis|stabilis|gaussianis|recognis|realis"
    r"|vectoris|factoris|utilis|emphasis|analys)(?:e|ed|es|ing|ation|ations|er|ers|able)"
    r"|artefacts?|colour\w*|centre\w*|centring|behaviour\w*|neighbour\w*|favour\w*"
    r"|modell(?:ed|ing)|labell(?:ed|ing)|cancell(?:ed|ing)|travell\w*|licence|catalogue|learnt|spelt|whilst)\b",
    re.IGNORECASE,
)
AMERICAN_TOO = {"analyses", "emphases", "realiser"}  # plurals that the pattern above takes for verbs


def tracked(*patterns):
    """Files that belong to the project, as paths."""
    listing = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", *patterns],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    return [ROOT / name for name in listing.splitlines() if (ROOT / name).exists()]


@cache
def tree_of(file):
    return ast.parse(file.read_text())


def imports(file):
    """Dotted names of every module that a file imports."""
    for node in ast.walk(tree_of(file)):
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
SOURCES = [file for package in ROOMS for file in sorted((ROOT / package).rglob("*.py"))]
FOLDERS = sorted({file.parent for file in SOURCES})


def relative(path):
    return str(path.relative_to(ROOT)) if isinstance(path, Path) else str(path)


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


def entries(folder):
    """Modules and folders of modules that stand in a folder."""
    inside = [path for path in folder.iterdir() if path.suffix == ".py" or (path / "__init__.py").exists()]
    return {path.stem for path in inside} - {"__init__", "__main__"}


@pytest.mark.parametrize("folder", FOLDERS, ids=relative)
def test_a_folder_lists_its_files_in_the_order_of_their_imports(folder):
    """The docstring of `__init__` has a line `name  what it holds` for each entry, and imports run upward."""
    if folder.parent == ROOT and folder.name == "experiments":
        return  # Its rooms are in ROOMS, and programs do not import each other.
    listed = re.findall(r"^(\w+) +\S", ast.get_docstring(tree_of(folder / "__init__.py")) or "", re.MULTILINE)
    order = [name for name in listed if name in entries(folder)]
    assert len(order) == len(set(order)), f"{relative(folder)} lists a file twice"
    assert set(order) == entries(folder) or len(entries(folder)) < 2
    prefix = ".".join(folder.relative_to(ROOT).parts)
    for file in folder.rglob("*.py"):
        own = file.relative_to(folder).with_suffix("").parts[0]
        if own not in order:
            continue
        for name in imports(file):
            if name.startswith(f"{prefix}."):
                target = name.removeprefix(f"{prefix}.").split(".")[0]
                assert target in order, f"{relative(file)} imports {name} from its own package"
                assert target == own or order.index(target) < order.index(own), f"{relative(file)}: {name}"


@pytest.mark.parametrize("folder", sorted({file.parent for file in tracked("*.py")}), ids=relative)
def test_a_folder_has_few_entries(folder):
    if folder == ROOT:
        return
    names = {file.relative_to(folder).parts[0] for file in tracked() if folder in file.parents}
    assert len(names - PACKAGE_FILES) <= MAX_ENTRIES, sorted(names)


def test_a_file_stem_occurs_once():
    counts = Counter(file.stem for file in SOURCES)
    assert not {stem for stem, count in counts.items() if count > 1} - CONVENTIONAL_STEMS


def names_in(file):
    """Every name that a file gives or uses: variables, parameters, attributes, functions, classes, keywords."""
    for node in ast.walk(tree_of(file)):
        match node:
            case ast.Name(id=name) | ast.arg(arg=name) | ast.Attribute(attr=name):
                yield name, node.lineno
            case ast.FunctionDef(name=name) | ast.ClassDef(name=name):
                yield name, node.lineno
            case ast.keyword(arg=str(name)) | ast.alias(asname=str(name)):
                yield name, node.lineno


@pytest.mark.parametrize("file", tracked("*.py"), ids=relative)
def test_names_are_nouns_and_verbs_of_the_field(file):
    from_hypothesis = {"given"} if "hypothesis" in file.read_text() else set()
    gone = GONE_NAMES - from_hypothesis
    uses = [f"{name}, line {line}" for name, line in names_in(file) if name.strip("_") in gone]
    assert not uses


@pytest.mark.parametrize("file", tracked("*.py", "*.md", "*.toml", "Makefile"), ids=relative)
def test_spelling_is_american(file):
    if file == Path(__file__).resolve():
        return
    words = {match.group() for match in BRITISH.finditer(file.read_text())}
    assert not {word for word in words if word.lower() not in AMERICAN_TOO}


@pytest.mark.parametrize("file", tracked("tests/**/test_*.py"), ids=relative)
def test_a_test_module_holds_one_law(file):
    assert len(file.read_text().splitlines()) <= 400
    private = [
        f"{node.value.id}.{node.attr}, line {node.lineno}"
        for node in ast.walk(tree_of(file))
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name)
        if node.attr.startswith("_") and not node.attr.startswith("__") and node.value.id in modules_of(file)
    ]
    assert not private


def modules_of(file):
    """Names under which a test file has our modules, or names from them."""
    for node in ast.walk(tree_of(file)):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.split(".")[0] in ROOMS:
            yield from (alias.asname or alias.name for alias in node.names)


def options_with_defaults(*places):
    """Keyword parameters with a default, and fields of classes with one, below some files and folders."""
    for place in places:
        for file in sorted(place.rglob("*.py")) if place.is_dir() else [place]:
            for node in ast.walk(tree_of(file)):
                if isinstance(node, ast.FunctionDef):
                    pairs = zip(node.args.kwonlyargs, node.args.kw_defaults, strict=True)
                    yield from (arg.arg for arg, default in pairs if default is not None)
                if isinstance(node, ast.ClassDef):
                    optional = any(keyword.arg == "total" for keyword in node.keywords)
                    for field in node.body:
                        if isinstance(field, ast.AnnAssign) and (field.value is not None or optional):
                            yield ast.unparse(field.target)


def test_every_option_of_evolved_attention_is_defined_once():
    room = ROOT / "pdeformer"
    counts = Counter(options_with_defaults(room / "attention", room / "layers" / "attention.py"))
    names = {field.name for field in dataclasses.fields(AttentionOptions)} - {"steps"}
    plain = set(inspect.signature(dot_product_attention).parameters)  # attention without a PDE has these too
    assert {name: counts[name] for name in names - plain} == dict.fromkeys(names - plain, 1)


def test_every_choice_of_an_estimate_is_defined_once():
    counts = Counter(options_with_defaults(ROOT / "pid" / "estimators"))
    names = set(pid.EstimateConfig.__annotations__)
    assert {name: counts[name] for name in names} == dict.fromkeys(names, 1)


PUBLIC_MODULES = (
    *("pdeformer", "pdeformer.integrators", "pdeformer.attention", "pdeformer.layers", "pdeformer.model"),
    *("pdeformer.cta", "pdeformer.diagnostics", "pdeformer.plots", "pdeformer.sharding", "pdeformer.train"),
    *("pid", "pid.discrete", "pid.plots", "pid.gqa", "pid.llava", "pid.toyworld"),
)


def public_objects():
    """Every public function and class once, under the name by which users reach it."""
    done = set()
    for module_name in PUBLIC_MODULES:
        module = import_module(module_name)
        exported = getattr(module, "__all__", None) or [
            name
            for name, value in vars(module).items()
            if f"{getattr(value, '__module__', '')}.".startswith(f"{module_name}.")
        ]
        for name in exported:
            value = getattr(module, name)
            documented = inspect.isfunction(inspect.unwrap(value)) if callable(value) else False
            if name.startswith("_") or id(value) in done or not (documented or inspect.isclass(value)):
                continue
            done.add(id(value))
            yield pytest.param(value, id=f"{module_name}.{name}")


def documented_parameters(doc):
    """Names with an entry in the `Args` section; several may share one, as in `query, key, value:`."""
    section = re.search(r"^Args:\n((?:[ ]+.*\n|\n)+)", doc + "\n", re.MULTILINE)
    heads = re.findall(r"^ {4}(\S[^:]*):", section.group(1), re.MULTILINE) if section else []
    return {name.strip(" *`").split(" ")[0] for head in heads for name in head.split(",")}


def missing_from_function(function, doc):
    signature = inspect.signature(function)
    parameters = {name for name in signature.parameters if name not in ("self", "cls")}
    yield from sorted(f"Args: {name}" for name in parameters - documented_parameters(doc))
    if signature.return_annotation not in (None, "None", inspect.Signature.empty):
        yield from () if re.search(r"^(Returns|Yields):", doc, re.MULTILINE) else ("Returns",)
    body = inspect.getsource(inspect.unwrap(function))
    if re.search(r"^\s+raise \w", body, re.MULTILINE) and "Raises:" not in doc:
        yield "Raises"


def missing_from_class(kind, doc):
    body = ast.parse(textwrap.dedent(inspect.getsource(kind))).body[0]
    assert isinstance(body, ast.ClassDef)
    for node, following in zip(body.body, [*body.body[1:], None], strict=True):
        if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            described = isinstance(following, ast.Expr) and isinstance(following.value, ast.Constant)
            if not (described or node.target.id.startswith("_") or re.search(rf"\b{node.target.id}\b", doc)):
                yield f"a docstring under the field {node.target.id}"


@pytest.mark.parametrize("thing", list(public_objects()))
def test_public_documentation_is_complete(thing):
    doc = inspect.cleandoc(thing.__doc__ or "")
    summary = doc.split("\n\n")[0]
    assert summary.endswith("."), "the first paragraph is a sentence"
    first = re.split(r"(?<=[.!?])\s", summary)[0]
    assert len(first.split()) <= 20, "the first sentence is short"
    missing = list((missing_from_class if inspect.isclass(thing) else missing_from_function)(thing, doc))
    assert not missing
    assert re.search(r"^Examples?:", doc, re.MULTILINE), "an example"
