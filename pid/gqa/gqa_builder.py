"""GQA [Hudson & Manning, CVPR 2019] as a TFDS data set, in array_record files, without TensorFlow."""

import dataclasses
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, Literal, cast, get_args

import numpy as np
import tensorflow_datasets as tfds
from tensorflow_datasets.core.shuffle import DuplicatedKeysError
from tqdm.auto import tqdm

from pid.gqa import source_files
from pid.gqa.json_stream import entries
from pid.gqa.question import Question, parse
from pid.gqa.task_filters import task_of

Table = Literal["questions", "images"]
Part = Literal["balanced", "all"]
SPLITS = ("train", "val", "testdev")
TRAIN_FILES = 10
"""Files of the unbalanced questions of train; every other set of questions is one file."""
JPEG = b"\xff\xd8"


@dataclasses.dataclass(eq=False, kw_only=True)
class GQAConfig(tfds.core.BuilderConfig):
    """Configuration of a table of GQA. Its name is derived from its fields, so different tables never share a folder.

    Raises:
        ValueError: an unknown table, part or split, or no split.

    Example:
        >>> from pid import gqa
        >>> gqa.GQAConfig(table="images", only_tasks=True).name
        'images-balanced-tasks-val'
    """

    name: str = dataclasses.field(default="", init=False)
    """Name of the configuration, derived from the other fields."""

    table: Table | str = "questions"
    """Kind of table. `questions`: one row per question. `images`: one row per image that those questions are about."""

    part: Part | str = "balanced"
    """Part of the questions. `all` has about 15 times as many."""

    only_tasks: bool = False
    """Leave out the questions that belong to none of the six tasks, and the images of such questions only."""

    splits: tuple[str, ...] = ("val",)
    """Splits among train, val and testdev, which have answers. The tasks are drawn from val."""

    def __post_init__(self) -> None:
        """Check the fields, order the splits and derive the name."""
        known = (
            self.table in get_args(Table)
            and self.part in get_args(Part)
            and isinstance(self.only_tasks, bool)
        )
        several = isinstance(self.splits, tuple | list) and all(isinstance(name, str) for name in self.splits)
        if not known or not several or not self.splits or not set(self.splits) <= set(SPLITS):
            raise ValueError(
                "GQA needs table 'questions' or 'images', part 'balanced' or 'all', only_tasks true or false and a "
                f"tuple of splits among {', '.join(SPLITS)}, got table={self.table!r}, part={self.part!r}, "
                f"only_tasks={self.only_tasks!r}, splits={self.splits!r}; correct the configuration."
            )
        self.splits = tuple(split for split in SPLITS if split in self.splits)
        self.name = "-".join((self.table, self.part, *["tasks"] * self.only_tasks, *self.splits))


QUESTIONS = GQAConfig()
"""Configuration of the balanced questions of val."""

IMAGES = GQAConfig(table="images")
"""Configuration of the images of the balanced questions of val."""


class GQA(tfds.core.GeneratorBasedBuilder):
    """TFDS builder of the questions, or of the images they are about.

    `pid.gqa.questions` and `pid.gqa.Images` read them back.

    `GQA(config=QUESTIONS, data_dir="data", file_format="array_record")` works without TensorFlow. A row of the
    questions has the fields of `Question`. A row of the images has `image_id` and the JPEG file; rows are ordered by
    id, and `info.metadata["image_ids"][split]` lists the ids in that order, so the position of an id is its row.

    Questions files are parsed entry by entry from the zip or the folder and never loaded whole, so they take 5 MB of
    memory whatever their size; json.load takes six times the size of the extracted file. The table of images holds its
    ids and, if the images are in their zip, the index of it.

    Args:
        config: a `GQAConfig`, or the name of one of the two presets.
        **kwargs: arguments of `tfds.core.GeneratorBasedBuilder`, such as `data_dir`.

    Raises:
        FileNotFoundError: on building, a missing questions file or image.
        ValueError: on building, broken JSON, a question that lacks fields, an image that is no JPEG.

    Example:
        >>> from pid import gqa
        >>> gqa.GQA(config="images-balanced-val", data_dir="data").builder_config is gqa.IMAGES
        True

    Reference:
        Hudson & Manning, "GQA", CVPR 2019.
    """

    VERSION = tfds.core.Version("1.0.0")
    BUILDER_CONFIGS = [QUESTIONS, IMAGES]
    MANUAL_DOWNLOAD_INSTRUCTIONS = (
        "Download questions1.2.zip and, for the table of images, images.zip from "
        "https://cs.stanford.edu/people/dorarad/gqa/download.html into one folder, or extract them into its folders "
        "questions1.2 and images. Pass that folder."
    )
    code_path = None  # otherwise TFDS looks for checksums with a package that it does not install

    def __init__(self, *, config: GQAConfig | str = QUESTIONS, **kwargs: Any) -> None:
        """Replace an equal configuration by the preset itself, because TFDS refuses a copy."""
        if not isinstance(config, GQAConfig) and config not in [
            preset.name for preset in self.BUILDER_CONFIGS
        ]:
            names = " or ".join(preset.name for preset in self.BUILDER_CONFIGS)
            raise ValueError(
                f"a configuration of GQA is a GQAConfig or {names}, got {config!r}; make a GQAConfig."
            )
        presets = {preset.name: preset for preset in self.BUILDER_CONFIGS}
        name = config if isinstance(config, str) else config.name
        super().__init__(config=presets.get(name, config), **kwargs)

    def download_and_prepare(self, **kwargs: Any) -> None:
        """Build the table, see `tfds.core.DatasetBuilder.download_and_prepare`.

        Raises:
            ValueError: two questions of a split have one id, besides the errors of the class.
        """
        try:
            super().download_and_prepare(**kwargs)
        except (DuplicatedKeysError, ModuleNotFoundError) as error:  # TFDS asks TensorFlow for a message
            duplicate = _duplicate_of(error)
            if duplicate is None:
                raise
            row: Any = cast(Any, self.info.features).deserialize_example_np(duplicate.item1)
            raise ValueError(
                f"a question has an id of its own, got {row['question_id'].decode()} twice in {self.name}; download "
                f"the file of its questions again."
            ) from error

    def _info(self) -> tfds.core.DatasetInfo:
        images = cast(GQAConfig, self.builder_config).table == "images"
        return tfds.core.DatasetInfo(
            builder=self,
            features=_image_features() if images else _question_features(),
            disable_shuffling=images,
            metadata=tfds.core.MetadataDict(),
        )

    def _split_generators(self, dl_manager: Any) -> dict[str, Any]:
        config = cast(GQAConfig, self.builder_config)
        root = Path(dl_manager.manual_dir)
        rows_of = {split: _questions(root, split, config) for split in config.splits}
        if config.table == "questions":
            return {
                split: self._generate_examples(_with_bar(rows, f"questions of {split}"))
                for split, rows in rows_of.items()
            }
        files = source_files.images(root)
        ids = {split: _image_ids(rows, files) for split, rows in rows_of.items()}
        cast(dict, self.info.metadata)["image_ids"] = {split: list(rows) for split, rows in ids.items()}
        return {
            split: _images(_with_bar(rows.items(), f"images of {split}"), files)
            for split, rows in ids.items()
        }

    def _generate_examples(self, rows: Iterator[Question]) -> Iterator[tuple[str, dict[str, Any]]]:
        for row in rows:
            mentions = [mention._asdict() for mention in row.mentions]
            yield row.question_id, row._asdict() | {"mentions": mentions}


