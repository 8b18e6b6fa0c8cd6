"""A finished run takes more seeds and variants: trained beside the old ones, as if they had been asked for at once."""

import dataclasses
import json

import numpy as np
import pytest

from experiments import lra, run
from experiments.lra.extension import extend
from experiments.lra.learned import learned_stencils
from experiments.lra.presets import CONTINUATION
from pdeformer.layers import PDEAttentionConfig, StencilConfig
from tests.experiments.lra.test_lra import TINY

DIFFUSION = PDEAttentionConfig(kind="diffusion")
SMALL = dataclasses.replace(
    TINY,
    steps=2,
    placement=("none",),
    cadence=run.LoopIntervals(log_every=1, eval_every=1, checkpoint_every=1),
)


def records(folder):
    """Return the logged steps by variant, seed and step."""
    lines = (folder / "metrics.jsonl").read_text().splitlines()
    return {(line["variant"], line["seed"], line["step"]): line for line in map(json.loads, lines)}


def without_times(summary):
    rows = [
        {name: value for name, value in row.items() if name not in ("tokens_per_second", "compile_seconds")}
        for row in summary["rows"]
    ]
    return {name: value for name, value in summary.items() if name != "versions"} | {"rows": rows}


def test_seeds_and_variants_that_come_later_are_as_if_asked_for_at_once(tmp_path):
    out = tmp_path / "later"
    small = dataclasses.replace(SMALL, data_dir=tmp_path / "data", out=out)
    lra.main(small)
    before = {path: path.read_bytes() for path in (out / "rows").iterdir()}
    words = "--seeds 0 1 --placement after_embedding"
    config = lra.command_line(["--out", str(out), "--resume", *words.split()])
    later = lra.main(config)
    at_once = lra.main(
        dataclasses.replace(small, out=tmp_path / "at_once", seeds=(0, 1), placement=("after_embedding",))
    )
    assert without_times(later) == without_times(at_once)
    assert records(out) == records(tmp_path / "at_once")
    assert {path: path.read_bytes() for path in before} == before
    stencils = [
        learned_stencils.load(run.Run(folder), "after_embedding", 1) for folder in (out, tmp_path / "at_once")
    ]
    np.testing.assert_array_equal(stencils[0]["after_embedding"], stencils[1]["after_embedding"])
    # fewer seeds than the run has: the report shows all
    fewer = lra.main(lra.command_line(["--out", str(out), "--resume", "--seeds", "1"]))
    assert without_times(fewer) == without_times(later)
    # other data are refused before anything is trained
    hashes = json.loads((out / "data.json").read_text())
    (out / "data.json").write_text(json.dumps(hashes | {"listops val": "0" * 64}))
    saved = (out / "config.json").read_bytes()
    words = "got listops val with hash [0-9a-f]{64} and 0{64} at the first start"
    with pytest.raises(ValueError, match=words):
        lra.main(dataclasses.replace(config, seeds=(0, 1, 2)))
    assert (out / "config.json").read_bytes() == saved


@pytest.mark.parametrize(
    ("saved", "changes", "words"),
    [
        ({}, {"combine": True}, "combine: saved False, now True"),
        (
            {"combine": True},
            {"placement": ("after_embedding", "between_layers")},
            r"placement: saved \[.*\], now",
        ),
        ({"combine": True}, {"attention": DIFFUSION}, "attention.kind: saved 'none', now 'diffusion'"),
        (
            {"attention": DIFFUSION},
            {"attention": PDEAttentionConfig(kind="wave")},
            "attention.kind: saved 'diffusion'",
        ),
        ({}, {"stencil": StencilConfig(kind="adaptive", width=5)}, "stencil.width: saved 3, now 5"),
        ({}, {"seeds": (0, 1), "steps": 5}, "got a difference in steps: saved 400, now 5; use"),
        ({"seeds": (0, 1)}, {"seeds": (0,)}, r"seeds: saved \[0, 1\], now \[0\]"),
    ],
)
def test_what_changes_existing_rows_is_refused(tmp_path, saved, changes, words):
    base = dataclasses.replace(lra.PRESETS["quick"][1], out=tmp_path, **saved)
    run.open_run(tmp_path, base, continuation=CONTINUATION).close()
    before = (tmp_path / "config.json").read_bytes()
    with pytest.raises(ValueError, match=words):
        run.open_run(
            tmp_path,
            dataclasses.replace(base, resume=True, **changes),
            resume=True,
            continuation=CONTINUATION,
        )
    assert (tmp_path / "config.json").read_bytes() == before


@pytest.mark.parametrize(
    ("saved", "typed", "variants"),
    [
        ({"placement": ("none",)}, {"placement": ("between_layers",)}, ["baseline", "between_layers"]),
        ({}, {"placement": ("none",)}, ["baseline", "after_embedding"]),
        (
            {"attention": DIFFUSION},
            {"attention": PDEAttentionConfig()},
            ["baseline", "after_embedding", "attention_diffusion"],
        ),
        ({"placement": ("none",)}, {"placement": ("none",)}, ["baseline"]),
        (
            {"placement": ("none",)},
            {"combine": True, "placement": ("after_embedding",), "attention": DIFFUSION},
            ["baseline", "after_embedding+attention_diffusion"],
        ),
    ],
)
def test_the_union_has_the_variants_of_both(tmp_path, saved, typed, variants):
    base = dataclasses.replace(lra.PRESETS["quick"][1], out=tmp_path, **saved)
    run.open_run(tmp_path, base, continuation=CONTINUATION).close()
    config = extend(base, dataclasses.replace(base, resume=True, **typed)).config
    assert list(config.variants()) == variants
    run.open_run(tmp_path, config, resume=True, continuation=CONTINUATION).close()
