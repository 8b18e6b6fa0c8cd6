"""What a run needs, checked before anything is read or written: devices, memory, files, models that fit."""

from jax.sharding import Mesh

from experiments import run
from experiments.data.text.corpora.corpus import HUGGING_FACE, ORIGINAL
from experiments.data.text.corpora.published_corpora import parquet_files
from experiments.data.text.corpora.vocabularies import tokenizer_file
from experiments.data.text.imdb import imdb_archive
from experiments.text.config import Config
from experiments.text.official_checkpoints.checkpoint_files import check_file
from experiments.text.variants import check_variants

WEIGHTS: run.Arrays = {
    ("text.vocabulary", "model.width"): 16,  # the embedding, its gradient and two moments, in float32
    ("model.layers", "model.width", "model.ffn"): 32,
    ("model.max-len", "model.width"): 4,
    ("official.layers", "official.width", "official.ffn"): 32,
    ("text.vocabulary", "official.width"): 16,
    ("batch", "model.width", "model.layers"): 8,
}


def check(config: Config, mesh: Mesh) -> None:
    """Check that the devices can share the batch, that the files are there, and that options of a model fit together.

    Raises:
        FileNotFoundError: a published file or the checkpoint is missing.
        PermissionError: the folder of the data cannot be created.
        ValueError: the batch or the options of a model do not fit, or not the memory.
    """
    run.check_batch(config.batch, mesh, config.optimizer.accumulate)
    run.check_memory(config, WEIGHTS)
    if config.evaluate is not None:
        check_file(config.evaluate)
    for task, data in config.data().items():
        if config.batch > (size := data.sizes()["train"]) and config.evaluate is None:
            raise ValueError(
                f"a batch is drawn from {size:,} training texts of {task}, got batch={config.batch}; lower it."
            )
        if data.source == HUGGING_FACE:
            parquet_files(data.corpus, config.manual_dir)
        if data.source == ORIGINAL:
            imdb_archive(config.manual_dir)
        if data.tokenizer == "published":
            tokenizer_file(config.manual_dir)
    if not config.data_dir.is_dir():
        run.check_folder(config.data_dir, "--data-dir")
    if config.evaluate is None:
        check_variants(config)
