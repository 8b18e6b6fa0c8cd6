"""What a training needs, checked before anything is read or written: devices, memory, files, a model that fits."""

from flax import nnx
from jax.sharding import Mesh

from experiments import run
from experiments.data import listops
from experiments.data.pathfinder.pathfinder_release import release_folder
from experiments.data.retrieval.aan_pairs import pair_files
from experiments.lra.benchmark_tasks import HEADS, TASKS
from experiments.lra.config import Config
from pdeformer.model import ModelConfig
from pid.interface.memory_check import memory_bytes

WEIGHTS: run.Arrays = {
    (
        "model.layers",
        "model.width",
        "model.ffn",
    ): 32,  # two matrices, their gradients and two moments, in float32
    ("model.layers", "model.width", "model.heads", "model.head-width"): 64,
    ("model.classifier-width", "model.width"): 16,
    ("model.max-len", "model.width"): 4,
    ("stencil.width", "model.width"): 4,
}
LARGEST_VOCABULARY = 257
"""Padding and all bytes."""
STATES: run.Arrays = {("batch", "model.max-len", "model.width", "model.layers"): 2}
SEQUENCES: run.Arrays = {
    (f"generated.{name}", *factor): size
    for name in ("train", "val", "test")
    for factor, size in (((), 100), (("generated.min-length",), 1))
}
"""The generator has all sequences in memory, one byte for each token."""


def check(config: Config, mesh: Mesh) -> None:
    """Check that the devices can share the batch, that the data can be read, and that options of a model fit together.

    Raises:
        FileNotFoundError: a published file is missing.
        PermissionError: the folder of the data cannot be created.
        ValueError: the batch or the options of a model do not fit, or not the memory.
    """
    micro_batches = config.optimizer.accumulate
    run.check_batch(config.batch, mesh, micro_batches)
    data = config.data()
    size = data.sizes()["train"]
    if config.batch > size:
        raise ValueError(
            f"a batch is drawn from {size} training examples, got batch={config.batch}; lower it."
        )
    run.check_memory(config, WEIGHTS)
    run.check_memory(config, STATES, share=micro_batches * mesh.size)
    if config.task == "listops" and config.source == "generated":
        run.check_memory(config, SEQUENCES)
    if data.source == "lra_release":
        _check_files(config)
    if config.device_data:
        _check_device_data(config, mesh)
    if not config.data_dir.is_dir():
        run.check_folder(config.data_dir, "--data-dir")
    for variant, components in config.variants().items():
        _check_model(config, variant, config.network(components, LARGEST_VOCABULARY, listops.CLASSES))


def _check_model(config: Config, variant: str, model: ModelConfig) -> None:
    """Raise ValueError if the model of the task cannot be built, such as a causal one with a layer that reads ahead."""
    try:
        nnx.eval_shape(lambda: HEADS[TASKS[config.task].head](model, nnx.Rngs(0)))
    except ValueError as error:
        raise ValueError(f"{config.task} cannot have the variant {variant}: {error}") from None


def _check_files(config: Config) -> None:
    """Raise FileNotFoundError unless the published files of the task are there."""
    if config.task == "listops" and config.manual_dir is not None:
        listops.published_files(config.manual_dir)
    if config.task == "retrieval":
        pair_files(config.manual_dir)
    if TASKS[config.task].group == "pathfinder":
        images = config.pathfinder
        release_folder(config.manual_dir, size=images.size, contour=images.contour)


def _check_device_data(config: Config, mesh: Mesh) -> None:
    """Raise ValueError unless every device can hold the training examples."""
    data, head = config.data(), TASKS[config.task].head
    examples = data.sizes()["train"]
    size = data.max_len * {"classifier": 1, "matcher": 2, "tokens": 5}[head]  # labels of tokens are int32
    statistics = mesh.local_devices[0].memory_stats() or {}
    memory = statistics.get("bytes_limit", memory_bytes() // len(mesh.local_devices))
    if examples * size > memory:
        raise ValueError(
            f"--device-data copies the training data to every device, which has {memory / 2**30:.3g} GiB, got "
            f"{examples:,} examples of {size:,} bytes, {examples * size / 2**30:.3g} GiB; drop it."
        )
