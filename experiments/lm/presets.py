"""The values of the presets, and the command line."""

import dataclasses
from typing import Any

from experiments import run
from experiments.data.language_modeling import CorpusConfig
from experiments.lm.config import EQUATIONS, MAY_CHANGE_ON_RESUME, Config, Network, Padding
from pdeformer.train import Optimizer
from pid.interface.command_options import NONE

SMALL: dict[str, Any] = {"dropout": 0.0, "attention_dropout": 0.0}
QUICK = Config(
    preset="quick",
    steps=400,
    batch=8,
    equations=("diffusion", "reaction-diffusion", "advection-diffusion"),
    placement=("between_layers",),
    controls=("canon", "shift"),
    model=Network(**SMALL),
    optimizer=Optimizer(
        learning_rate=3e-3, schedule="cosine", warmup=40, weight_decay=0.01, b2=0.98, clip=1.0
    ),
    cadence=run.LoopIntervals(log_every=5, eval_every=100, checkpoint_every=200),
)
"""python -m experiments.lm

The manual of Python by bytes, blocks of 128, a Transformer of 99,000 parameters, 400 steps of 8 blocks. Bits per byte
of the test topics with seed 0: baseline 3.528, diffusion on attention 3.388, reaction-diffusion 3.387,
advection-diffusion 3.286, heat between layers 3.289, token shift 3.155, canon 3.074. Models that count: 3.646 with
pairs of bytes, 2.667 with triples.
"""
BROWN = dataclasses.replace(
    QUICK,
    preset="brown",
    text=CorpusConfig("offline:brown"),
    lengths=(256,),
    steps=2000,
    batch=32,
    model=Network(width=128, heads=4, ffn=256, **SMALL),
    optimizer=dataclasses.replace(QUICK.optimizer, learning_rate=2e-3, warmup=100),
    cadence=run.LoopIntervals(log_every=10, eval_every=250, checkpoint_every=250),
)
"""python -m experiments.lm brown

The Brown corpus by bytes, from a package of npm, 3 MB.
"""
PAPER = Network(layers=2, width=128, heads=4, ffn=256)
"""Sizes of the paper's language models, with its dropout of 0.1."""
OFFICIAL = Optimizer(
    learning_rate=1e-4,
    schedule="constant",
    warmup=10_000,
    warmup_start=0.1,
    weight_decay=0.01,
    decay="all",
    clip=1.0,
)
"""AdamW of the official code, whose warm-up is a tenth of the run."""
WIKITEXT = Config(
    preset="wikitext103-bytes",
    text=CorpusConfig("wikitext103"),
    lengths=(512,),
    equations=EQUATIONS,
    placement=("between_layers",),
    controls=("canon", "shift"),
    steps=100_000,
    model=PAPER,
    optimizer=OFFICIAL,
    seeds=(0, 1, 2),
    cadence=run.LoopIntervals(log_every=100, eval_every=5000, checkpoint_every=1000),
)
"""python -m experiments.lm wikitext103-bytes --manual-dir FOLDER

WikiText-103 by bytes at the paper's size. It needs an accelerator, and has not been run.
"""
WORDS = dataclasses.replace(
    WIKITEXT, preset="wikitext103-tokens", text=CorpusConfig("wikitext103", "word"), stride=128
)
"""python -m experiments.lm wikitext103-tokens --manual-dir FOLDER

WikiText-103 by words at the paper's size, 267,735 of them by its authors' count. With `--text.unit piece
--text.tokenizer FILE` it is read by the pieces of a published tokenizer; the paper takes those of bert-base-uncased.
It needs an accelerator, and has not been run.
"""
ABLATION = dataclasses.replace(
    WORDS,
    batch=128,
    steps=20_000,
    stride=0,
    placement=(NONE,),
    controls=(),
    optimizer=dataclasses.replace(OFFICIAL, warmup=2000),
    cadence=run.LoopIntervals(log_every=100, eval_every=1000, checkpoint_every=1000),
)
"""What the ablations of the paper share: its language model, in batches of 128."""
TYPES = dataclasses.replace(ABLATION, preset="ablation-types")
"""python -m experiments.lm ablation-types --manual-dir FOLDER

The four equations with 4 steps [paper, Table 5]. Not run at this size.
"""
STEPS = dataclasses.replace(
    ABLATION, preset="ablation-steps", equations=("diffusion",), pde_steps=(1, 2, 4, 8)
)
"""python -m experiments.lm ablation-steps --manual-dir FOLDER

Diffusion with 1, 2, 4 and 8 steps; the baseline has none [paper, Table 4]. Not run at this size.
"""
LENGTH = dataclasses.replace(
    ABLATION, preset="ablation-length", equations=("diffusion",), lengths=(256, 512, 1024)
)
"""python -m experiments.lm ablation-length --manual-dir FOLDER

Contexts of 256, 512 and 1024 tokens [paper, Figure 11]. Not run at this size.
"""
DATA = dataclasses.replace(
    ABLATION,
    preset="ablation-data",
    equations=("diffusion",),
    pde_steps=(1,),
    shares=(0.001, 0.01, 0.05, 0.1),
    steps=10_000,
    optimizer=dataclasses.replace(OFFICIAL, warmup=1000),
)
"""python -m experiments.lm ablation-data --manual-dir FOLDER

The first 0.1, 1, 5 and 10 % of the training text, diffusion with one step. Not run at this size.
"""
PADDED = dataclasses.replace(
    QUICK,
    preset="padding",
    steps=150,
    batch=16,
    text=CorpusConfig(unit="word"),
    lengths=(32, 64, 128),
    equations=("diffusion",),
    pde_steps=(1,),
    placement=(NONE,),
    controls=(),
    official_padding=True,
    padding=Padding(steps=200),
    optimizer=dataclasses.replace(QUICK.optimizer, warmup=20),
)
"""python -m experiments.lm padding

The artifact of padding on the manual of Python by words, and the causal models beside it.
"""

