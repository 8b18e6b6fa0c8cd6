"""Language modeling: WikiText-103, the Brown corpus, or the manual of Python, as packed blocks of bytes or tokens.

Files in import order:

wikitext       the published files of WikiText-103
free_texts     documents that need no published file: the manual of Python, and the Brown corpus of a package
text_units     documents as ids: bytes, words, or the pieces of a published tokenizer
block_builder  packed blocks without padding as a TFDS data set
corpus_config  the configuration, and its splits as arrays
ngram_floor    what an n-gram model pays, as the floor under every network
"""

from experiments.data.language_modeling.corpus_config import CorpusConfig
from experiments.data.language_modeling.ngram_floor import ngram_nats, stream_of

__all__ = ["CorpusConfig", "ngram_nats", "stream_of"]
