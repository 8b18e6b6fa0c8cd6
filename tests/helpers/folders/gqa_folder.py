"""A synthetic GQA download in the real format: invented questions with and without a task, and tiny JPEG images."""

import csv
import io
import json
import zipfile

import tensorflow_datasets as tfds
from PIL import Image

from pid import gqa
from pid.gqa.question import parse

ROWS = {
    # detailed, structural, semantic, question, answer, last step; {i} is a running number
    "ChooseAttr": ("chooseAttr", "choose", "attr", "Is kettle {i} hot or cold?", "cold", ("choose", "cold|hot")),
    "ChooseCat": (
        "objThisChoose", "choose", "cat", "Is this comet {i} or moon {i}?", "comet {i}",
        ("choose name", "moon {i}|comet {i}"),
    ),
    "ChooseRel": (
        "relChooser", "choose", "rel", "Is the robot to the left or to the right of tower {i}?", "left",
        ("choose rel", "robot,to the left of|to the right of,s (9{i})"),
    ),
    "CompareAttr": ("twoCommon", "compare", "attr", "What have kettle {i} and lid in common?", "color", ("common", "")),
    "LogicalObj": ("existThatOr", "logical", "obj", "Are there robots or dragons {i} that are red?", "yes", ("or", "")),
    "QueryAttr": ("positionQuery", "query", "attr", "On which side is kettle {i}?", "right", ("query", "hposition")),
    None: ("companyChoose", "choose", "attr", "Is van {i} by Ford or Fiat?", "fiat", ("choose company", "ford|fiat")),
    "": ("existThatOr", "verify", "obj", "Is there a red van {i}?", "no", ("exist", "?")),
}  # fmt: skip
IMAGES = 5
SPLITS = ("train", "val", "testdev")


def entry(task, i, image_id):
    """Make a question in the format of GQA's JSON."""
    detailed, structural, semantic, question, answer, (operation, argument) = ROWS[task]
    question, answer, argument = (text.format(i=i) for text in (question, answer, argument))
    first = {"operation": "select", "dependencies": [], "argument": f"kettle ({i})"}
    last = {"operation": operation, "dependencies": [0], "argument": argument}
    return {
        "semantic": [first, last],
        "entailed": [],
        "equivalent": [],
        "question": question,
        "imageId": image_id,
        "isBalanced": i % 2 == 0,
        "groups": {"global": None, "local": "10c-kettle"},
        "answer": answer,
        "semanticStr": f"select: kettle ({i})->{operation}: {argument} [0]",
        "annotations": {"answer": {}, "question": {"1:3": f"4{i}"}, "fullAnswer": {"2": f"5{i}"}},
        "types": {"detailed": detailed, "semantic": semantic, "structural": structural},
        "fullAnswer": f"It is {answer}.",
    }


def questions(split, count=3):
    """Make the JSON of a split: `count` questions of each kind, ids with leading zeros."""
    number = 100 * SPLITS.index(split)
    rows = {}
    for task in ROWS:
        for i in range(count):
            rows[f"0{number:04}"] = entry(task, i, image_id(split, number))
            number += 1
    return rows


def image_id(split, number):
    """Make an image id; the order of images over questions differs from the order of the ids."""
    return f"{SPLITS.index(split)}{2 * number % IMAGES:03}"


def jpeg(number, mode="RGB"):
    """Make an image of one color, 8 pixels wide and 6 high."""
    color = 40 * number if mode == "L" else (40 * number, 0, 0)
    buffer = io.BytesIO()
    Image.new(mode, (8, 6), color).save(buffer, "jpeg")
    return buffer.getvalue()


def write(folder, *, zipped=False):
    """Write questions and images of three splits to a folder, extracted or as two archives. Image 4 is gray."""
    texts = {f"{split}_balanced_questions.json": json.dumps(questions(split)).encode() for split in SPLITS}
    for i in range(10):
        part = dict(list(questions("train").items())[i::10])
        texts[f"train_all_questions/train_all_questions_{i}.json"] = json.dumps(part).encode()
    pictures = {
        f"images/{i}{n:03}.jpg": jpeg(n, "L" if n == 4 else "RGB")
        for i in range(len(SPLITS))
        for n in range(IMAGES)
    }
    if zipped:
        for name, files in (("questions1.2.zip", texts), ("images.zip", pictures)):
            with zipfile.ZipFile(folder / name, "w", zipfile.ZIP_DEFLATED) as archive:
                for member, data in files.items():
                    archive.writestr(member, data)
        return folder
    for name, data in ({f"questions1.2/{name}": text for name, text in texts.items()} | pictures).items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data)
    return folder


def write_csv(path, rows, *, without=()):
    """Write the rows in the format of Zhang et al., except for the columns `without`."""
    lines = []
    for row in rows:
        steps = [step.partition(": ")[::2] for step in row.operations.split("->")]
        operations = [
            {"operation": name, "dependencies": [0] * (i > 0), "argument": argument.removesuffix(" [0]")}
            for i, (name, argument) in enumerate(steps)
        ]
        line = {
            "question_id": row.question_id,
            "img_id": row.image_id,
            "question": row.question,
            "answer": row.answer,
            "true option": row.true_option,
            "false option": row.false_option,
            "central object name": "kettle",
            "type_detailed": row.detailed,
            "type_semantic": row.semantic,
            "type_structural": row.structural,
            "operations": str(operations),
            "captions": 'a kettle, "hot". a\nlid',
            "image_w": 8,
            "full answer": row.full_answer,
        }
        lines.append({name: value for name, value in line.items() if name not in without})
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, lines[0])
        writer.writeheader()
        writer.writerows(lines)
    return path


def build(download, data, config=gqa.QUESTIONS):
    """Build the table from the downloaded files in a folder."""
    builder = gqa.GQA(config=config, data_dir=data, file_format="array_record")
    builder.download_and_prepare(download_config=tfds.download.DownloadConfig(manual_dir=str(download)))
    return builder


def expected(split="val"):
    """Return the questions of a split of that download, in order."""
    return [parse(name, entry) for name, entry in questions(split).items()]


def copies_of(count, *, task="QueryAttr", answer="left", detailed=None):
    """Return copies of one question with different ids, and this answer and detailed type."""
    row = parse("0", entry(task, 0, "1"))
    return [
        row._replace(question_id=f"{i:03}", answer=answer, detailed=detailed or row.detailed)
        for i in range(count)
    ]
