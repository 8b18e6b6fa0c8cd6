"""Recall tasks, generated: multi-query associative recall (MQAR) and selective copy.

Files in import order:

mqar            rows of key-value pairs and queries
selective_copy  rows of data tokens among noise
recall_builder  a TFDS data set of rows with labels of tokens
recall_config   options, splits, and accuracies of predictors that recall nothing
"""

from experiments.data.recall.mqar import RecallRows, mqar_rows
from experiments.data.recall.recall_builder import Recall
from experiments.data.recall.recall_config import RecallConfig
from experiments.data.recall.selective_copy import selective_copy_rows

__all__ = ["Recall", "RecallConfig", "RecallRows", "mqar_rows", "selective_copy_rows"]
