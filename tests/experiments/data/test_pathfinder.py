"""Pathfinder images are those of the benchmark's generator, bit for bit, and both searches draw the same ones."""

import hashlib
import importlib.util
import itertools
import math

import numpy as np
import pytest

from experiments.data import pathfinder
from experiments.data.pathfinder import contour_generator
from experiments.data.pathfinder.contour_images import scene_image
from experiments.data.pathfinder.search import contour_scene, numpy_search
from experiments.data.pathfinder.search.search_tables import COLLISION, DEGREES, search_tables
from experiments.data.pathfinder.search.word_stream import WordStream
from experiments.data.pathfinder.segment_stamps import disc, segment_stamps, to_bytes
from experiments.data.pathfinder.window_sizes import SIZES, distractor_counts, window_size

HAS_NUMBA = importlib.util.find_spec("numba") is not None
METHODS = [
    "numpy",
    pytest.param("numba", marks=pytest.mark.skipif(not HAS_NUMBA, reason="numba is an optional package")),
]
GOLDEN = {
    (32, 6): ("cee96ef9b22bf4fa1369191c", [0, 1, 0, 0, 1, 1, 0, 0], 26.0),
    (32, 9): ("db4da40043312e01ff89f072", [0, 1, 0, 1, 0, 1, 1, 1], 84.875),
    (32, 14): ("f4fe07b1b81711086c71c98f", [0, 0, 0, 0, 1, 1, 0, 1], 422.25),
    (128, 14): ("12d9a7ebe2c02dfc3627a66d", [0, 0, 0, 0, 1, 1, 1, 0], 329.125),
}
"""(size, contour) -> SHA-256 and labels of the first 8 images of seed 0 of the benchmark's generator, mean starts."""


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize(("size", "contour"), GOLDEN)
def test_images_are_those_of_the_generator_of_the_benchmark(size, contour, method):
    digest, labels, starts = GOLDEN[size, contour]
    stream = pathfinder.scenes(0, size=size, contour=contour, method=method)
    scenes, scene_labels = zip(*itertools.islice(stream, 8), strict=True)
    images = np.stack([scene_image(scene, SIZES[size]) for scene in scenes])
    assert list(scene_labels) == labels
    assert np.mean([scene.starts for scene in scenes]) == starts
    assert hashlib.sha256(images.tobytes()).hexdigest()[:24] == digest


def test_generate_returns_the_images_and_labels_of_the_scenes():
    digest, labels, _ = GOLDEN[32, 9]
    images, image_labels = pathfinder.generate(8, seed=0, contour=9)
    assert (images.dtype, images.shape) == (np.uint8, (8, 32, 32))
    assert image_labels.tolist() == labels
    assert hashlib.sha256(images.tobytes()).hexdigest()[:24] == digest


@pytest.mark.exhaustive
@pytest.mark.parametrize("method", METHODS)
def test_a_thousand_images_have_the_statistics_of_the_generator_of_the_benchmark(method):
    images, labels = pathfinder.generate(1000, seed=1, method=method)
    assert labels.mean() == 0.481
    assert images.mean() == pytest.approx(20.20, abs=0.005)
    assert (images > 0).mean() == pytest.approx(0.342, abs=0.0005)
    stream = itertools.islice(pathfinder.scenes(1, method=method), 1000)
    assert np.mean([scene.starts for scene, _ in stream]) == pytest.approx(326, abs=0.5)


@pytest.mark.skipif(not HAS_NUMBA, reason="numba is an optional package")
@pytest.mark.parametrize(
    ("size", "contour", "seed"), [(32, 14, (0, 2, 7)), (32, 5, 11), (64, 6, 3), (128, 9, 5), (256, 14, 1)]
)
def test_the_compiled_search_draws_what_the_search_in_numpy_draws(size, contour, seed):
    images, labels = pathfinder.generate(4, seed=seed, size=size, contour=contour, method="numba")
    twins, twin_labels = pathfinder.generate(4, seed=seed, size=size, contour=contour, method="numpy")
    np.testing.assert_array_equal(images, twins)
    np.testing.assert_array_equal(labels, twin_labels)


