"""Presets of `python -m experiments.lra`: every task with every published configuration, and how they are named."""

import pytest

from experiments import lra
from experiments.lra.benchmark_tasks import BENCHMARK, TASKS
from experiments.lra.presets import CONFIGURATIONS, SUITES, preset_first
from experiments.lra.published import MODELS, PUBLISHED
from experiments.lra.requirements import LARGEST_VOCABULARY

# Layers, width, heads, width of all heads, ffn, batch, steps, learning rate, schedule, warm-up, weight decay, dropout,
# attention dropout, pooling, positions.
LRA = {
    "listops": (4, 512, 8, 512, 1024, 32, 5000, 0.05, "rsqrt", 1000, 0.1, 0.1, 0.1, "cls", "sinusoidal"),
    "text": (4, 256, 4, 256, 1024, 32, 20_000, 0.05, "rsqrt", 8000, 0.1, 0.1, 0.1, "cls", "sinusoidal"),
    "retrieval": (4, 128, 4, 128, 512, 32, 5000, 0.05, "rsqrt", 8000, 0.1, 0.1, 0.1, "cls", "sinusoidal"),
    "image": (1, 128, 8, 64, 128, 256, 35_000, 5e-4, "cosine", 175, 0.0, 0.3, 0.2, "cls", "learned"),
    "pathfinder": (4, 32, 4, 16, 32, 512, 62_400, 1e-3, "cosine", 312, 0.0, 0.2, 0.1, "mean", "sinusoidal"),
    "pathx": (1, 32, 2, 16, 32, 64, 500_000, 1e-3, "cosine", 2500, 0.0, 0.1, 0.1, "mean", "learned"),
}
TWO_LAYER = {
    task: (2, 64, 2, 64, 128, batch, steps, 1e-4, "linear", warmup, 0.0, 0.1, 0.1, "mean", "learned")
    for task, batch, steps, warmup in (
        ("listops", 32, 5000, 1000),
        ("text", 32, 20_000, 8000),
        ("retrieval", 32, 30_000, 800),
        ("image", 256, 35_000, 175),
        ("pathfinder", 256, 62_400, 312),
        ("pathx", 256, 62_400, 312),
    )
}
AMOS = {  # layers, width, heads, ffn, batch, steps, learning rate
    "listops": (6, 512, 8, 4 * 512, 32, 5000, 0.05),
    "text": (6, 512, 8, 4 * 512, 32, 20_000, 0.05),
    "retrieval": (4, 128, 4, 4 * 128, 32, 30_000, 0.05),
    "image": (3, 64, 4, 2 * 64, 50, 200 * 45_000 // 50, 1e-3),
    "pathfinder": (4, 128, 8, 128, 32, 200 * 160_000 // 32, 5e-4),
    "pathx": (4, 128, 4, 128, 32, 200 * 160_000 // 32, 5e-4),
}
LENGTHS = {
    "listops": 2000,
    "text": 4000,
    "retrieval": 4000,
    "image": 32**2,
    "pathfinder": 32**2,
    "pathx": 128**2,
}
TRAIN = {
    "listops": 96_000,
    "text": 22_500,
    "retrieval": 147_086,
    "image": 45_000,
    "pathfinder": 160_000,
    "pathx": 160_000,
}
PRESETS = [
    pytest.param(task, name, id=f"{task}-{name}") for name, tasks in CONFIGURATIONS.items() for task in tasks
]
PUBLISHED_PRESETS = [
    pytest.param(task, name, id=f"{task}-{name}") for name in ("lra", "two-layer", "amos") for task in TASKS
    if task in BENCHMARK
]  # fmt: skip


def numbers(config):
    net, opt = config.model, config.optimizer
    sizes = (net.layers, net.width, net.heads, net.query_width, net.ffn, config.batch, config.steps)
    rates = (
        opt.learning_rate,
        opt.schedule,
        opt.warmup,
        opt.weight_decay,
        net.dropout,
        net.attention_dropout,
    )
    return (*sizes, *rates, net.pooling, net.positions)


@pytest.mark.parametrize("task", BENCHMARK)
def test_the_configurations_have_the_numbers_of_the_papers(task):
    first, second, third = (CONFIGURATIONS[name][task] for name in ("lra", "two-layer", "amos"))
    assert numbers(first) == LRA[task]
    assert numbers(second) == TWO_LAYER[task]
    layers, width, heads, _, ffn, batch, steps, rate, *_, positions = numbers(third)
    assert (layers, width, heads, ffn, batch, steps, rate) == AMOS[task]
    assert positions == "rotary"
    assert third.model.mixer == ("windowed" if task == "pathx" else "attention")
    assert third.model.window == (4096 if task == "pathx" else None)
    assert (first.optimizer.b2, first.optimizer.eps) == (0.98, 1e-9)
    assert (first.model.attention_bias, second.model.attention_bias) == (False, True)
    assert first.optimizer.clip == (1.0 if task == "pathx" else 0.0)


@pytest.mark.parametrize(("task", "name"), PUBLISHED_PRESETS)
def test_a_published_configuration_reads_the_whole_data_of_the_benchmark(task, name):
    config = CONFIGURATIONS[name][task]
    assert config.data().max_len == config.model.max_len == LENGTHS[task]
    assert config.data().sizes()["train"] == TRAIN[task]
    assert not config.data().is_stand_in
    assert (config.task, config.placement, config.controls) == (task, ("after_embedding",), ())


@pytest.mark.parametrize(("task", "name"), PRESETS)
def test_every_preset_has_a_model_for_each_of_its_variants(task, name):
    config = CONFIGURATIONS[name][task]
    variants = config.variants()
    assert list(variants) == ["baseline", "after_embedding"]
    for components in variants.values():
        network = config.network(components, LARGEST_VOCABULARY, 10)
        assert (network.norm, network.activation, network.placements) == ("pre", "gelu", components)
    assert config.batch % config.optimizer.accumulate == 0
    assert config.batch <= config.data().sizes()["train"]


@pytest.mark.parametrize(("task", "name"), PRESETS)
def test_task_and_configuration_are_another_way_to_write_a_preset(task, name):
    config = CONFIGURATIONS[name][task]
    assert lra.PRESETS[config.preset][1] == config
    assert preset_first(["--task", task, "--configuration", name]) == [config.preset]
    words = ["--steps", "7", f"--configuration={name.replace('-', '_')}", "--seeds", "1", f"--task={task}"]
    assert preset_first(words) == [config.preset, "--steps", "7", "--seeds", "1"]


def test_a_command_line_may_have_only_one_of_both():
    assert lra.command_line(["--task", "text"]) == CONFIGURATIONS["lra"]["text"]
    assert lra.command_line(["--task", "mqar"]) == CONFIGURATIONS["quick"]["mqar"]
    assert lra.command_line(["--configuration", "amos"]) == CONFIGURATIONS["amos"]["listops"]
    assert lra.command_line(["--steps", "7", "--task", "mqar"]).steps == 7
    assert preset_first(["listops-lra", "--steps", "7"]) == ["listops-lra", "--steps", "7"]


def test_help_names_every_preset_task_configuration_and_suite():
    words = lra.command_line.help("quick").replace(",", " ").split()
    assert {*lra.PRESETS, *SUITES} <= set(words)
    assert {"|".join(TASKS), "|".join(CONFIGURATIONS)} <= set(words)


def test_published_accuracies_are_those_of_the_papers():
    accuracies = {model.name: model.accuracies for model in MODELS}
    assert accuracies["Transformer"] == (36.37, 64.27, 57.46, 42.44, 71.40, None)
    assert accuracies["S4"] == (59.60, 86.82, 90.90, 88.65, 94.20, 96.35)
    assert PUBLISHED["two-layer"] == dict(zip(BENCHMARK, (37.10, 65.02, 79.35, 38.20, 74.16), strict=False))
    assert PUBLISHED["amos"] == dict(zip(BENCHMARK, (47.9, 79.1, 82.3, 75.0, 76.6, 84.7), strict=True))
    assert "(published 64.27 %)" in lra.PRESETS["text-lra"][0]
    assert "published" not in lra.PRESETS["pathx-two-layer"][0]


def test_miniatures_say_what_they_stand_in_for():
    stand_ins = {task: config.data().is_stand_in for task, config in CONFIGURATIONS["quick"].items()}
    assert [task for task, value in stand_ins.items() if value] == [
        "text", "retrieval", "image", "pathfinder", "pathx",
    ]  # fmt: skip
    for task in ("text", "retrieval", "image"):
        assert "stand-in" in lra.PRESETS[f"{task}-quick"][0]
