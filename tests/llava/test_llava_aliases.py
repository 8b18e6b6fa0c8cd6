"""Old names of `pid.llava` work for one release: each resolves to the new name with a DeprecationWarning."""

import dataclasses
import re
from typing import Any

import numpy as np
import pytest

from pid import llava
from pid.llava.activations.shard_writer import ShardWriter
from pid.llava.config import TEXT_FIELDS, VISION_FIELDS, config_fields_on_disk
from pid.llava.model.language_model import FORMER_NORMALIZED, Output
from tests.helpers.tiny_llava import CONFIG


@pytest.mark.parametrize(("old", "new"), llava.RENAMED.items())
def test_old_name_is_the_new_one_and_warns(old, new):
    with pytest.warns(DeprecationWarning, match=f"pid.llava.{old} is now called pid.llava.{new}"):
        assert getattr(llava, old) is getattr(llava, new)
    assert new in llava.__all__
    assert old not in llava.__all__


def test_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match=re.escape("pid.llava has no attribute 'nothing'")):
        _ = llava.nothing  # pyright: ignore[reportAttributeAccessIssue]


@pytest.mark.parametrize(
    ("config", "renamed"),
    [(CONFIG.text, TEXT_FIELDS), (CONFIG.vision, VISION_FIELDS)],
    ids=["text", "vision"],
)
def test_old_fields_of_configurations_are_read_and_accepted(config, renamed):
    fields = dataclasses.asdict(config)
    for old, new in renamed.items():
        with pytest.warns(DeprecationWarning, match=f"{old} is now called {new}"):
            assert getattr(config, old) == fields[new]
        with pytest.warns(DeprecationWarning, match=rf"\({old}=...\) is now called {new}="):
            assert dataclasses.replace(config, **{old: fields[new]}) == config
    new = {new: old for old, new in renamed.items()}
    with pytest.warns(DeprecationWarning, match="is now called"):
        assert type(config)(**{new.get(name, name): value for name, value in fields.items()}) == config


def test_stores_have_the_old_field_names_on_disk():
    on_disk = config_fields_on_disk(CONFIG)
    assert list(on_disk) == ["vision", "text", "image_token", "pinpoints"]
    assert {*TEXT_FIELDS} == {*on_disk["text"]}
    assert {*VISION_FIELDS} <= {*on_disk["vision"]}
    assert (on_disk["text"]["layers"], on_disk["text"]["width"]) == (3, 16)


def test_old_fields_of_results_are_read():
    inputs = llava.prepare(CONFIG, [[1, 2, 3]], None)
    nothing: Any = None
    output = Output(nothing, np.ones(1), nothing, nothing)
    for result, old, new in (
        (inputs, "rows", "feature_rows"),
        (inputs, "block", "knockout_mask"),
        (output, FORMER_NORMALIZED, "normalized"),
    ):
        with pytest.warns(DeprecationWarning, match=f"{old} is now called {new}"):
            assert getattr(result, old) is getattr(result, new)


def test_states_are_read_by_the_old_spelling_of_the_argument(tmp_path):
    config = {"model": {"text": {"layers": 1, "width": 2}}, "conditions": {"baseline": []}}
    config |= {"states": ["baseline"], "groups": [2]}
    writer = ShardWriter(tmp_path, config)
    arrays = {
        f"{kind}/baseline/2": np.full((2, 1, 2), value)
        for value, kind in ((1, "residual"), (2, FORMER_NORMALIZED))
    }
    writer.save((0,), ("a",), arrays)
    store = llava.Store.open(tmp_path)
    assert np.asarray(store.states("baseline", 2, normalized=True)).max() == 2
    with pytest.warns(DeprecationWarning, match="is now called normalized"):
        assert np.asarray(store.states("baseline", 2, **{FORMER_NORMALIZED: True})).max() == 2
    with pytest.raises(TypeError, match="unexpected keyword argument 'normal'"):
        store.states("baseline", 2, **{"normal": True})
