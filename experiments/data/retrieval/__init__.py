"""Related pairs of texts by bytes: papers that cite each other, or a stand-in from a package.

Files in import order:

aan_pairs            the published pairs, read row by row
document_pairs       pairs of documents of one class or of two
retrieval_stand_ins  newsgroups and articles from packages, with their floors
word_baseline        the accuracy of comparing the words of two texts
retrieval_config     the configuration, and its splits as arrays
"""

from experiments.data.retrieval.aan_pairs import pair_files, read_pairs
from experiments.data.retrieval.document_pairs import Pairs, draw_pairs
from experiments.data.retrieval.retrieval_config import RetrievalConfig
from experiments.data.retrieval.retrieval_stand_ins import STAND_INS, RetrievalStandIn, read_groups
from experiments.data.retrieval.word_baseline import word_accuracy

__all__ = [
    "STAND_INS",
    "Pairs",
    "RetrievalConfig",
    "RetrievalStandIn",
    "draw_pairs",
    "pair_files",
    "read_groups",
    "read_pairs",
    "word_accuracy",
]