@pytest.mark.parametrize("size", [64, 256])
def test_other_sizes_have_images_of_their_own(size):
    images, labels = pathfinder.generate(2, seed=0, size=size, contour=6)
    assert images.shape == (2, size, size)
    assert set(labels.tolist()) <= {0, 1}
    assert images.min() == 0
    assert images.max() == 255
    assert not np.array_equal(images[0], images[1])


def test_the_first_images_do_not_depend_on_the_number():
    images, labels = pathfinder.generate(5, seed=3, contour=6)
    first, first_labels = pathfinder.generate(3, seed=3, contour=6)
    np.testing.assert_array_equal(images[:3], first)
    np.testing.assert_array_equal(labels[:3], first_labels)
    other, _ = pathfinder.generate(3, seed=4, contour=6)
    assert not np.array_equal(first, other)
    none, no_labels = pathfinder.generate(0, seed=3)
    assert none.shape == (0, 32, 32)
    assert no_labels.shape == (0,)


@pytest.mark.parametrize("limit", [1, 2, 3, 30, 256, 257, 360])
def test_words_give_the_draws_of_the_legacy_generator(limit):
    state, words = np.random.RandomState((5, limit)), WordStream((5, limit))
    for _ in range(300):
        assert words.below(limit) == state.randint(0, limit)
        assert words.uniform() == state.rand()


@pytest.mark.skipif(not HAS_NUMBA, reason="numba is an optional package")
def test_compiled_words_give_the_draws_of_the_legacy_generator():
    from experiments.data.pathfinder.search import twister

    state, compiled = np.random.RandomState(9), twister.initial_state(9)
    for i in range(2000):  # several times the 624 words of the state
        assert twister.below(compiled, 1 + i % 400) == state.randint(0, 1 + i % 400)
        assert twister.uniform(compiled) == state.rand()


def test_few_angles_of_a_first_segment_are_possible_as_in_the_benchmark():
    counts = {
        (size, margin): int((np.diff(search_tables(size, margin).window_starts) > 0).sum())
        for size, margin in ((32, 1), (128, 2), (128, 3))
    }
    assert counts == {(32, 1): 30, (128, 2): 354, (128, 3): 360}


