"""Configuration of all tests: eight fake CPU devices, no rank promotion, and a cache of compiled programs on disk.

XLA runs with fewer optimizations of the machine code, which takes a fifth of the time: most of a first run is
compilation. `pytest --optimize` compiles as users do. `make test` does so for the tests marked `codegen`, which are
about bits, rounding or memory.
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
import pytest  # noqa: E402

jax.config.update("jax_num_cpu_devices", 8)
jax.config.update("jax_numpy_rank_promotion", "raise")


# jaxlib 0.11 has removed the flag of the fusion emitters, and XLA aborts the process on an unknown flag.
# One part of code in place of several saves a quarter of the compilation.
FLAGS_BEFORE_0_11 = " --xla_cpu_use_fusion_emitters=false --xla_cpu_parallel_codegen_split_count=1"
QUICK_FLAGS = "--xla_backend_optimization_level=0" + (
    FLAGS_BEFORE_0_11 if jax.__version_info__ < (0, 11) else ""
)
LOWERING_EVENT = "/jax/core/compile/jaxpr_to_mlir_module_duration"
MAX_PROGRAMS = 300
lowering_count = Counter[str]()  # number of events since the last clearing of the caches


def pytest_addoption(parser):
    parser.addoption("--optimize", action="store_true", help="let XLA compile as users do (slow)")


def pytest_configure(config):
    gc.set_threshold(
        200_000, 50, 100
    )  # Tracing makes little garbage, and its collection took a tenth of the time.
    if not config.getoption("optimize"):
        # JAX reads the flags at the first computation.
        os.environ["XLA_FLAGS"] = f"{QUICK_FLAGS} {os.environ.get('XLA_FLAGS', '')}"


jax.monitoring.register_event_duration_secs_listener(lambda event, *_, **__: lowering_count.update([event]))


@pytest.fixture(autouse=True)
def clear_compiled_programs():
    """Clear JAX's caches after every 300 lowered programs.

    Each live program slows down the lowering of all others: a tiny program takes 5 ms in a new process and 16 ms after
    two thousand programs, because their MLIR contexts stay alive. Each also uses several of the 65,530 memory maps
    that Linux allows per process.
    """
    yield
    if lowering_count[LOWERING_EVENT] >= MAX_PROGRAMS:
        jax.clear_caches()
        lowering_count.clear()


def pytest_collection_modifyitems(items):
    """Run large test files first, so that short files at the end keep both workers busy."""
    items.sort(key=lambda item: -item.path.stat().st_size)


def pytest_collection_finish():
    """Exclude all objects imported so far from garbage collection."""
    gc.freeze()


@pytest.fixture
def x64():
    """Run the test with float64 arrays."""
    with jax.enable_x64(new_val=True):
        yield
