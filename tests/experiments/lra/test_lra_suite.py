"""`python -m experiments.lra suite-quick`: all tasks in one folder, one table, resumed with more of them."""

import dataclasses
import json
import math

import matplotlib.image
import pytest

from experiments import lra, run
from experiments.data.recall import RecallConfig
from experiments.lra import program
from experiments.lra.benchmark_tasks import BENCHMARK
from experiments.lra.comparison.matched_controls import Match
from experiments.lra.comparison.report import Line
from experiments.lra.presets import CONFIGURATIONS
from experiments.lra.suite import SUITE_PRESETS, SuiteConfig, run_suite, suite_arguments, suite_command_line
from experiments.lra.suite.suite_table import TaskResult, tabulate_suite
from experiments.run.report.paired import Difference
from experiments.run.report.tables import lay_out_table
from pdeformer.layers import PDEAttentionConfig
from tests.experiments.lra.test_lra import TINY

ONCE = run.LoopIntervals(log_every=1, eval_every=2, checkpoint_every=2)
MINIATURES = {
    "listops": dataclasses.replace(TINY, steps=2, cadence=ONCE),
    "mqar": dataclasses.replace(
        TINY,
        preset="mqar-quick",
        task="mqar",
        steps=2,
        cadence=ONCE,
        generated=lra.Generated(),
        model=dataclasses.replace(TINY.model, max_len=16, dropout=0.0, attention_dropout=0.0),
        recall=RecallConfig(items=2, max_len=16, vocabulary=12, train=64, val=16, test=32),
    ),
}


@pytest.fixture(scope="module", autouse=True)
def miniatures():
    """Shrink the tasks of the suite, for all tests of this file."""
    with pytest.MonkeyPatch.context() as patch:
        for task, config in MINIATURES.items():
            patch.setitem(CONFIGURATIONS["quick"], task, config)
        yield


@pytest.fixture(scope="module")
def suite(tmp_path_factory):
    """(configuration, summary) of a suite of one task, and of the same suite with one more."""
    folder = tmp_path_factory.mktemp("suite")
    config = SuiteConfig(
        tasks=("listops",),
        controls=(),
        mesh=lra.Mesh(data=1),
        out=folder / "run",
        data_dir=folder / "data",
    )
    first = run_suite(config)
    before = contents(folder / "run" / "listops")
    words = ["--out", str(config.out), "--resume", "--tasks", "mqar"]
    assert suite_arguments(words) == words
    config = suite_command_line(words)
    return config, first, run_suite(config), before


