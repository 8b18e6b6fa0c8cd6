"""Usual spellings mean the same as ours: names and values of other programs, dashes, commas, places of words."""

import pytest

from experiments import bench, claims, lm, lra, pid_gaussian, pid_llava
from experiments.data import inventory
from experiments.pid_llava.toy import toy_training

SAME = [
    ("--lr 0.1", "--optimizer.learning-rate 0.1"),
    ("--learning-rate 0.1", "--optimizer.learning-rate 0.1"),
    ("--learning_rate=0.1", "--optimizer.learning-rate 0.1"),
    ("--optimizer.lr 0.1", "--optimizer.learning-rate 0.1"),
    ("--batch-size 8", "--batch 8"),
    ("--batch_size=8", "--batch 8"),
    ("--seed 1", "--seeds 1"),
    ("--seeds 0,1,2", "--seeds 0 1 2"),
    ("--seeds=0,1,2", "--seeds 0 1 2"),
    ("--seeds [0,1]", "--seeds 0 1"),
    ("--dtype bf16", "--dtype bfloat16"),
    ("--dtype fp32", "--dtype float32"),
    ("--dtype BFloat16", "--dtype bfloat16"),
    ("--bf16", "--dtype bfloat16"),
    ("--precision bf16", "--dtype bfloat16"),
    ("--output-dir r", "--out r"),
    ("--output_dir r", "--out r"),
    ("--logdir r", "--out r"),
    ("-o r", "--out r"),
    ("--OUT r", "--out r"),
    ("--max_len 100", "--model.max-len 100"),
    ("--n-layers 3", "--model.layers 3"),
    ("--num_layers 3", "--model.layers 3"),
    ("--d-model 32", "--model.width 32"),
    ("--warmup-steps 9", "--optimizer.warmup 9"),
    ("--weight_decay 0.3", "--optimizer.weight-decay 0.3"),
    ("--wd 0.3", "--optimizer.weight-decay 0.3"),
    ("--max-grad-norm 2", "--optimizer.clip 2"),
    ("--gradient-accumulation-steps 4", "--optimizer.accumulate 4"),
    ("--dropout 0.3", "--model.dropout 0.3"),
    ("--eval-steps 9", "--cadence.eval-every 9"),
    ("--steps 1e3", "--steps 1000"),
    ("--steps 1_000", "--steps 1000"),
    ("-steps 7", "--steps 7"),
    ("--placement=before_ffn,after-ffn", "--placement before_ffn after_ffn"),
    ("--schedule Linear", "--optimizer.schedule linear"),
    ("--stencil.no-learned", "--no-stencil.learned"),
    ("--combine true", "--combine"),
    ("--combine=false", "--no-combine"),
    ("--steps 9 listops-lra", "listops-lra --steps 9"),
    ("--steps 9 listops_lra", "listops-lra --steps 9"),
    ("--steps 9 --steps 9", "--steps 9"),
    ("--model.head-width none", ""),
    (
        "--attention.kind advection_diffusion --attention.beta -3e-2",
        "--attention.kind advection-diffusion --attention.beta -0.03",
    ),
]


@pytest.mark.parametrize(("words", "ours"), SAME)
def test_a_usual_spelling_means_the_same(words, ours):
    assert lra.command_line(words.split()) == lra.command_line(ours.split())


def test_an_option_under_another_name_is_said_on_one_line(capsys):
    lra.command_line(["--lr", "0.1", "--bf16", "--steps", "3"])
    lines = capsys.readouterr().err.splitlines()
    assert lines == ["--lr is read as --optimizer.learning-rate.", "--bf16 is read as --dtype."]


def test_the_other_programs_take_them_too():
    assert claims.command_line(["--seed", "3"]).seeds == (3,)
    assert claims.command_line(["--only", "decay,entropy"]).only == ("decay", "entropy")
    assert str(pid_gaussian.command_line(["--output_dir", "r"]).out) == "r"
    assert pid_gaussian.command_line(["--names=a,b"]).names == ("a", "b")
    assert pid_llava.command_line(["--seeds", "3"]).seed == 3
    assert pid_llava.command_line(["--batch-size", "4", "--bf16"]).capture.batch == 4
    assert toy_training.command_line(["--lr", "0.1"]).optimizer.learning_rate == 0.1
    assert bench.command_line(["--lengths", "512,1024"]).lengths == (512, 1024)
    language = lm.command_line(["--equations=wave,advection_diffusion", "--lr", "0.1", "--pde-steps", "1,2"])
    assert (language.equations, language.pde_steps) == (("wave", "advection-diffusion"), (1, 2))
    assert language.optimizer.learning_rate == 0.1


@pytest.mark.parametrize(
    "words",
    [
        "show mqar-64 listops",
        "show --names mqar-64 listops",
        "--count 9 show mqar_64,listops",
    ],
)
def test_words_behind_a_command_are_its_names(words):
    assert inventory.command_line(words.split()) == inventory.Config("show", names=("mqar-64", "listops"))


def test_several_paths_are_words_and_commas_belong_to_them():
    config = pid_llava.command_line(["--model", "a,b", "c"])
    assert [str(path) for path in config.model] == ["a,b", "c"]


def test_none_is_the_word_for_an_unset_option_and_a_name_where_it_is_a_choice():
    config = lra.command_line(
        ["--attention.kind", "wave", "--attention.renormalize", "none", "--out", "none"]
    )
    assert config.attention.renormalize == "none"
    assert str(config.out) == "none"
    assert lra.command_line(["--attention.window", "None"]).attention.window is None
