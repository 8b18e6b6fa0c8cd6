"""Data sets as fixed-shape uint8 arrays on disk, and batches that depend only on (seed, step, rows).

store         `prepare`: write the arrays once, then check and memory-map them
row_splits    `prepare_rows`: the same for rows of bytes or pixels from any reader; `RowData`, base of their options
batches       training batches, evaluation batches, and the same batches for grain
model_inputs  ids and segment ids, made from a batch on the device
losses        losses of models on batches
device_data   a split in device memory, and several steps as one program

    splits = prepare(builder, max_len=2000, data_dir="data")
    batch(splits["train"], 32, seed=0, step=1234)
    evaluation_batches(splits["val"], 32)                    # the last batch padded with weight 0
    grain_batches(splits["train"], 32, seed=0, steps=5000)   # the same batches as a grain.MapDataset

On several hosts each prepares its rows of every batch: rows=sharding.host_rows(32, mesh).

Any TFDS builder with examples {"tokens", "label"} serves as the source, also of pairs of sequences and of labels of
tokens (see `prepare`).
"""

from experiments.data.arrays.batches import Batch, batch, batch_indices, evaluation_batches, grain_batches
from experiments.data.arrays.device_data import DeviceData, scan_steps
from experiments.data.arrays.losses import classifier_loss, matcher_loss, token_loss
from experiments.data.arrays.model_inputs import ModelInputs, model_inputs
from experiments.data.arrays.row_splits import RowData, prepare_rows
from experiments.data.arrays.store import Split, is_prepared, prepare

__all__ = [
    "Batch",
    "DeviceData",
    "ModelInputs",
    "RowData",
    "Split",
    "batch",
    "batch_indices",
    "classifier_loss",
    "evaluation_batches",
    "grain_batches",
    "is_prepared",
    "matcher_loss",
    "model_inputs",
    "prepare",
    "prepare_rows",
    "scan_steps",
    "token_loss",
]
