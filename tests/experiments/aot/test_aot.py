"""The program `experiments.aot` without compilers: cases, the door of the backend, bounds, processes, run folder."""

import ast
import dataclasses
import json
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments import lra
from experiments.aot import Config, main, program, subprocesses
from experiments.aot.cases import (
    Bound,
    Case,
    Workload,
    attention_cases,
    llava_cases,
    stencil_cases,
    training_cases,
)
from experiments.aot.cases.catalog import QUICK, all_cases
from experiments.aot.compiler import measurement, schedule
from experiments.aot.compiler.backend import traced_for
from experiments.aot.compiler.environment import environment
from experiments.aot.config import GROUPS, MACHINES
from experiments.aot.figures import draw_memory, draw_roofline
from experiments.aot.report import tables
from experiments.aot.targets import TARGETS
from experiments.aot.verdict import finish, violations
from pdeformer.attention import dot_product_attention
from pdeformer.model import Architecture
from tests.experiments.aot.fake_compiler import ROW

ROOT = Path(__file__).resolve().parents[3]


def test_the_names_of_the_command_line_are_those_of_the_cases():
    assert set(MACHINES) == set(TARGETS)
    cases = all_cases()
    assert {case.group for case in cases.values()} == set(GROUPS)
    assert {case.target for case in cases.values()} == set(TARGETS)
    assert set(QUICK) <= set(cases)
    assert len({cases[name].target for name in QUICK}) == 1


def test_every_bound_on_another_program_has_that_program():
    cases = all_cases()
    for case in cases.values():
        for bound in case.bounds:
            assert not bound.of or f"{case.target}, {bound.of}" in cases


@pytest.mark.parametrize(
    ("preset", "architecture"),
    [("listops-two-layer", training_cases.TWO_LAYER), ("listops-lra", training_cases.PAPER)],
)
def test_the_models_are_those_of_lra(preset, architecture):
    network = dataclasses.asdict(lra.command_line.presets[preset][1].model)
    assert dataclasses.asdict(architecture) | {"max_len": 0} == network | {"max_len": 0}


def test_the_door_answers_the_target_and_closes():
    with traced_for("tpu"):
        assert jax.default_backend() == "tpu"
    assert jax.default_backend() == "cpu"
    with pytest.raises(ZeroDivisionError), traced_for("gpu"):
        assert 1 / 0
    assert jax.default_backend() == "cpu"


def test_code_behind_the_door_takes_the_form_of_the_target():
    array = jax.ShapeDtypeStruct((1, 64, 2, 16), jnp.float32)

    def text():
        return str(jax.jit(lambda q, k, v: dot_product_attention(q, k, v)).trace(array, array, array).jaxpr)

    here = text()
    with traced_for("tpu"):
        assert text() != here
    assert text() == here


def test_the_packages_ask_only_the_door_for_the_backend():
    """`jax.default_backend()` as an attribute of jax, so that one context manager answers for all of them."""
    for file in (path for name in ("pdeformer", "pid") for path in (ROOT / name).rglob("*.py")):
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.ImportFrom):
                assert "default_backend" not in {alias.name for alias in node.names}, file
            if isinstance(node, ast.Attribute) and node.attr == "default_backend":
                assert isinstance(node.value, ast.Name), file
                assert node.value.id == "jax", file
            if isinstance(node, ast.Attribute) and node.attr == "platform":
                assert "devices(" not in ast.unparse(node.value), f"{file} asks a device for its platform"


@pytest.mark.parametrize("platform", ["tpu", "gpu"])
@pytest.mark.parametrize("form", [stencil_cases.COPY, *stencil_cases.forms()])
def test_evolve_can_be_traced_in_every_form(form, platform):
    with traced_for(platform):
        for backward in (False, True):
            workload = stencil_cases.build(jax.devices(), form=form, backward=backward, shape=(2, 64, 128))
            out = workload.function.trace(*workload.arguments).out_info
            assert jax.tree.leaves(out)[0].shape == (2, 64, 128)