def _duplicate_of(error: BaseException | None) -> DuplicatedKeysError | None:
    """The error of two equal keys among the causes of an error."""
    while error is not None and not isinstance(error, DuplicatedKeysError):
        error = error.__cause__ or error.__context__
    return error


def _with_bar(rows: Iterable[Any], title: str) -> Iterator[Any]:
    """Yield the rows. A bar counts them if they take more than five seconds."""
    yield from tqdm(rows, title, ncols=79, delay=5.0, mininterval=1.0, leave=False)


def _question_features() -> tfds.features.FeaturesDict:
    text = tfds.features.Text
    mention = {"text": text(), "words": text(), "object_id": text()}
    special = {"is_balanced": tfds.features.Scalar(np.bool_), "mentions": tfds.features.Sequence(mention)}
    return tfds.features.FeaturesDict({name: special.get(name) or text() for name in Question._fields})


def _image_features() -> tfds.features.FeaturesDict:
    image = tfds.features.Image(shape=(None, None, 3), encoding_format="jpeg")
    return tfds.features.FeaturesDict({"image_id": tfds.features.Text(), "image": image})


def _questions(root: Path, split: str, config: GQAConfig) -> Iterator[Question]:
    names = [f"{split}_{config.part}_questions.json"]
    if (split, config.part) == ("train", "all"):
        names = [f"train_all_questions/train_all_questions_{i}.json" for i in range(TRAIN_FILES)]
    files = source_files.questions(root)
    total, count = 0, 0
    for name in names:
        with files.open(name) as file:
            for question_id, entry in entries(file, name):
                total += 1
                row = parse(question_id, entry)
                if not config.only_tasks or task_of(row):
                    count += 1
                    yield row
    if not count:
        kind = "question of a task" if config.only_tasks else "question"
        raise ValueError(
            f"a table has at least one {kind}, got {total} questions in {', '.join(names)} of which none is one; "
            f"download the file again{', or take only_tasks=False' * config.only_tasks}."
        )


def _image_ids(rows: Iterator[Question], files: source_files.Download) -> dict[str, str]:
    """Return the images ordered by id, each with its first question; raise FileNotFoundError if one is missing."""
    first_questions: dict[str, str] = {}
    for row in rows:
        first_questions.setdefault(row.image_id, row.question_id)
    missing = [image for image in first_questions if f"{image}.jpg" not in files]
    if missing:
        raise FileNotFoundError(
            f"every question needs its image: {missing[0]}.jpg of question {first_questions[missing[0]]} is in neither "
            f"{files.locations} ({len(missing)} of {len(first_questions)} images are missing); "
            "download images.zip again."
        )
    return dict(sorted(first_questions.items()))


def _images(
    question_of_image: Iterator[tuple[str, str]], files: source_files.Download
) -> Iterator[tuple[int, dict[str, Any]]]:
    for number, (image_id, question_id) in enumerate(question_of_image):
        with files.open(f"{image_id}.jpg") as file:
            data = file.read()
        if not data.startswith(JPEG):
            raise ValueError(
                f"an image is a JPEG file, got {image_id}.jpg of question {question_id} with {len(data)} bytes that "
                f"begin {data[:4]!r}; download images.zip again."
            )
        yield number, {"image_id": image_id, "image": data}
