"""What is installed: light imports, one version, entry points, and the content of the wheel."""

import subprocess
import sys
import tomllib
import zipfile
from importlib import import_module
from pathlib import Path

import pytest
from hatchling.builders.wheel import WheelBuilder

import pdeformer
import pid

ROOT = Path(__file__).resolve().parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
HEAVY = {"distrax", "tensorflow_probability", "transformers", "orbax", "matplotlib", "PIL"}
MAX_SECONDS = 0.3  # beyond `import jax`


def run(code):
    """What a new interpreter prints for a piece of code."""
    return subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout.strip()


@pytest.mark.core
@pytest.mark.parametrize("statement", ["import pdeformer", "import pid; pid.decompose"])
def test_imports_are_light(statement):
    code = f"import sys; {statement}; print(*{{name.split('.')[0] for name in sys.modules}})"
    assert not HEAVY & set(run(code).split())


@pytest.mark.parametrize("statement", ["import pdeformer", "import pid; pid.decompose"])
def test_imports_take_little_longer_than_that_of_jax(statement):
    code = f"import jax, time; start = time.perf_counter(); {statement}; print(time.perf_counter() - start)"
    assert min(float(run(code)) for _ in range(5)) < MAX_SECONDS


def test_rooms_with_heavy_dependencies_load_on_first_use():
    code = "import sys, pid; pid.SeparableFlow; print('distrax' in sys.modules)"
    assert run(code) == "True"


@pytest.mark.parametrize(
    ("access", "module", "extra"),
    [
        ("pid.SeparableFlow", "distrax", "flow"),
        ("pid.llava", "transformers", "llava"),
        ("pid.toyworld", "tokenizers", "llava"),
        ("pid.gqa", "tensorflow_datasets", "data"),
        ("pid.plots", "matplotlib", "plots"),
    ],
)
def test_a_room_without_its_extra_says_how_to_install_it(access, module, extra):
    code = f"""
import importlib.util, pid, pid.interface.extras
find = importlib.util.find_spec
pid.interface.extras.find_spec = lambda name: None if name == {module!r} else find(name)
try:
    {access}
except ImportError as error:
    print(error)
"""
    assert f"needs the extra '{extra}', got no module {module}; pip install 'pdeformer[{extra}]'." in run(
        code
    )


def test_the_version_is_one():
    assert pdeformer.__version__ == pid.__version__


@pytest.mark.parametrize("name", sorted(PROJECT["scripts"]))
def test_entry_points_exist(name):
    module, function = PROJECT["scripts"][name].split(":")
    assert callable(getattr(import_module(module), function))


def test_every_extra_is_part_of_all():
    assert set(PROJECT["optional-dependencies"]) >= {
        *("flow", "llava", "data", "experiments", "docs", "test", "all")
    }


def test_the_wheel_holds_the_packages_their_types_and_the_toy_models(tmp_path):
    (wheel,) = WheelBuilder(str(ROOT)).build(directory=str(tmp_path), versions=["standard"])
    names = set(zipfile.ZipFile(wheel).namelist())
    sources = {
        str(file.relative_to(ROOT))
        for package in ("pdeformer", "pid", "experiments")
        for file in (ROOT / package).rglob("*.py*")
        if file.suffix in (".py", ".pyi")
    }
    assert sources <= names
    assert {"pdeformer/py.typed", "pid/py.typed"} <= names
    assert {f"experiments/pid_llava/toy/models/seed{seed}/model.safetensors" for seed in (0, 1)} <= names
    assert any(name.endswith("licenses/LICENSE") for name in names)
    assert not [name for name in names if name.startswith(("tests/", "docs/", "runs/", "data/"))]