@pytest.mark.parametrize("form", attention_cases.FORMS)
def test_attention_can_be_traced_in_every_form(form):
    with traced_for("tpu"):
        workload = attention_cases.build(jax.devices(), form=form, tokens=256, backward=True)
        out = workload.function.trace(*workload.arguments).out_info
    assert [leaf.shape for leaf in jax.tree.leaves(out)] == 4 * [(1, 256, 8, 64)]


@pytest.mark.parametrize("variant", training_cases.VARIANTS)
def test_training_steps_can_be_traced_on_a_mesh(variant):
    layout, small = training_cases.Layout(4, model=2), Architecture(max_len=32)
    assert str(layout) == "data=4 model=2"
    with traced_for("tpu"):
        workload = training_cases.build(
            jax.devices()[:8], architecture=small, layout=layout, batch=8, dtype="bfloat16", variant=variant
        )
        state, metrics = workload.function.trace(*workload.arguments).out_info
    assert metrics.loss.shape == ()
    assert jax.tree.structure(state) == jax.tree.structure(workload.arguments[0])


def test_rounds_of_a_capture_by_hand():
    """Three conditions from layers 0, 1 and 2 (never) of 2, beside the first run: rounds of one condition each."""
    masks = np.zeros((3, 2, 1, 8, 8), bool)
    masks[0, 0, 0, 3, 2] = masks[1, 1, 0, 3, 2] = True
    assert llava_cases.mean_rounds(masks) == (2 + 3) / 2


def case(program="p", **fields):
    return Case("evolve", program, "v5e-1", lambda devices: Workload(None, ()), **fields)


def test_a_finished_row_has_times_and_shares():
    row = finish(case(mesh="data=4"), ROW)
    limits = TARGETS["v5e-1"].limits
    assert row["memory_share"] == 250 / limits.memory
    assert row["memory_ms"] == pytest.approx(1e3 * 300 / limits.bandwidth)
    assert (row["expected_ms"], row["bound_by"]) == (pytest.approx(1e3 * 3000 / limits.clock), "cycles")
    assert row["roofline_share"] == pytest.approx(row["least_ms"] / row["expected_ms"])
    assert row["least_ms"] == pytest.approx(1e3 * max(1e6 / limits.flops, 200 / limits.bandwidth))


@pytest.mark.parametrize(
    ("bounds", "change", "sentence"),
    [
        ((Bound("bytes_ratio", 1.5),), {}, None),
        ((Bound("bytes_ratio", 1.4),), {}, "v5e-1, p: bytes_ratio is 1.5, at most 1.4"),
        ((Bound("cycles", 1.0, "q"),), {}, None),
        ((Bound("cycles", 0.9, "q"),), {}, "v5e-1, p: cycles is 3000, at most 2700"),
        ((Bound("moved_bytes", 1.0, "q", "temporary_bytes"),), {}, "moved_bytes is 300, at most 50"),
        ((Bound("cycles", 0.9, "q", plus=300),), {}, None),
        ((Bound("cycles", 0.9, "absent"),), {}, None),
        ((), {"total_bytes": 2e10}, "needs 20.0 GB of 16.9 GB"),
        ((), {"status": "does not fit", "reason": "RESOURCE_EXHAUSTED"}, "does not fit: RESOURCE_EXHAUSTED"),
    ],
)
def test_bounds(bounds, change, sentence):
    cases = {c.name: c for c in (case(bounds=bounds), case("q"))}
    rows = {name: finish(c, ROW | (change if c.program == "p" else {})) for name, c in cases.items()}
    broken = violations(cases, rows)
    assert [v.case for v in broken] == ([] if sentence is None else ["v5e-1, p"])
    assert sentence is None or sentence in broken[0].sentence


