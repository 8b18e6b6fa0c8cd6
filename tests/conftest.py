"""Every test runs on eight fake CPU devices, with rank promotion refused and compiled programs cached on disk.

XLA is told to compile quickly rather than well: the same optimised graph becomes machine code by shorter ways. Most
of a first run is compilation, which then takes a fifth of the time. `pytest --optimise` compiles as users do, and
`make test` runs so those marked `codegen`, whose claims are about bits, rounding or memory.
"""

import gc
import os
from collections import Counter
from pathlib import Path

CACHE = Path(__file__).resolve().parent.parent / ".cache" / "jax"
os.environ.setdefault("JAX_PLATFORMS", "cpu")
os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", str(CACHE))
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0")
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES", "-1")

import jax  # noqa: E402  the variables above are read when jax is imported
import pytest  # noqa: E402  with it

jax.config.update("jax_num_cpu_devices", 8)
jax.config.update("jax_numpy_rank_promotion", "raise")


QUICKLY = "--xla_backend_optimization_level=0 --xla_cpu_use_fusion_emitters=false"
LOWERING = "/jax/core/compile/jaxpr_to_mlir_module_duration"
MANY = 300  # programs
lowered = Counter[str]()  # programs since the last were forgotten, under LOWERING


def pytest_addoption(parser):
    parser.addoption("--optimise", action="store_true", help="let XLA compile as users do: slow to start")


def pytest_configure(config):
    gc.set_threshold(
        200_000, 50, 100
    )  # tracing leaves little garbage: collecting it took a tenth of the time
    if not config.getoption("optimise"):
        os.environ["XLA_FLAGS"] = (
            f"{QUICKLY} {os.environ.get('XLA_FLAGS', '')}"  # read at the first computation
        )


jax.monitoring.register_event_duration_secs_listener(lambda event, *_, **__: lowered.update([event]))


@pytest.fixture(autouse=True)
def few_programs():
    """Forget the compiled programs now and then: each one alive makes the lowering of all others slower.

    A tiny one takes 5 ms in a new process and 16 after two thousand, for their MLIR contexts stay; and Linux gives
    a process 65,530 maps of memory, of which each program takes several.
    """
    yield
    if lowered[LOWERING] >= MANY:
        jax.clear_caches()
        lowered.clear()


def pytest_collection_modifyitems(items):
    """Large files first: those left for the end are short, and the last worker is not waited for."""
    items.sort(key=lambda item: -item.path.stat().st_size)


def pytest_collection_finish():
    gc.freeze()  # what is imported stays: no collection looks at it again


@pytest.fixture
def x64():
    """Run the test with float64 arrays."""
    with jax.enable_x64(new_val=True):
        yield