def test_free_points_are_those_that_a_loop_over_pixels_finds():
    t, window = search_tables(32, 1), SIZES[32]
    border = 2 * window.seed_distance
    blocked = np.ones((32, 32), bool)
    blocked[border:-border, border:-border] = False
    for angle in range(DEGREES):
        offsets = t.window_offsets[t.window_starts[angle] : t.window_starts[angle + 1]]
        shifts = [divmod(int(offset) + t.side // 2, t.side) for offset in offsets]
        shifts = [(dy, dx - t.side // 2) for dy, dx in shifts]
        free = [
            32 * y + x
            for y in range(32)
            for x in range(32)
            if shifts
            and not any(blocked[y + dy, x + dx] for dy, dx in shifts if 0 <= y + dy < 32 and 0 <= x + dx < 32)
        ]
        assert t.free_points[t.free_starts[angle] : t.free_starts[angle + 1]].tolist() == free


def test_sparse_stamps_are_the_stamps():
    t, window = search_tables(32, 1), SIZES[32]
    angle = 200 - DEGREES // 2
    line, area = segment_stamps(
        math.radians(angle), length=window.length, thickness=window.thickness, margin=1
    )
    for name, stamp in (("line", line), ("area", area)):
        canvas = np.zeros(t.side**2, np.uint8)
        part = slice(*getattr(t, f"{name}_starts")[200:202])
        canvas[getattr(t, f"{name}_offsets")[part] + 20 * t.side + 20] = getattr(t, f"{name}_values")[part]
        expected = np.zeros((t.side, t.side), np.uint8)
        expected[16:25, 16:25] = stamp
        np.testing.assert_array_equal(canvas.reshape(t.side, -1), expected)
    part = slice(*t.solid_starts[200:202])
    solid = area[area >= COLLISION - 255].astype(int)
    assert (t.solid_limits[part] + solid).tolist() == [COLLISION] * len(solid)


def test_turns_are_the_squared_cosine_of_the_scaled_angle():
    t, continuity = search_tables(128, 2), SIZES[128].continuity
    angles = [math.radians(degrees) for degrees in range(-180, 180)]
    for a in (0, 90, 225):
        for c, (dy, dx) in enumerate(t.candidates):
            difference = abs(angles[a] - math.atan2(dy, dx))
            scaled = min(continuity * min(difference, 2 * math.pi - difference), math.pi / 2)
            assert t.turns[a, c] == pytest.approx(max(math.cos(scaled), 0) ** 2, abs=1e-15)


def test_a_disc_and_bytes_by_hand():
    assert len(disc(1)) == 5
    assert len(disc(2)) == 13
    assert to_bytes(np.array([0.0, 0.5, 2.0])).tolist() == [0, 64, 255]
    assert to_bytes(np.array([1.0, 1.0])).tolist() == [0, 0]
    assert to_bytes(np.array([3, 4], np.uint8)).tolist() == [3, 4]


def test_markers_lie_on_one_contour_or_on_two():
    stream = itertools.islice(pathfinder.scenes(0, contour=6), 40)
    scenes = [(scene, label) for scene, label in stream]
    assert {label for _, label in scenes} == {0, 1}
    assert all(scene.origin != scene.tip for scene, _ in scenes)
    assert all(0 <= x < 32 for scene, _ in scenes for x in (*scene.origin, *scene.tip))
    assert all(scene.targets.any() for scene, _ in scenes)
    assert sum(scene.distractors.any() for scene, _ in scenes) > 30  # a short contour needs room


def test_the_parameters_are_those_of_the_benchmark():
    assert distractor_counts(SIZES[32], 14) == (5, 4)
    assert distractor_counts(SIZES[128], 14) == (8, 4)
    assert distractor_counts(SIZES[32], 6) == (10, 2)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"count": -1}, "is 0 or more, got count=-1; raise it"),
        ({"size": 48}, "size among 32, 64, 128, 256, got 48; take one"),
        ({"contour": 2}, "3 segments or more, got contour=2"),
        ({"method": "fast"}, "method is 'auto', 'numba' or 'numpy', got 'fast'"),
    ],
)
def test_arguments_out_of_range_are_refused(arguments, words):
    with pytest.raises(ValueError, match=words):
        pathfinder.generate(**({"count": 1, "seed": 0} | arguments))


def test_without_numba_the_search_in_numpy_serves(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    assert isinstance(contour_generator.open_search(0, "auto"), numpy_search.NumpySearch)
    with pytest.raises(ValueError, match="needs the package numba, got none; install the extra 'pathfinder'"):
        contour_generator.open_search(0, "numba")


@pytest.mark.parametrize("method", METHODS)
def test_contours_without_room_are_refused(monkeypatch, method):
    monkeypatch.setattr(contour_scene, "MAX_STARTS", 50)
    for module in ("numpy_search", "numba_search"):
        if module == "numpy_search" or HAS_NUMBA:
            monkeypatch.setattr(f"experiments.data.pathfinder.search.{module}.MAX_STARTS", 50)
    with pytest.raises(
        ValueError, match="two contours of 90 segments must fit an image of size 32, got none in 50"
    ):
        pathfinder.generate(1, seed=0, contour=90, method=method)


def test_a_size_and_a_contour_are_checked_together():
    assert window_size(32, 3) is SIZES[32]
    with pytest.raises(ValueError, match="got contour=0"):
        window_size(32, 0)
