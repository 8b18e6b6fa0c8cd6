"""The configuration of an image classification data set, and its splits as arrays."""

import dataclasses
import functools
import itertools
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Literal

from experiments.data import arrays, offline
from experiments.data.image.cifar import TEST, TRAIN, cifar_archive, gray_rows, published_images
from experiments.data.image.grayscale import SIDE, pad_to_square
from experiments.data.image.image_stand_ins import STAND_INS, LabeledImages, read_stand_in
from experiments.data.preparation.file_hashes import FileHashes
from experiments.data.preparation.row_builder import Row, RowConfig, RowSource
from experiments.data.preparation.split_sizes import split_sizes

ImageSource = Literal["tfds", "original", "offline:fashion-mnist", "offline:mnist"]
SOURCES = ("tfds", "original", *(f"offline:{name}" for name in STAND_INS))
CLASSES = 10
CIFAR_SIZES = {"train": TRAIN * 9 // 10, "val": TRAIN // 10, "test": TEST}


@dataclasses.dataclass(frozen=True)
class ImageConfig(arrays.RowData):
    """Classify a gray image of 32 x 32 pixels, one row of pixels after the other.

    Pixels are stored as gray values. Their ids are one more, so that black pixels are tokens; the benchmark's own
    pipeline takes black for padding.

    Raises:
        ValueError: a field is out of range.
    """

    source: ImageSource = "tfds"
    """CIFAR-10 from TFDS, from the original archive in the manual folder, or a stand-in from a package."""
    max_len: int = SIDE**2
    """Tokens of a row, one for each pixel."""
    train: int | None = None
    """Training images, the first of their split; None takes all."""
    val: int | None = None
    """Validation images: the last tenth of the published training images."""
    test: int | None = None
    """Test images."""
    seed: int = 0
    """Seed of the order of `offline:mnist` before its split; other sources have their own order."""

    def __post_init__(self) -> None:
        """Check the fields."""
        if self.source not in SOURCES:
            raise ValueError(
                f"Image needs a source among {', '.join(SOURCES)}, got {self.source!r}; correct it."
            )
        if self.max_len != SIDE**2 or self.seed < 0:
            raise ValueError(
                f"an image has {SIDE**2} pixels and a seed is 0 or more, got max_len={self.max_len}, "
                f"seed={self.seed}; set max_len={SIDE**2} and a seed of 0 or more."
            )
        self.sizes()

    @property
    def title(self) -> str:
        """Name of the data set in tables."""
        if self.is_stand_in:
            return f"Image stand-in ({self.stand_in})"
        return (
            "Image (CIFAR-10, gray)"
            if self.source == "tfds"
            else "Image (CIFAR-10, gray, archive's own order)"
        )

    @property
    def floors(self) -> dict[str, float]:
        """Test accuracies of trivial predictors; see `ImageStandIn.floors` for their measurement."""
        return dict(STAND_INS[self.stand_in].floors) if self.is_stand_in else {"majority class": 0.1}

    def sizes(self) -> dict[str, int]:
        """Return the number of rows of each split.

        Raises:
            ValueError: the data set does not have so many.
        """
        largest = STAND_INS[self.stand_in].sizes if self.is_stand_in else CIFAR_SIZES
        return split_sizes(largest, {"train": self.train, "val": self.val, "test": self.test}, self.title)

    def prepare(
        self, data_dir: Path, *, manual_dir: Path | None = None, verify: bool = False
    ) -> dict[str, arrays.Split]:
        """Return the splits as arrays; the first call reads or downloads the data.

        The first 90 % of the published training images are for training, in the order of the source.

        Args:
            data_dir: folder of prepared data and downloads.
            manual_dir: data folder of TFDS, folder of `cifar-10-binary.tar.gz`, or folder of the package file.
            verify: whether to read all prepared data again and compare its SHA-256.

        Returns:
            The splits train, val and test; tokens are gray values, and ids are one more.

        Raises:
            FileNotFoundError: the manual folder does not have the data.
            ValueError: the data is incomplete or damaged, or it cannot be downloaded.
        """
        config = self.row_config(self.content(data_dir, manual_dir))
        load = functools.cache(functools.partial(self._load, data_dir, manual_dir))
        sources = {
            split: RowSource(size, functools.partial(self._read, load, split, size, data_dir, manual_dir))
            for split, size in self.sizes().items()
        }
        return arrays.prepare_rows(
            config,
            sources,
            title=self.title,
            max_len=self.max_len,
            data_dir=data_dir,
            verify=verify,
        )

    def content(self, data_dir: Path, manual_dir: Path | None) -> str:
        """Return the hash of the published archive, empty for other sources."""
        if self.source != "original":
            return ""
        return FileHashes(data_dir).sha256(cifar_archive(manual_dir))

    def row_config(self, content: str) -> RowConfig:
        """Return the options of the rows, whose name has the hash of the published archive."""
        options = {"source": self.source, "seed": self.seed, "content": content}
        name = "-".join(map(str, ("image", *options.values(), *self.sizes().values())))
        name = name.replace(":", "_")
        return RowConfig(name=name, options=options | self.sizes(), unit="pixel", classes=CLASSES)

    def _load(self, data_dir: Path, manual_dir: Path | None) -> dict[str, LabeledImages]:
        """Return all splits of a stand-in."""
        path = offline.fetch(STAND_INS[self.stand_in].package, data_dir=data_dir, manual_dir=manual_dir)
        return read_stand_in(self.stand_in, path, seed=self.seed)

    def _read(
        self,
        load: Callable[[], dict[str, LabeledImages]],
        split: str,
        size: int,
        data_dir: Path,
        manual_dir: Path | None,
    ) -> Iterator[Row]:
        """Yield the rows of a split."""
        if self.is_stand_in:
            data = load()[split]
            rows = pad_to_square(data.images[:size]).reshape(-1, self.max_len)
            return (Row(int(label), row) for row, label in zip(rows, data.labels[:size], strict=True))
        published = "test" if split == "test" else "train"
        images = published_images(self.source, published, data_dir=data_dir, manual_dir=manual_dir)
        start = CIFAR_SIZES["train"] if split == "val" else 0
        return gray_rows(itertools.islice(images, start, start + size))
