"""The artifact of padding: the switch shows the published pattern without any PDE effect, the honest runs do not."""

import dataclasses
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from experiments import lm, run
from experiments.lm import cells, padding, program
from experiments.lm.padding import padded_report, padded_training
from experiments.lm.padding.padded_training import PaddedScores
from pdeformer import cta, sharding
from tests.experiments.lm.small_text import DOCUMENTS, TINY, small_manual

LENGTHS = (32, 128)
PADDED = dataclasses.replace(
    TINY,
    lengths=LENGTHS,
    steps=2,
    equations=("none",),
    official_padding=True,
    padding=lm.Padding(steps=50, batch=8, lines=200, test_lines=20, peak_rate=3e-3),
    model=lm.Network(layers=1, width=16, heads=2, ffn=16, dropout=0.0, attention_dropout=0.0),
    cadence=run.LoopIntervals(log_every=10, eval_every=50, checkpoint_every=50),
)


@pytest.fixture(scope="module", autouse=True)
def tiny_text():
    with small_manual():
        yield


@pytest.fixture(scope="module")
def padded(tmp_path_factory):
    """(configuration, summary) of a run with the switch."""
    folder = tmp_path_factory.mktemp("padded")
    config = dataclasses.replace(PADDED, out=folder / "run", data_dir=folder / "data")
    return config, lm.main(config)


def patterns(summary):
    fields = padded_report.Pattern._fields
    return [padded_report.Pattern(**{name: row[name] for name in fields}) for row in summary["padding"]]


def test_the_switch_reproduces_the_published_pattern(padded):
    rows = patterns(padded[1])
    assert [row.length for row in rows] == list(LENGTHS)
    assert padded_report.is_published_pattern(rows)
    assert rows[0].baseline < rows[1].baseline
    assert rows[0].pde > rows[1].pde
    assert rows[1].gain > 0.9
    assert rows[1].gain_of_the_path > 0.9  # equal weights: no PDE effect
    assert rows[0].pad_share < rows[1].pad_share


def test_the_honest_numbers_do_not(padded):
    config, summary = padded
    rows = patterns(summary)
    honest = [
        row._replace(baseline=row.honest_baseline, pde=row.honest_pde, same_weights=row.honest_baseline)
        for row in rows
    ]
    assert not padded_report.is_published_pattern(honest)
    assert all(abs(row.honest_gain) < 0.5 for row in rows)
    names = {cell.length: cell for cell in cells.cells(config)}
    assert set(names) == set(LENGTHS)
    causal = {row["variant"]: row["token_perplexity"] for row in summary["rows"]}
    for length in LENGTHS:
        gain = 1 - causal[f"shift_T{length}"] / causal[f"baseline_T{length}"]
        assert abs(gain) < 0.5


def test_the_run_prints_both(padded, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")  # the table on whole lines
    config, summary = padded
    assert lm.main(dataclasses.replace(config, resume=True)) == summary
    text = capsys.readouterr().out
    assert "The artifact of padding, perplexity per token" in text
    header = text[text.index("The artifact of padding") :].splitlines()[1]
    assert header.split("causal: baseline")[1].split() == ["shift", "gain"]  # no causal PDE was trained
    assert "the published pattern, without any effect of the PDE: with PAD counted" in text
    assert (config.out / "padding.png").exists()


def test_an_end_between_a_training_and_its_scores_costs_nothing(padded, monkeypatch):
    config, summary = padded
    path = config.out / "rows" / "official_baseline_T32%20scores-0.json"
    content = path.read_bytes()
    path.unlink()
    monkeypatch.setattr(padded_training, "training_batch", lambda *_, **__: 1 / 0)  # no step may be made
    assert lm.main(dataclasses.replace(config, resume=True)) == summary
    assert path.read_bytes() == content


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ('{"counted": 1.0}', "a difference in pad_share, real, zeroed; delete it"),
        (
            '{"counted": "x", "zeroed": 1.0, "real": 1.0, "pad_share": 0.5}',
            "got counted='x'; delete it",
        ),
    ],
)
def test_damaged_scores_are_refused(padded, content, words):
    config, _ = padded
    path = config.out / "rows" / "official_baseline_T32%20scores-0.json"
    before = path.read_bytes()
    path.write_text(content)
    with pytest.raises(ValueError, match=words):
        lm.main(dataclasses.replace(config, resume=True))
    path.write_bytes(before)


def test_blocks_of_the_honest_run_have_no_padding_and_every_target_counts(padded):
    config, _ = padded
    for length in LENGTHS:
        train = program.prepare(config, length)["train"]
        stream = b"".join(
            document + b"\0" for document in config.text.documents(config.data_dir, None)["train"].read()
        )
        targets = np.asarray(train.tokens)[:, 1:].ravel()
        assert (
            bytes(targets.tolist()) == stream[1 : 1 + len(targets)]
        )  # nothing between the bytes of the text