PRESETS = {
    "quick": (
        "The manual of Python by bytes, seven variants; takes minutes on two CPU cores. The default.",
        QUICK,
    ),
    "brown": (
        "The Brown corpus by bytes, fetched as a package of 3 MB; takes an hour on two CPU cores.",
        BROWN,
    ),
    "wikitext103-bytes": (
        "WikiText-103 by bytes at the size of the paper, three seeds; accelerators.",
        WIKITEXT,
    ),
    "wikitext103-tokens": (
        "WikiText-103 by words at the size of the paper, three seeds; accelerators.",
        WORDS,
    ),
    "ablation-types": ("The four equations with four steps on WikiText-103; accelerators.", TYPES),
    "ablation-steps": ("Diffusion with 1, 2, 4 and 8 steps on WikiText-103; accelerators.", STEPS),
    "ablation-length": ("Contexts of 256, 512 and 1024 words of WikiText-103; accelerators.", LENGTH),
    "ablation-data": ("Shares of the training text of WikiText-103, 0.1 to 10 %; accelerators.", DATA),
    "padding": (
        "The artifact of padding, beside the honest numbers; takes minutes on two CPU cores.",
        PADDED,
    ),
}
"""The program `long` has presets of its own, see `experiments.lm.long`."""
CONTINUATION = run.Continuation(
    "lm",
    PRESETS,
    MAY_CHANGE_ON_RESUME,
    extend=run.extend_fields("seeds", "equations", "pde_steps", "placement", "controls", "windows"),
)
command_line = run.CommandLine(
    "experiments.lm",
    "Causal language models with evolved attention, diffusion layers and controls, and their baseline. The words long "
    "and long-quick compare them on long sequences, see long-quick --help.",
    PRESETS,
    continuation=CONTINUATION,
)
