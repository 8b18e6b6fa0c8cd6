"""Official checkpoints on a miniature data set: the logits and the accuracy of the original, restated in NumPy."""

import dataclasses
import json

import numpy as np
import pytest

from experiments import run, text
from experiments.data.arrays import Split
from experiments.data.text.corpora import corpus as corpus_facts
from experiments.lra import Mesh
from experiments.text.config import Official, TextOptions
from experiments.text.official_checkpoints.evaluation import (
    check_fit,
    evaluate_checkpoint,
    load_checkpoint,
    logits_of,
)
from experiments.text.presets import QUICK
from pdeformer import sharding
from tests.experiments.text import torch_files
from tests.experiments.text.official_numpy import numpy_logits
from tests.experiments.text.text_miniatures import documents, install_documentation
from tests.pdeformer.cta.official_cta import CLASSIFIER, STATE
from tests.pdeformer.cta.test_cta_models import checkpoint

KIND = "reaction-diffusion"  # of the golden checkpoint
GOLDEN = dataclasses.replace(
    QUICK,
    batch=4,
    mesh=Mesh(data=1),
    official=Official(kinds=(KIND,), heads=4),
    text=TextOptions(tokenizer="published"),
)


def split_of(rows, labels, classes=3, symbols=50, length=40):
    tokens = np.zeros((len(rows), length), np.uint8)
    for row, ids in zip(tokens, rows, strict=True):
        row[: len(ids)] = ids
    lengths = np.array([len(ids) for ids in rows], np.int32)
    vocabulary = tuple(f"s{i}" for i in range(symbols))
    return Split(tokens, lengths, np.array(labels, np.int32), vocabulary, classes)


def random_rows(count, seed=0, longest=40, symbols=50):
    rng = np.random.default_rng(seed)
    return [rng.integers(1, symbols, rng.integers(1, longest + 1)) for _ in range(count)]


def test_the_restated_original_gives_the_golden_logits():
    lengths = CLASSIFIER["attention_mask"].sum(1)
    rows = [ids[:n] for ids, n in zip(CLASSIFIER["input_ids"], lengths, strict=True)]
    np.testing.assert_allclose(numpy_logits(STATE, rows, kind=KIND, heads=4), CLASSIFIER["logits"], atol=2e-6)


def test_the_golden_checkpoint_has_the_accuracy_of_the_original_on_a_miniature_data_set(tmp_path):
    rows = random_rows(30)
    expected = numpy_logits(STATE, rows, kind=KIND, heads=4)
    labels = np.where(np.arange(30) % 3 == 0, np.argmin(expected, 1), np.argmax(expected, 1))  # ten are wrong
    split = split_of(rows, labels)
    config = dataclasses.replace(GOLDEN, evaluate=torch_files.save(tmp_path / "model.pt", STATE))
    model = load_checkpoint(config)
    np.testing.assert_allclose(logits_of(model, split), expected, rtol=0, atol=1e-5)
    result = evaluate_checkpoint(config, model, split, sharding.make_mesh(1))
    assert result.accuracy == 20 / 30
    np.testing.assert_array_equal(result.hits, np.arange(30) % 3 > 0)
    top = expected.max(1, keepdims=True)
    nats = np.log(np.exp(expected - top).sum(1)) - (expected - top)[np.arange(30), labels]
    np.testing.assert_allclose(result.loss, nats.mean(), rtol=1e-5)


@pytest.mark.parametrize("kind", ["diffusion", "wave", "advection-diffusion", None])
def test_checkpoints_of_every_equation_have_the_logits_of_the_original(kind, tmp_path):
    state = checkpoint(kind=kind, outputs=3, baseline=kind is None, dtype=np.float32)
    rows = random_rows(7, longest=16, symbols=11)
    split = split_of(rows, np.zeros(7), symbols=11, length=16)
    np.savez(tmp_path / "model.npz", **state)
    official = Official(kinds=(kind or "none",), heads=2)
    model = load_checkpoint(dataclasses.replace(GOLDEN, official=official, evaluate=tmp_path / "model.npz"))
    expected = numpy_logits(state, rows, kind=kind, heads=2)
    np.testing.assert_allclose(logits_of(model, split), expected, rtol=0, atol=1e-5)