def contents(folder):
    return {path: path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def test_a_suite_has_a_run_for_each_task_and_a_row_for_each_variant(suite):
    config, first, summary, before = suite
    assert config.tasks == ("listops", "mqar")
    names = [(row["task"], row["variant"]) for row in summary["rows"]]
    assert names == [(task, name) for task in config.tasks for name in ("baseline", "after_embedding")]
    assert summary["rows"][:2] == first["rows"]
    assert contents(config.out / "listops") == before  # the second start has only read it
    assert json.loads((config.out / "summary.json").read_text()) == summary
    assert (summary["program"], summary["preset"], summary["failures"]) == ("lra", "suite-quick", {})
    for row in summary["rows"]:
        own = json.loads((config.out / row["task"] / "summary.json").read_text())
        (of_run,) = [line for line in own["rows"] if line["variant"] == row["variant"]]
        assert row["test"] == pytest.approx(of_run["test_accuracy"], rel=1e-5)
        assert row["steps"] == 2
        assert summary["baselines"][row["task"]] == own["baselines"]
    assert matplotlib.image.imread(config.out / "suite.png").ndim == 3


def test_resuming_a_finished_suite_trains_nothing_and_changes_no_file(suite, monkeypatch, capsys):
    config, _, summary, _ = suite
    before = contents(config.out)
    monkeypatch.setattr(program.run, "make_programs", None)  # nothing may be compiled
    assert run_suite(config) == summary
    assert contents(config.out) == before
    printed = capsys.readouterr().out
    assert "Difference from the baseline in points" in printed
    assert "Published accuracies" not in printed
    assert "MQAR (2 pairs, 16 tokens)" in printed


def test_a_suite_that_is_resumed_keeps_its_configuration(suite):
    config, *_ = suite
    words = ["--out", str(config.out), "--resume"]
    assert suite_command_line(words) == config
    more = suite_command_line([*words, "--seeds", "1", "--controls", "shift", "--windows", "2"])
    assert (more.seeds, more.controls, more.windows) == ((0, 1), ("shift",), (2,))
    with pytest.raises(ValueError, match="steps: saved 0, now 3"):
        run_suite(dataclasses.replace(config, steps=3))
    assert lra.command_line(["--out", str(config.out / "mqar"), "--resume"]).task == "mqar"
    assert suite_arguments(["--out", str(config.out / "mqar"), "--resume"]) is None


def test_a_task_whose_loss_is_not_finite_does_not_stop_the_others(suite, monkeypatch, capsys):
    config, _, summary, _ = suite
    compare = program.compare

    def compare_or_fail(task_config, mesh, folder):
        if task_config.task == "listops":
            raise FloatingPointError("loss and gradient must be finite, got nan.")
        return compare(task_config, mesh, folder)

    with monkeypatch.context() as patch:
        patch.setattr(program, "compare", compare_or_fail)
        with pytest.raises(FloatingPointError, match="got nan"):
            run_suite(config)
    saved = json.loads((config.out / "summary.json").read_text())
    assert saved["failures"] == {"listops": "loss and gradient must be finite, got nan."}
    assert saved["rows"] == summary["rows"][2:]
    assert (
        "listops: loss and gradient must be finite, got nan. The other tasks go on."
        in capsys.readouterr().out
    )
    assert run_suite(config) == summary


def test_data_that_are_missing_are_named_before_anything_is_trained(tmp_path, monkeypatch):
    config = SuiteConfig(
        preset="suite",
        scale="two-layer",
        tasks=("listops", "retrieval"),
        out=tmp_path / "run",
        data_dir=tmp_path / "data",
        mesh=lra.Mesh(data=1),
    )
    prepare = program.prepare
    monkeypatch.setattr(program, "prepare", lambda task: prepare(task) if task.task == "retrieval" else None)
    monkeypatch.setattr(program, "compare", None)  # nothing may be trained
    with pytest.raises(FileNotFoundError, match="tsv_data"):
        run_suite(config)
    assert not (tmp_path / "run").exists()


def test_an_error_after_the_first_training_leaves_a_suite_that_can_be_resumed(tmp_path, monkeypatch):
    config = SuiteConfig(tasks=("listops", "mqar"), out=tmp_path / "run", mesh=lra.Mesh(data=1))
    monkeypatch.setattr(program, "prepare", lambda config: {})

    def fail(task_config, mesh, folder):
        folder.record_start()  # it has begun to compute
        raise ValueError("a checkpoint is damaged.")

    monkeypatch.setattr(program, "compare", fail)
    with pytest.raises(ValueError, match="damaged"):
        run_suite(config)
    for folder in (tmp_path / "run", tmp_path / "run" / "listops"):
        assert (folder / "config.json").exists()
    assert suite_arguments(["--out", str(config.out), "--resume"]) is not None


# Options.


def test_the_tasks_have_the_options_of_the_suite(tmp_path):
    config = SuiteConfig(
        preset="suite-lra",
        scale="lra",
        steps=7,
        seeds=(1, 2),
        windows=(4,),
        attention=PDEAttentionConfig("wave"),
        manual_dir=tmp_path,
        device_data=True,
    )
    for task in BENCHMARK:
        own = config.task_config(task)
        assert (own.task, own.preset, own.steps, own.seeds) == (task, f"{task}-lra", 7, (1, 2))
        names = ["baseline", "after_embedding", "attention_wave", "convolution", "window_4"]
        assert list(own.variants()) == names
        assert own.device_data
    folders = {task: config.task_config(task).manual_dir for task in BENCHMARK}
    assert folders == {
        "listops": tmp_path / "listops-1000",
        "text": None,
        "retrieval": tmp_path,
        "image": None,
        "pathfinder": tmp_path,
        "pathx": tmp_path,
    }
    assert config.task_config("pathx").pathfinder.source == "lra_release"
    assert dataclasses.replace(config, steps=0).task_config("image").steps == 35_000


def test_a_preset_of_the_suite_may_stand_anywhere_and_is_no_value():
    assert suite_arguments(["all", "--steps", "3"]) == ["suite", "--steps", "3"]
    assert suite_arguments(["--steps", "3", "suite_quick"]) == ["--steps", "3", "suite_quick"]
    assert suite_arguments(["--out", "suite"]) is None
    assert suite_arguments(["quick", "--steps", "3"]) is None
    assert suite_arguments(["--out", "nowhere", "--resume"]) is None
    for name, (_, config) in SUITE_PRESETS.items():
        assert suite_command_line([name]) == config
        assert (config.tasks == BENCHMARK) == (name != "suite-controls")


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"tasks": ()}, "got none; name one of them behind --tasks"),
        ({"tasks": ("listops", "listops")}, "got listops listops"),
        ({"scale": "lra", "tasks": ("mqar",)}, "got mqar; change --tasks or --scale"),
        ({"scale": "large"}, "got 'large'; change --scale"),
        ({"resume": True}, "got no --out"),
        ({"controls": ("canonn",)}, "did you mean 'canon'"),
        ({"seeds": (0, 0)}, "seeds are one or more different numbers"),
    ],
)
def test_contradictions_are_refused_when_the_configuration_is_made(changes, words):
    with pytest.raises(ValueError, match=words):
        dataclasses.replace(SuiteConfig(), **changes)