def test_lines_are_padded_or_cut_and_not_empty(padded):
    config, _ = padded
    corpus = dataclasses.replace(config.text, max_len=12)
    lines = padding.read_lines(corpus, train=7, test=3, data_dir=config.data_dir, manual_dir=None)
    assert lines.pad == 0
    text = [
        line
        for document in corpus.documents(config.data_dir, None)["train"].read()
        for line in document.split(b"\n")
        if line.strip()
    ][:7]
    rows = [bytes(row.tolist()) for row in lines.splits["train"].tokens]
    assert rows == [line[:12].ljust(12, b"\0") for line in text]
    assert lines.splits["train"].lengths.tolist() == [min(len(line), 12) for line in text]
    assert any(b"\0" in row for row in rows)
    assert len(DOCUMENTS) == 20


def slow_scores(model, tokens, pad, *, zeroed):
    """Nats of every target, one line after another."""
    nats = np.zeros((len(tokens), tokens.shape[1] - 1))
    for row, ids in enumerate(tokens):
        mask = jnp.asarray(ids != pad)[None]
        states = model.hidden_states(jnp.asarray(ids)[None].astype(jnp.int32), mask, None)[0]
        for t in range(len(ids) - 1):
            state = jnp.zeros_like(states[t]) if zeroed and ids[t] == pad else states[t]
            logits = state @ model.fc["weight"][...].T + model.fc["bias"][...]
            nats[row, t] = -jax.nn.log_softmax(logits)[ids[t + 1]]
    return nats


def test_scores_of_both_paths_are_those_of_single_tokens():
    weights = cta.init_weights(
        jax.random.key(0), vocabulary=9, outputs=9, length=6, width=8, ffn=8, layers=1, kind="diffusion"
    )
    model = cta.OfficialLM(weights, kind="diffusion", heads=2, causal=False)
    tokens = np.array([[3, 4, 5, 0, 0, 0], [8, 1, 1, 2, 6, 7]], np.uint8)
    split = lm_split(tokens)
    graphdef, state = nnx.split(model)
    scores = padded_training.measure_padded(
        graphdef, nnx.to_pure_dict(state), split, 0, sharding.make_mesh(1)
    )
    counted, zeroed = (slow_scores(model, tokens, 0, zeroed=zeroed) for zeroed in (False, True))
    is_real = tokens[:, 1:] != 0
    assert scores.counted == pytest.approx(counted.mean(), rel=1e-5)
    assert scores.zeroed == pytest.approx(zeroed.mean(), rel=1e-5)
    assert scores.real == pytest.approx(counted[is_real].mean(), rel=1e-5)
    assert scores.real == pytest.approx(zeroed[is_real].mean(), rel=1e-5)
    assert scores.pad_share == 3 / 10
    assert scores.counted != pytest.approx(scores.real, rel=1e-3)


def lm_split(tokens):
    from experiments.data import arrays

    lengths = np.full(len(tokens), tokens.shape[1], np.int32)
    return arrays.Split(tokens, lengths, np.zeros((len(tokens), 2), np.int32), ("<end>",), 0)


def test_the_loss_counts_pad_as_the_first_public_code_does():
    weights = cta.init_weights(jax.random.key(0), vocabulary=9, outputs=9, length=6, width=8, ffn=8, layers=1)
    model = cta.OfficialLM(weights, kind=None, heads=2, causal=False)
    tokens = np.array([[3, 4, 5, 0, 0, 0]], np.uint8)
    sums = padded_training.padded_loss(0)(model, {"tokens": tokens, "weights": np.ones(1, np.float32)}, None)
    assert float(sums.loss) == pytest.approx(slow_scores(model, tokens, 0, zeroed=False).mean(), rel=1e-5)


def test_the_initial_weights_are_those_of_the_official_code():
    network = lm.Network(layers=3, width=8, heads=2, ffn=8)
    baseline, pde = (
        padded_training.builder(network, name, 9, 6, 1)(nnx.Rngs(0)) for name in padded_training.KINDS
    )
    kernels = [np.asarray(model.layers["linear1.weight"][...]) for model in (baseline, pde)]
    assert np.array_equal(kernels[0][0], kernels[0][2])  # copies of one layer
    assert not np.array_equal(kernels[1][0], kernels[1][2])
    assert (baseline.kind, pde.kind, baseline.causal, pde.causal) == (None, "diffusion", False, False)


def test_a_pattern_is_that_of_the_means():
    scores = [(PaddedScores(0.5, 2.0, 3.0, 0.8), PaddedScores(0.4, 0.4, 2.5, 0.8))] * 2
    (row,) = padding.pattern({64: scores})
    assert row.baseline == pytest.approx(math.exp(2.0))
    assert row.pde == pytest.approx(math.exp(0.4))
    assert row.gain == pytest.approx(1 - math.exp(-1.6))
    assert row.gain_of_the_path == pytest.approx(1 - math.exp(-1.5))
    assert row.honest_gain == pytest.approx(1 - math.exp(-0.5))
    assert not padded_report.is_published_pattern([row])
    assert "the published pattern is not there" in padding.conclusion([row])
