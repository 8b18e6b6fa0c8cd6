"""Lists of names: every program refuses an unknown, a repeated or a missing name in the same words."""

import dataclasses
import re

import pytest

from experiments import lm, lra, placement, run, text
from experiments.lm.long import LONG_PRESETS
from experiments.lra.suite import SuiteConfig, suite_command_line

FRUITS = ("none", "apple", "pear")
CONFIGS = {
    "lra": (lra.PRESETS["quick"][1], ("placement", "controls")),
    "suite": (SuiteConfig(), ("tasks", "controls", "placement")),
    "placement": (placement.PRESETS["quick"][1], ("tasks", "places", "layers", "controls", "narrow")),
    "text": (text.PRESETS["quick"][1], ("corpora", "equations", "targets", "placement")),
    "lm": (lm.PRESETS["quick"][1], ("equations", "placement", "controls")),
    "long": (LONG_PRESETS["long-quick"][1], ("variants",)),
}
COMMAND_LINES = {
    "lra": lra.command_line,
    "suite": suite_command_line,
    "placement": placement.command_line,
    "lm": lm.command_line,
}
OPTIONS = [(name, option) for name, (_, options) in CONFIGS.items() for option in options]
MAY_BE_EMPTY = {("placement", "controls"), ("placement", "narrow"), ("lm", "controls")}
MAY_BE_EMPTY |= {(name, option) for name in ("lra", "suite") for option in ("placement", "controls")}


@pytest.mark.parametrize(
    ("names", "sentence"),
    [
        (
            ("aple",),
            "--fruits has values among none, apple, pear, got 'aple'; did you mean 'apple'?",
        ),
        (("zzz",), "--fruits has values among none, apple, pear, got 'zzz'; choose among them."),
        (
            ("pear", "apple", "pear"),
            "values of --fruits are different, got pear apple pear; drop the repeated ones.",
        ),
        (
            ("apple", "none"),
            "of the values of --fruits none stands alone, got apple none; drop none, or the others.",
        ),
        (
            (),
            "--fruits needs one or more of none, apple, pear, got none; name one of them behind --fruits.",
        ),
    ],
)
def test_a_wrong_list_is_refused_with_rule_value_and_remedy(names, sentence):
    with pytest.raises(ValueError, match=f"^{re.escape(sentence)}$"):
        run.check_names("fruits", names, FRUITS)


def test_right_lists_pass():
    for names in (("none",), ("apple",), ("pear", "apple")):
        run.check_names("fruits", names, FRUITS)
    run.check_names("fruits", (), FRUITS, may_be_empty=True)
    run.check_names("windows", ("4", "8"))
    with pytest.raises(ValueError, match="values of --windows are different, got 4 4; drop"):
        run.check_names("windows", ("4", "4"))


@pytest.mark.parametrize(
    ("program", "option"),
    [
        *(
            ("lra", "controls"),
            ("lra", "windows"),
            ("suite", "controls"),
            ("lm", "controls"),
            ("lm", "windows"),
        ),
        *(("placement", "controls"), ("placement", "narrow")),
    ],
)
def test_the_word_none_empties_a_list_that_may_be_empty(program, option):
    line, name = COMMAND_LINES[program], f"--{option}"
    assert getattr(line.read([name, "none"]), option) == ()
    assert "none: without any." in re.sub(r"\s+", " ", line.help(line.default).split(f"\n  {name} ")[1])
    with pytest.raises(ValueError, match=f"{name} takes none, or one or more .*, got none; write"):
        line.read([name])
    with pytest.raises(ValueError, match=f"{name} takes none, or one or more .*, got 'none'"):
        line.read([name, "none", "4" if option == "windows" else "listops"])


@pytest.mark.parametrize(("program", "option"), OPTIONS)
def test_all_programs_refuse_wrong_names_in_these_words(program, option):
    config, _ = CONFIGS[program]
    values = (
        tuple(name for name in getattr(config, option) if name != "none")
        or {
            "narrow": ("listops",),
            "controls": ("canon",),
            "placement": ("before_ffn",),
        }[option]
    )
    changed = {
        ("zzz",): f"--{option} has values among .*, got 'zzz'; choose among them",
        (values[0], values[0]): f"values of --{option} are different, got {values[0]} {values[0]}; drop",
    }
    if (program, option) not in MAY_BE_EMPTY:
        changed[()] = f"--{option} needs one or more of .*, got none; name one"
    for names, words in changed.items():
        with pytest.raises(ValueError, match=words):
            dataclasses.replace(config, **{option: names})