# The table.


def line(variant, test, gain=math.nan, p_value=math.nan):
    difference = Difference(gain, gain - 0.01, gain + 0.01)
    return Line(variant, 1, test, math.nan, 0.01, test, test, gain, math.nan, 9, 7, 1e3, 1.0, difference, difference,
                p_value)  # fmt: skip


def results(tasks, benchmark):
    return [
        TaskResult(
            task,
            f"data of {task}",
            task in benchmark,
            [line("baseline", 0.1 * i), line("after_embedding", 0.1 * i + 0.02, 0.02, 0.03)],
            {"majority": 0.05 * i, "root": 0.07 * i} if task == "listops" else {},
        )
        for i, task in enumerate(tasks, 1)
    ]


def test_published_accuracies_and_the_mean_stand_only_where_all_six_are_of_the_benchmark():
    accuracies, differences, published = tabulate_suite(results(BENCHMARK, BENCHMARK), "title")
    assert accuracies.columns == ("variant", *(f"data of {task}" for task in BENCHMARK), "mean of six")
    assert accuracies.rows[0] == (
        "baseline", "10.0 (1.0)", "20.0 (1.0)", "30.0 (1.0)", "40.0 (1.0)", "50.0 (1.0)", "60.0 (1.0)", "35.0",
    )  # fmt: skip
    assert accuracies.rows[1][-1] == "37.0"
    assert accuracies.rows[2:] == [(), ("best predictor without a model", "7.0", *[""] * 6)]
    assert differences.rows == [("after_embedding", *["+2.0 [+1.0, +3.0], p = 0.03"] * 6)]
    assert published.rows[0][:3] == ("Transformer", "36.37", "64.27")
    assert "-" in published.rows[0]
    for some in (results(BENCHMARK[:5], BENCHMARK), results(BENCHMARK, BENCHMARK[1:])):
        tables = tabulate_suite(some, "title")
        assert [table.title for table in tables] == ["title", differences.title]
        assert tables[0].columns[-1] == some[-1].title


def test_a_further_task_is_no_part_of_the_mean_and_every_row_has_all_cells():
    tables = tabulate_suite(results((*BENCHMARK, "mqar"), BENCHMARK), "title")
    assert tables[0].rows[0][-2:] == ("70.0 (1.0)", "35.0")
    for table in tables:
        assert {len(row) for row in table.rows if row} == {len(table.columns)}
        assert lay_out_table(table.columns, table.rows, None)


def test_a_variant_that_a_task_lacks_has_empty_cells_and_no_mean():
    some = results(BENCHMARK, BENCHMARK)
    some[0] = some[0]._replace(lines=some[0].lines[:1])
    accuracies, differences, _ = tabulate_suite(some, "title")
    assert accuracies.rows[1][:2] == ("after_embedding", "")
    assert accuracies.rows[1][-1] == ""
    assert differences.rows[0][1] == ""
    alone = [result._replace(lines=[line("baseline", 0.5)]) for result in some]
    titles = [table.title for table in tabulate_suite(alone, "title")]
    assert titles == ["title", "Published accuracies in %, not measured here"]


def test_a_difference_without_hits_has_no_p():
    (some,) = results(("listops",), ())
    without = line("after_embedding", 0.5, 0.02)._replace(last_difference=Difference(0.02))
    _, differences = tabulate_suite([some._replace(lines=[some.lines[0], without])], "title")
    assert differences.rows == [("after_embedding", "+2.0 [-]")]


def test_the_table_holds_the_diffusion_layer_against_the_controls_of_the_tasks_that_have_them():
    some = results(("listops", "mqar"), ())
    match = Match("after_embedding", "shift", Difference(-0.02, -0.03, -0.01), Difference(0.0), 0.04)
    some[0] = some[0]._replace(matches=[match])
    *_, matches = tabulate_suite(some, "title")
    assert matches.columns == ("pair", some[0].title)
    assert matches.rows == [("after_embedding - shift", "-2.0 [-3.0, -1.0], p = 0.04")]
