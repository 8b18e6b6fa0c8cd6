"""Text classification: IMDb by bytes, and the corpora of Continuous-Time Attention by word pieces or characters.

Files in import order:

imdb            the published reviews, from TFDS or from the original archive
text_stand_ins  film reviews and mails from packages, with their floors
text_config     the configuration of bytes, and its splits as arrays
corpora         IMDb, AG News, SST-2, stand-ins and installed documentation, by word pieces or characters
"""

from experiments.data.text.imdb import imdb_archive, open_imdb
from experiments.data.text.text_config import TextConfig
from experiments.data.text.text_stand_ins import STAND_INS, TextStandIn, read_stand_in

__all__ = ["STAND_INS", "TextConfig", "TextStandIn", "imdb_archive", "open_imdb", "read_stand_in"]
