"""Names of options in other spellings: those of other programs, without the group, with underscores, with an error."""

from collections.abc import Sequence
from difflib import get_close_matches
from typing import NamedTuple

from pid.interface.command_options import Option

USUAL = {
    "out": "o output output-dir out-dir outdir output-path log-dir logdir save-dir run-dir workdir work-dir folder dir",
    "seeds": "seed random-seed",
    "seed": "seeds random-seed",
    "steps": "num-steps n-steps max-steps train-steps training-steps total-steps iterations iters",
    "batch": "batch-size bs train-batch-size global-batch-size b",
    "learning-rate": "lr",
    "warmup": "warmup-steps num-warmup-steps",
    "weight-decay": "wd decay-rate",
    "b1": "beta1 beta-1 adam-beta1",
    "b2": "beta2 beta-2 adam-beta2",
    "eps": "epsilon adam-epsilon adam-eps",
    "clip": "grad-clip clip-norm max-grad-norm gradient-clip clip-grad",
    "accumulate": "grad-accum gradient-accumulation gradient-accumulation-steps accum-steps accumulation-steps",
    "schedule": "lr-schedule lr-scheduler lr-scheduler-type scheduler",
    "dtype": "precision mixed-precision",
    "layers": "n-layers num-layers n-layer num-hidden-layers depth",
    "heads": "n-heads num-heads n-head num-attention-heads",
    "model.width": "d-model hidden-size hidden-dim embed-dim embedding-dim n-embd dim",
    "width": "d-model hidden-size hidden-dim embed-dim embedding-dim n-embd dim",
    "ffn": "d-ff mlp-dim intermediate-size ffn-dim",
    "max-len": "max-seq-len max-seq-length seq-len sequence-length block-size context-length",
    "log-every": "log-interval logging-steps log-steps log-freq",
    "eval-every": "eval-interval eval-steps eval-freq val-every",
    "checkpoint-every": "save-every save-steps save-interval checkpoint-interval ckpt-every",
    "data-dir": "data-path dataset-dir data-root",
    "data": "data-dir data-path dataset-dir data-root",
    "model": "model-path model-dir model-name model-name-or-path checkpoint pretrained",
    "draws": "n-bootstrap bootstrap-draws num-draws",
    "only": "sections section",
    "study": "studies",
    "npz": "file activations npz-file",
    "placement": "placements place",
    "combine": "combined",
    "text": "text-model",
}
"""Name of an option, or its last part -> its names in other programs."""
FLAGS = {"bf16": ("dtype", "bfloat16"), "fp32": ("dtype", "float32"), "bfloat16": ("dtype", "bfloat16")}
"""A flag of other programs -> our option and its value."""
HINTS = {
    "epochs num-epochs n-epochs num-train-epochs max-epochs": "the length of a run is --steps",
    "max-length": "the longest sequence of the model is --model.max-len, of the generated data --generated.max-length",
    "overwrite force overwrite-output-dir": "nothing is overwritten: choose another --out",
    "resume-from resume-from-checkpoint continue restart ckpt load": "a run is continued by --out FOLDER --resume",
    "gpus gpu devices n-gpus num-gpus nproc-per-node": "devices are set by --mesh.data and --mesh.model",
    "device platform accelerator cuda cpu": "the platform is chosen by the variable JAX_PLATFORMS",
    "fp16 half float16": "the types are float32 and bfloat16, by --dtype",
    "num-hosts nnodes num-nodes world-size num-processes": "hosts are set by --hosts.count",
    "rank process-id node-rank": "the host is set by --hosts.index",
    "preset config config-file config-name": "a preset is the first word, without dashes",
    "verbose v debug": "--traceback shows where an error was raised",
}
"""Names in other programs -> what takes their place. A hint holds where its options exist."""


EXPLICIT = ("mesh", "hosts", "text", "retrieval", "image", "pathfinder", "recall")
"""Groups whose options are written with the name of the group."""


class Resolved(NamedTuple):
    """An option and what its spelling says about the value."""

    option: Option
    value: str | None = None
    """The value that the name implies: false for --no-NAME."""
    is_own_name: bool = True
    """Whether this is the option's own name."""


def resolve(word: str, options: Sequence[Option]) -> Resolved:
    """Return the option that a name means, given without its value.

    Raises:
        ValueError: the name is unknown, or may mean several options.
    """
    by_name = {option.name: option for option in options}
    name = word.lstrip("-").replace("_", "-").lower()
    if name in by_name:
        return Resolved(by_name[name])
    if (positive := _without_no(name)) in by_name and by_name[positive].is_flag:
        return Resolved(by_name[positive], "false")
    meant = _options_meant(name, options)
    if len(meant) == 1:
        return Resolved(meant[0], is_own_name=False)
    if name in FLAGS and len(meant := _options_meant(FLAGS[name][0], options)) == 1:
        return Resolved(meant[0], FLAGS[name][1], is_own_name=False)
    raise ValueError(
        f"an option must be one of those that --help lists, got {word}; {_remedy(name, meant, by_name)}"
    )


def _without_no(name: str) -> str:
    """Return `group.flag` for `no-group.flag` and for `group.no-flag`; an empty text for other names."""
    group, dot, field = name.rpartition(".")
    if field.startswith("no-"):
        return f"{group}{dot}{field[3:]}"
    return name[3:] if name.startswith("no-") else ""


def _options_meant(name: str, options: Sequence[Option]) -> list[Option]:
    """Return the options that a name may mean. Those outside of groups come first, then those of that very name."""
    is_group = any(option.name.startswith(f"{name}.") for option in options)
    if is_group or any(name in words.split() for words in HINTS):
        return []
    group, dot, last = name.rpartition(".")
    targets = {target for target, words in USUAL.items() if last in words.split()}
    ranks: dict[tuple[bool, int], list[Option]] = {}
    for option in options:
        end = option.name.rpartition(".")[2]
        fits = [end == last, option.name in targets, end in targets]
        is_inside = option.name.startswith(f"{group}{dot}") and (dot or option.path[0] not in EXPLICIT)
        if is_inside and any(fits):
            ranks.setdefault((len(option.path) > 1, fits.index(True)), []).append(option)
    return ranks[min(ranks)] if ranks else []


def _remedy(name: str, meant: Sequence[Option], by_name: dict[str, Option]) -> str:
    for words, hint in HINTS.items():
        named = [word.rstrip(",:.").removeprefix("--") for word in hint.split() if word.startswith("--")]
        if name in words.split() and all(option in by_name or option == "traceback" for option in named):
            return f"{hint}."
    if not meant:
        meant = [option for option in by_name.values() if option.name.startswith(f"{name}.")]
    if not meant:
        similar = get_close_matches(name, by_name, n=1, cutoff=0.7) or _similar_last_part(name, by_name)
        meant = [by_name[word] for word in similar]
    if meant:
        return f"did you mean {' or '.join(f'--{option.name}' for option in meant[:4])}?"
    return "--help lists all options."


def _similar_last_part(name: str, by_name: dict[str, Option]) -> list[str]:
    parts = {option.rpartition(".")[2]: option for option in reversed(by_name)}
    return [parts[part] for part in get_close_matches(name.rpartition(".")[2], parts, n=1, cutoff=0.7)]
