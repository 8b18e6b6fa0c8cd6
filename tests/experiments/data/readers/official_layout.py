"""Write miniatures of the published data sets in exactly the layout in which they are published."""

import numpy as np
from PIL import Image

from experiments.data import listops
from experiments.data.text.imdb import CLASSES
from tests.experiments.data.readers.miniatures import write_tar

HARD = "lra_release/lra_release/pathfinder32/curv_contour_length_14"
TAIL = "1.0 14 2 4 5 1.0 0.75 1 [1.5]"
"""The columns of a line of the Pathfinder metadata after its label."""
REVIEWS = {
    "train": [{"text": f"train <br /> \u00e9 {i}", "label": i % 2} for i in range(20)],
    "test": [{"text": f"test {i}", "label": i % 2} for i in range(6)],
    "unsupervised": [{"text": "no class", "label": -1}],
}


def write_listops(folder, *, seed=0, rows=12, end="\n"):
    """Write the three files of ListOps, with `rows` sequences of less than 30 tokens in each."""
    folder.mkdir(parents=True, exist_ok=True)
    pairs = list(listops.generate(3 * rows, seed=seed, min_length=3, max_length=30))
    for index, split in enumerate(("train", "val", "test")):
        lines = [f"{' '.join(tokens)}\t{y}" for tokens, y in pairs[index * rows : (index + 1) * rows]]
        content = end.join(["Source\tTarget", *lines]) + end
        (folder / f"basic_{split}.tsv").write_bytes(content.encode())
    return folder


def write_imdb(folder, *, order=("neg", "pos"), train=20, test=6):
    """Write the archive of IMDb: one class after the other, and files that are no reviews."""
    files = {"aclImdb/README": b"readme", "aclImdb/imdb.vocab": b"the\n"}
    for split, count in (("test", test), ("train", train)):
        files[f"aclImdb/{split}/urls_pos.txt"] = b"http"
        for kind in order:
            label = CLASSES[kind]
            for i in range(label, count, 2):
                content = REVIEWS[split][i]["text"].encode() if i < len(REVIEWS[split]) else b"x"
                files[f"aclImdb/{split}/{kind}/{i}_{9 * label + 1}.txt"] = content
        files[f"aclImdb/{split}/labeledBow.feat"] = b"9 0:9"
    files["aclImdb/train/unsup/0_0.txt"] = b"no class"
    return write_tar(folder / "aclImdb_v1.tar.gz", files)


def write_pairs(folder, *, end=b"\n", **sizes):
    """Write the three files of pairs of papers, with `sizes` rows."""
    folder.mkdir(parents=True, exist_ok=True)
    for part, count in ({"train": 8, "eval": 4, "test": 4} | sizes).items():
        rows = (
            b"%d.0\tP%d\tQ%d\tfirst %d\tsecond %s" % (i % 2, i, i, i, part.encode()) for i in range(count)
        )
        (folder / f"new_aan_pairs.{part}.tsv").write_bytes(end.join(rows) + end)
    return folder


def random_images(count, seed):
    """Color images and labels, all different."""
    colors = np.random.default_rng(seed).integers(0, 256, (count, 32, 32, 3), dtype=np.uint8)
    return list(zip(colors, (np.arange(count) * 3 % 10).tolist(), strict=True))


TRAIN_IMAGES, TEST_IMAGES = random_images(20, 1), random_images(5, 2)


def write_cifar(folder, **changes):
    """Write the binary archive of CIFAR-10: batches out of order, the test batch, and names of classes."""
    batches = {f"data_batch_{i + 1}.bin": TRAIN_IMAGES[4 * i : 4 * i + 4] for i in (1, 4, 0, 2, 3)}
    files = {"batches.meta.txt": b"airplane\n"}
    for name, pairs in ({"test_batch.bin": TEST_IMAGES} | batches).items():
        files[name] = b"".join(
            bytes([label]) + colors.transpose(2, 0, 1).tobytes() for colors, label in pairs
        )
    files |= changes
    return write_tar(
        folder / "cifar-10-binary.tar.gz",
        {f"cifar-10-batches-bin/{name}": content for name, content in files.items()},
    )


def write_pathfinder(root, *, folder=HARD, seed=0, end="\n", size=32):
    """Write two subfolders of ten Pathfinder images each, and return pixels and labels by the key of the image."""
    rng, expected = np.random.default_rng(seed), {}
    path = root / folder
    (path / "metadata").mkdir(parents=True)
    for number in range(2):
        (path / "imgs" / str(number)).mkdir(parents=True)
        lines = []
        for sample in range(10):
            pixels, label = rng.integers(0, 256, (size, size), np.uint8), int(rng.integers(2))
            Image.fromarray(pixels).save(path / "imgs" / str(number) / f"sample_{sample}.png")
            lines.append(f"imgs/{number} sample_{sample}.png {sample} {label} {TAIL}")
            expected[f"imgs/{number}_sample_{sample}.png_{sample + 1}"] = (pixels.ravel(), label)
        (path / "metadata" / f"{number}.npy").write_bytes((end.join(lines) + end).encode())
    return expected