def test_a_program_must_run_its_kernels():
    needed = case(kernels=("attention_forward", "attention_key_gradient"))
    row = finish(needed, ROW | {"kernel_steps": {"attention_forward.3": 8}})
    assert [v.sentence for v in violations({needed.name: needed}, {needed.name: row})] == [
        "v5e-1, p does not run the kernel attention_key_gradient"
    ]


def test_cost_of_a_program_of_this_machine():
    """(64, 32) times (32, 16) split over four devices: a quarter of the rows, and the whole second matrix."""
    mesh = jax.make_mesh((4,), ("data",), axis_types=(jax.sharding.AxisType.Auto,), devices=jax.devices()[:4])
    rows, whole = (jax.sharding.NamedSharding(mesh, spec) for spec in (jax.P("data"), jax.P()))
    a = jax.ShapeDtypeStruct((64, 32), jnp.float32, sharding=rows)
    b = jax.ShapeDtypeStruct((32, 16), jnp.float32, sharding=whole)
    workload = Workload(jax.jit(lambda a, b, unused: a @ b, out_shardings=rows), (a, b, b))
    traced = workload.function.trace(*workload.arguments)
    row = measurement.cost(traced, traced.lower().compile(), workload, TARGETS["h100-8"])
    assert row["flops"] == 2 * 16 * 32 * 16
    assert row["least_bytes"] == row["moved_bytes"] == 4 * (16 * 32 + 32 * 16 + 16 * 16)
    assert row["loaded_bytes"] == row["moved_bytes"]
    assert row["argument_bytes"] == 4 * (16 * 32 + 32 * 16)
    assert row["total_bytes"] == row["argument_bytes"] + row["output_bytes"] + row["temporary_bytes"]
    assert row["collectives"] == {}


def test_a_donated_argument_takes_memory_once():
    array = jax.ShapeDtypeStruct((1024,), jnp.float32)
    row = measurement.memory(jax.jit(lambda x: x + 1, donate_argnums=0).lower(array).compile())
    assert (row["argument_bytes"], row["output_bytes"], row["shared_bytes"]) == (4096, 4096, 4096)
    assert row["total_bytes"] == 4096 + row["temporary_bytes"]


def test_cycles_of_kernels_are_bundles_times_grid_steps(tmp_path):
    text = "Schedule analysis:\n\ttotal scheduled bundles:    95\n"
    for name in ("17-stencil.1-00", "18-stencil.2-00", "19-fusion.1-00"):
        (tmp_path / f"{name}-schedule-analysis_final_bundles.txt").write_text(text)
    assert schedule.kernel_cycles({"stencil.1": 4, "stencil.2": 12, "other.1": 9}, str(tmp_path)) == 16 * 95


def test_environment_of_a_process(monkeypatch):
    monkeypatch.setenv("XLA_FLAGS", "--xla_force_host_platform_device_count=8")
    tpu, gpu = environment("tpu", "somewhere"), environment("gpu")
    assert "XLA_FLAGS" not in tpu
    assert "somewhere" in tpu["LIBTPU_INIT_ARGS"]
    assert gpu["XLA_FLAGS"] == "--xla_gpu_enable_triton_gemm=false"
    assert tpu["JAX_ENABLE_COMPILATION_CACHE"] == gpu["JAX_ENABLE_COMPILATION_CACHE"] == "false"


@pytest.fixture
def fake_compiler(monkeypatch, tmp_path):
    """The log of a compiler that does not compile."""
    log = tmp_path / "log"
    monkeypatch.setenv("FAKE_COMPILER_LOG", str(log))
    monkeypatch.setattr(subprocesses, "MODULE", "tests.experiments.aot.fake_compiler")
    monkeypatch.setattr(program, "missing_wheel", lambda platform: None)
    return log


