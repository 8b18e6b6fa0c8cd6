"""What a training needs, checked before anything is read or written: devices, memory, files, models that are causal."""

from flax import nnx
from jax.sharding import Mesh

from experiments import run
from experiments.data.language_modeling import wikitext
from experiments.lm.config import Config
from pdeformer.model import CausalLM

WEIGHTS: run.Arrays = {
    ("model.layers", "model.width", "model.ffn"): 32,  # two matrices, their gradients and moments, in float32
    ("model.layers", "model.width", "model.heads", "model.head-width"): 64,
    ("lengths", "model.width"): 16,
}
STATES: run.Arrays = {
    ("batch", "lengths", "model.width", "model.layers"): 2,
    ("batch", "lengths", "model.ffn"): 4,
}
SMALLEST_VOCABULARY = 256


def check(config: Config, mesh: Mesh) -> None:
    """Check that the devices share the batch, that the text can be read, and that every variant is causal.

    Raises:
        FileNotFoundError: a published file is missing.
        PermissionError: the folder of the data cannot be created.
        ValueError: the batch or the options of a model do not fit, or not the memory.
    """
    devices, micro_batches = mesh.shape["data"], config.optimizer.accumulate
    run.check_batch(config.batch, mesh, micro_batches)
    if config.official_padding and config.padding.batch % devices:
        raise ValueError(
            f"a batch must be a multiple of data devices, got padding.batch={config.padding.batch} for {devices} "
            f"devices; change --padding.batch."
        )
    run.check_memory(config, WEIGHTS)
    run.check_memory(config, STATES, share=micro_batches * mesh.size)
    config.text.check_tokenizer()
    if config.text.source == "wikitext103":
        wikitext.published_files(config.manual_dir, config.text.release)
    if not config.data_dir.is_dir():
        run.check_folder(config.data_dir, "--data-dir")
    for variant, components in config.variants().items():
        try:
            nnx.eval_shape(lambda components=components: _model(config, components))
        except ValueError as error:
            raise ValueError(f"a causal language model cannot have the variant {variant}: {error}") from None


def _model(config: Config, components: tuple[str, ...]) -> CausalLM:
    """Return the model of a variant; traced, because its layers would make arrays."""
    return CausalLM(config.network(components, SMALLEST_VOCABULARY, config.lengths[-1]), nnx.Rngs(0))
