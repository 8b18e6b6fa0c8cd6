"""The configuration of a Pathfinder data set, and its splits as arrays."""

import dataclasses
import functools
import itertools
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

from experiments.data import arrays
from experiments.data.pathfinder.generation_process import Shard
from experiments.data.pathfinder.image_shards import IMAGES_PER_SHARD, read_shard, split_shards, write_shards
from experiments.data.pathfinder.pathfinder_builder import Pathfinder, PathfinderOptions, Rows, Shards
from experiments.data.pathfinder.pathfinder_release import (
    CONTOUR_FOLDERS,
    Sample,
    content_hash,
    read_image,
    release_folder,
    release_splits,
)
from experiments.data.pathfinder.window_sizes import window_size
from experiments.data.preparation.counter import announce, counted
from experiments.data.preparation.file_hashes import FileHashes, known_content
from experiments.data.preparation.tfds_files import without_messages

HARD = 14
NAMES = {32: "Pathfinder32", 64: "Pathfinder64", 128: "Path-X", 256: "Path-256"}
"""Image size -> name of the data set."""
LINEAR_PROBE = 0.514


@dataclasses.dataclass(frozen=True)
class PathfinderConfig:
    """Decide whether a contour leads from one marker to the other, given the pixels of an image row by row.

    Pixels are stored as gray values. Their ids are one more, so that black pixels are tokens; the benchmark's own
    pipeline takes black, two pixels of three, for padding.

    Raises:
        ValueError: a field is out of range.
    """

    source: Literal["generated", "lra_release"] = "generated"
    """`generated` draws images as the benchmark's generator did; `lra_release` reads the published ones."""
    size: int = 32
    """Height and width of an image: 32 (Pathfinder), 64, 128 (Path-X) or 256 (Path-256)."""
    contour: int = HARD
    """Segments of a long contour: 14 in the benchmark, 9 and 6 are easier; `generated` takes 3 or more."""
    train: int = 160_000
    """Training images. Smaller sizes take the first ones, of both sources."""
    val: int = 20_000
    """Validation images."""
    test: int = 20_000
    """Test images."""
    seed: int = 0
    """Seed of generated images, 0 to 2³² - 1."""
    workers: int = 0
    """Processes that generate; 0 is one for each core. The images do not depend on it."""

    def __post_init__(self) -> None:
        """Check the fields."""
        window_size(self.size, self.contour)
        sizes = (self.train, self.val, self.test)
        if self.source not in ("generated", "lra_release") or min(sizes) < 1:
            raise ValueError(
                f"Pathfinder needs source 'generated' or 'lra_release' and split sizes >= 1, got "
                f"source={self.source!r}, sizes={sizes}; correct the configuration."
            )
        if self.source == "lra_release" and self.contour not in CONTOUR_FOLDERS:
            raise ValueError(
                f"the release has contours of {', '.join(map(str, CONTOUR_FOLDERS))} segments, got "
                f"contour={self.contour}; take one of these, or source='generated'."
            )
        if not 0 <= self.seed < 2**32 or self.workers < 0:
            raise ValueError(
                f"Pathfinder needs a seed from 0 to 2**32 - 1 and workers >= 0, got seed={self.seed}, "
                f"workers={self.workers}; correct them."
            )

    @property
    def max_len(self) -> int:
        """Tokens of a row, one for each pixel."""
        return self.size**2

    @property
    def title(self) -> str:
        """Name of the data set in tables."""
        contour = "" if self.contour == HARD else f", contours of {self.contour}"
        return f"{NAMES[self.size]}{contour} ({'regenerated' if self.source == 'generated' else 'published images'})"

    @property
    def is_stand_in(self) -> bool:
        """Whether no column of a benchmark may hold the data: shorter contours, or a size that no table has."""
        return self.contour != HARD or self.size == 64

    @property
    def floors(self) -> dict[str, float]:
        """Test accuracies of trivial predictors; the linear probe learned from 5,000 images of size 32."""
        chance = {"majority class": 0.5}
        has_probe = (self.size, self.contour) == (32, HARD)
        return chance | ({"linear probe on pixels": LINEAR_PROBE} if has_probe else {})

    def sizes(self) -> dict[str, int]:
        """Return the number of images of each split."""
        return {"train": self.train, "val": self.val, "test": self.test}

    def is_prepared(self, data_dir: Path, manual_dir: Path | None = None) -> bool:
        """Return whether `prepare` has written the arrays already.

        Args:
            data_dir: folder of prepared data.
            manual_dir: folder of published files. With it, arrays of other published files do not count.
        """
        content = known_content(functools.partial(self._content, data_dir), manual_dir)
        return content is not None and arrays.is_prepared(
            self._builder(content, data_dir), max_len=self.max_len, data_dir=data_dir
        )

    def prepare(
        self, data_dir: Path, *, manual_dir: Path | None = None, verify: bool = False
    ) -> dict[str, arrays.Split]:
        """Return the splits as arrays; the first call generates or reads the images, later ones reuse the files.

        A generation that was killed goes on after its last shard of 500 images.

        Args:
            data_dir: folder of prepared data.
            manual_dir: folder of the published images; see `release_folder`.
            verify: whether to read all prepared data again and compare its SHA-256.

        Returns:
            The splits train, val and test; tokens are gray values, and ids are one more.

        Raises:
            FileNotFoundError: published images are missing.
            ValueError: a published or prepared file is damaged, or the release has fewer images.
            RuntimeError: a process of the generation was killed.
        """
        builder = self._builder(self._content(data_dir, manual_dir), data_dir, manual_dir)
        if not arrays.is_prepared(builder, max_len=self.max_len, data_dir=data_dir):
            announce("generating" if self.source == "generated" else "reading", self.title, self.sizes())
        splits = arrays.prepare(
            builder, max_len=self.max_len, data_dir=data_dir, manual_dir=manual_dir, verify=verify
        )
        shutil.rmtree(self._shards_folder(builder.builder_config.name, data_dir), ignore_errors=True)
        return splits

    def _content(self, data_dir: Path, manual_dir: Path | None) -> str:
        """Return the joint hash of the published metadata, empty for generated images."""
        if self.source == "generated":
            return ""
        folder = release_folder(manual_dir, size=self.size, contour=self.contour)
        return content_hash(folder, FileHashes(data_dir))[:16]

    def _builder(self, content: str, data_dir: Path, manual_dir: Path | None = None) -> Any:
        """Return the TFDS builder, whose name has the hash of the published metadata."""
        options = {"source": self.source, "size": self.size, "contour": self.contour}
        if self.source == "generated":
            options |= {"seed": self.seed, "images_per_shard": IMAGES_PER_SHARD}
        else:
            options |= {"content": content}
        options |= self.sizes()
        name = "-".join(map(str, options.values()))
        make_shards: Callable[[], Shards] = functools.partial(
            self._generated, self._shards_folder(name, data_dir)
        )
        if self.source == "lra_release":
            make_shards = functools.partial(self._published, manual_dir)
        with without_messages():
            return Pathfinder(
                config=PathfinderOptions(name=name, options=options),
                shards=make_shards,
                data_dir=str(data_dir),
                file_format="array_record",
            )

    def _shards_folder(self, name: str, data_dir: Path) -> Path:
        """Return the folder of images that are generated already."""
        return Path(data_dir) / f"generation-pathfinder-{Pathfinder.VERSION}-{name}"

    def _generated(self, folder: Path) -> Shards:
        """Generate all images, and return the functions that read them."""
        shards = split_shards(folder, self.sizes(), seed=self.seed, size=self.size, contour=self.contour)
        workers = self.workers or len(os.sched_getaffinity(0))
        every = [shard for part in shards.values() for shard in part]
        write_shards(every, workers=workers, title=f"generating {NAMES[self.size]}")
        return {
            split: [functools.partial(_shard_rows, shard) for shard in part] for split, part in shards.items()
        }

    def _published(self, manual_dir: Path | None) -> Shards:
        """Return the functions that read the published images."""
        folder = release_folder(manual_dir, size=self.size, contour=self.contour)
        shards = {}
        for split, samples in release_splits(folder, contour=self.contour).items():
            chosen = self._first(split, samples)
            rows = self._read(chosen, split)  # the functions are called in turn, and share it
            count = -(-len(chosen) // IMAGES_PER_SHARD)
            shards[split] = [functools.partial(itertools.islice, rows, IMAGES_PER_SHARD)] * count
        return shards

    def _first(self, split: str, samples: list[Sample]) -> list[Sample]:
        """Return the first images of a split; the one that the release lacks may be missing."""
        size, largest = self.sizes()[split], len(samples)
        lacks_one = (self.size, self.contour) == (32, min(CONTOUR_FOLDERS)) and size == largest + 1
        if size > largest and not lacks_one:
            raise ValueError(
                f"{split} of {self.title} has {largest:,} images in this folder, got {split}={size}; take 1 to "
                f"{largest}, or extract the whole release."
            )
        return samples[:size]

    def _read(self, samples: list[Sample], split: str) -> Rows:
        for sample in counted(samples, f"reading {NAMES[self.size]}, {split}", len(samples)):
            yield read_image(sample.path, self.size), sample.label


def _shard_rows(shard: Shard) -> Rows:
    images, labels = read_shard(shard)
    return zip(images.reshape(len(images), -1), labels.tolist(), strict=True)