@pytest.fixture
def miniature(tmp_path, monkeypatch):
    """A configuration that evaluates the golden checkpoint on invented texts with a published tokenizer."""
    install_documentation(monkeypatch, classes=3)
    facts = corpus_facts.CORPORA["documentation"]._replace(classes=3)
    monkeypatch.setitem(corpus_facts.CORPORA, "documentation", facts)
    pieces = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *"qwordclas", *"0123456789"]
    pieces += [f"##{piece}" for piece in (*"ordlass", *"0123456789")]
    pieces = list(dict.fromkeys(pieces))
    pieces += [f"[unused{i}]" for i in range(50 - len(pieces))]
    (tmp_path / "manual").mkdir()
    (tmp_path / "manual" / "vocab.txt").write_text("\n".join(pieces))
    return dataclasses.replace(
        GOLDEN,
        evaluate=torch_files.save(tmp_path / "golden.pt", STATE),
        out=tmp_path / "run",
        data_dir=tmp_path / "data",
        manual_dir=tmp_path / "manual",
        text=TextOptions(tokenizer="published", train=60, val=10, test=21, max_len=40),
    )


def test_the_program_reports_the_accuracy_of_the_original(miniature, capsys):
    summary = text.main(miniature)
    splits = miniature.data()["documentation"].prepare(miniature.data_dir, manual_dir=miniature.manual_dir)
    test = splits["test"]
    rows = [row[:n].astype(int) for row, n in zip(test.tokens, test.lengths, strict=True)]
    expected = np.mean(numpy_logits(STATE, rows, kind=KIND, heads=4).argmax(1) == test.labels)
    assert summary["evaluation"]["test_accuracy"] == pytest.approx(expected)
    assert summary["evaluation"]["test_examples"] == 21 == len(documents(21))
    assert summary["floors"]["documentation"].keys() == {"majority class", "bag of words"}
    assert f"{100 * expected:.2f}" in capsys.readouterr().out
    assert json.loads((miniature.out / "summary.json").read_text()) == summary


def test_a_checkpoint_of_other_texts_is_refused(miniature):
    with pytest.raises(ValueError, match=r"got trained word pieces; put its tokenizer\.json or vocab\.txt"):
        dataclasses.replace(miniature, text=dataclasses.replace(miniature.text, tokenizer="trained"))
    with (miniature.manual_dir / "vocab.txt").open("a") as file:
        file.write("\nmore")
    with pytest.raises(ValueError, match=r"got 51 symbols for its 50 embeddings; put its tokenizer\.json"):
        text.main(miniature)
    assert not miniature.out.exists()
    model = load_checkpoint(miniature)
    with pytest.raises(ValueError, match="got 2 classes for its 3 outputs"):
        check_fit(model, split_of(random_rows(2), [0, 1], classes=2))
    with pytest.raises(ValueError, match="got 41 tokens for 40"):
        check_fit(model, split_of(random_rows(2), [0, 1], length=41))


def test_a_checkpoint_of_another_equation_or_of_a_language_model_is_refused(miniature, tmp_path):
    other = dataclasses.replace(miniature, official=Official(kinds=("diffusion",), heads=4))
    with pytest.raises(ValueError, match="must be an official classifier, got: .*--official.kinds"):
        load_checkpoint(other)
    with pytest.raises(ValueError, match="a checkpoint has one equation, got diffusion wave"):
        dataclasses.replace(miniature, official=Official(kinds=("diffusion", "wave")))
    with pytest.raises(FileNotFoundError, match="which is no file"):
        text.main(dataclasses.replace(miniature, evaluate=tmp_path / "none.pt"))


def test_an_evaluation_is_resumed_as_any_run(miniature):
    first = text.main(miniature)
    assert text.main(dataclasses.replace(miniature, resume=True))["evaluation"] == first["evaluation"]
    with pytest.raises(FileExistsError):
        text.main(miniature)
    assert run.read_json(miniature.out / "summary.json", "")["evaluation"] == first["evaluation"]