def test_a_run_survives_aborts_and_timeouts_and_resumes(fake_compiler, tmp_path, capsys):
    folder = tmp_path / "run"
    config = Config(only=("evolve",), machines=("v6e-1",), timeout=3, out=folder)
    summary = main(config)
    status = {row["program"]: row["status"] for row in summary["rows"]}
    assert status["scaled copy"] == status["evolve, shared"] == status["evolve, segments"] == "compiled"
    assert {status[name] for name in status if "backward" in name or "per channel" in name} == {"failed"}
    reasons = {row["program"]: row.get("reason", "") for row in summary["rows"]}
    assert "by signal 6" in reasons["evolve, shared, backward"]
    assert reasons["evolve, per channel"] == "no end within 3 s; raise --timeout"
    broken = {v["case"] for v in summary["violations"]}
    assert broken == {
        f"v6e-1, {name}" for name in status if name != "scaled copy"
    }  # 1.5 times the least bytes
    assert "9 programs, 12 bounds" in capsys.readouterr().out
    assert {path.name for path in folder.glob("*.png")} == {"roofline.png"}
    lines = (folder / "tables.md").read_text().splitlines()
    assert lines[0] == "## evolve, per device"
    assert len(lines) == 4 + 9
    assert len({line.count("|") for line in lines[2:]}) == 1

    assert len(fake_compiler.read_text().splitlines()) == 4
    again = main(dataclasses.replace(config, resume=True))
    assert len(fake_compiler.read_text().splitlines()) == 4
    assert again["rows"] == summary["rows"]
    assert json.loads((folder / "summary.json").read_text())["violations"] == summary["violations"]


def test_without_compilers_the_program_says_what_to_install(monkeypatch, tmp_path, capsys, fake_compiler):
    monkeypatch.setattr(program, "missing_wheel", {"tpu": None, "gpu": "pip install x"}.get)
    config = Config(only=("evolve",), match="copy", out=tmp_path / "run")
    assert {row["machine"] for row in main(config)["rows"]} == {"v5e-1", "v6e-1"}
    assert (
        "no compiler for gpu, 1 programs are left out; pip install x installs it" in capsys.readouterr().out
    )
    monkeypatch.setattr(program, "missing_wheel", lambda platform: f"pip install {platform}")
    with pytest.raises(ImportError, match="got none of them; pip install gpu or pip install tpu"):
        main(dataclasses.replace(config, out=tmp_path / "other"))


def test_programs_that_load_more_than_they_move_have_a_table():
    rows = [finish(case(), ROW), finish(case("again"), ROW | {"loaded_bytes": 600})]
    of_group, loads = tables(rows)
    assert len(of_group.rows) == 2
    assert [row[1] for row in loads.rows] == ["again"]
    assert loads.rows[0][-1] == "2x"
    failed = finish(case("failed"), {"status": "failed", "reason": ""})
    assert len(tables([rows[0], failed])) == 1


def test_figures_need_what_they_draw():
    attention = dataclasses.replace(case(), group="attention", tokens=8192, program="folded, T=8192")
    row = finish(attention, ROW)
    for figure in (draw_roofline([row]), draw_memory([row])):
        assert figure is not None
        assert len(figure.axes) == 1
    failed = finish(attention, {"status": "failed", "reason": ""})
    assert draw_roofline([failed]) is None
    assert draw_memory([failed, row | {"tokens": 0}]) is None


@pytest.mark.exhaustive
@pytest.mark.skipif(find_spec("libtpu") is None, reason="compiles for TPU by the wheel libtpu")
def test_quick_compiles_five_programs(tmp_path):
    words = [sys.executable, "-m", "experiments.aot", "--quick", "--out", str(tmp_path / "run")]
    code = subprocess.run(words, cwd=ROOT, check=False).returncode
    summary = json.loads((tmp_path / "run" / "summary.json").read_text())
    assert [row["status"] for row in summary["rows"]] == ["compiled"] * 5
    assert code == (1 if summary["violations"] else 0)
    copy = next(row for row in summary["rows"] if row["program"] == "scaled copy")
    assert copy["bytes_ratio"] == 1
