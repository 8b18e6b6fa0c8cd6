"""Each model is asked in its own prompt style, and the run says in which."""

import dataclasses
import re
from pathlib import Path

import numpy as np
import pytest

from experiments import pid_llava
from experiments.pid_llava import presets, program, report
from experiments.pid_llava.config import CaptureOptions
from experiments.pid_llava.stages import questions
from pid.llava import TokenType
from pid.llava.preprocessing.prompts import STYLES
from tests.helpers import toy_llava
from tests.helpers.folders import gqa_folder
from tests.llava.preprocessing.model_folders import config_fields, save_folder


@pytest.fixture(scope="module")
def models(tmp_path_factory) -> tuple[Path, Path]:
    """A Vicuna and a Mistral, without weights."""
    parent = tmp_path_factory.mktemp("models")
    vicuna, mistral = parent / "vicuna", parent / "mistral"
    for folder, text_model in ((vicuna, "llama"), (mistral, "mistral")):
        folder.mkdir()
        save_folder(folder, config=config_fields(text_model=text_model))
    return vicuna, mistral


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> Path:
    """A small download of GQA."""
    return gqa_folder.write(tmp_path_factory.mktemp("download"))


def study(models, data, **capture):
    options = dataclasses.replace(presets.GQA.capture, **capture)
    return program.ModelStudy(dataclasses.replace(presets.GQA, model=models, data=data, capture=options))


def test_two_models_of_one_run_are_asked_each_in_its_style(models, data):
    ours = study(models, data)
    prompts = {name: model.prompt for name, model in ours.models.items()}
    assert {name: prompt["style"] for name, prompt in prompts.items()} == {
        "vicuna": "vicuna_v1",
        "mistral": "mistral",
    }
    assert ours.title.endswith(
        "in GQA; prompt styles vicuna: vicuna_v1 (text model), mistral: mistral (text model)"
    )
    rows = report.prompt_table(ours.models.values()).rows
    assert [row[:2] for row in rows] == [("vicuna", "vicuna_v1"), ("mistral", "mistral")]
    assert rows[1][2] == repr("[INST] <image>\n{question} [/INST]")


def test_style_of_another_model_is_refused_before_a_run_folder_exists(models, data, tmp_path):
    capture = CaptureOptions(style="vicuna_v1")
    config = dataclasses.replace(presets.GQA, model=models, data=data, capture=capture, out=tmp_path / "run")
    with pytest.raises(ValueError, match="got vicuna_v1 for one of the family mistral by its text model"):
        pid_llava.main(config)
    assert not (tmp_path / "run").exists()


def test_text_of_a_style_forces_it_and_is_said(models, data):
    ours = study(models, data, style=STYLES["vicuna_v1"])
    assert {model.prompt["source"] for model in ours.models.values()} == {"option"}
    assert "mistral: vicuna_v1 (option)" in ours.title


def test_vicuna_encodes_and_is_cached_as_with_the_former_default(models, data):
    auto, former = (study(models[:1], data, **options) for options in ({}, {"style": "vicuna_v1"}))
    (ours,), (expected,) = auto.models.values(), former.models.values()
    assert ours.encoding_fingerprint == expected.encoding_fingerprint
    assert ours.processor.style == STYLES["vicuna_v1"]
    other = study(models[:1], data, style="hf_15").models["vicuna"]
    assert other.encoding_fingerprint != ours.encoding_fingerprint


def test_gqa_question_with_a_damaged_image_is_named(models, data, tmp_path):
    download = gqa_folder.write(tmp_path)
    for image in (download / "images").iterdir():
        image.write_bytes(image.read_bytes()[:300])
    config = toy_llava.tiny(Path("none"), cache=tmp_path / "kept", data=download, tasks=("QueryAttr",))
    (task,) = questions.make_questions(config)
    processor = study(models[:1], data).models["vicuna"].processor
    with pytest.raises(
        ValueError, match=re.compile(r"sample '\d+': an image is a file that PIL reads whole")
    ):
        list(task.rows(processor))


def test_gqa_questions_have_one_question_and_one_last_token(models, data, tmp_path):
    config = toy_llava.tiny(Path("none"), cache=tmp_path / "kept", data=data)
    processor = study(models[1:], data).models["mistral"].processor
    for row in questions.make_questions(config)[0].rows(processor):
        assert processor.tokenizer.decode(row.ids).endswith("[/INST]")
        assert np.count_nonzero(row.types == TokenType.LAST) == 1
