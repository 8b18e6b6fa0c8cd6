"""Flags of samples that are not independent: what is unsound is said, what is sound is silent or noted."""

from typing import Any

import numpy as np
import pytest
from scipy.signal import lfilter
from scipy.stats import norm, rankdata

from pid.estimators.checks.dependence import dependence_flags

N, D = 900, 4
WEIGHTS = ("silent", "note", "doubt", "unusable")


def scores(a):
    return np.stack([norm.ppf((rankdata(column) - 0.5) / len(column)) for column in a.T], axis=1)


def flags_of(samples, **options):
    return dependence_flags(samples, tuple(map(scores, samples)), **options)


def weight_of(samples, **options):
    return max((flag.weight for flag in flags_of(samples, **options)), key=WEIGHTS.index, default="silent")


def autoregressive(rng, phi, n=N, d=D):
    return lfilter([1], [1, -phi], rng.normal(size=(n + 200, d)), axis=0)[200:]


def independent(rng, n=N, d=D):
    x, y, noise = rng.normal(size=(3, n, d))
    return x + y + noise, x, y


def series(phi):
    return lambda rng: tuple(autoregressive(rng, phi) for _ in range(3))


def driven(rng):
    x, y, noise = (autoregressive(rng, 0.9) for _ in range(3))
    return x + y + noise, x, y


def walks(rng):
    return tuple(np.cumsum(rng.normal(size=(N, D)), axis=0) for _ in range(3))


def seasons(rng):
    phase = 2 * np.pi * np.arange(N)[:, None] / 12
    return tuple(np.sin(phase + rng.uniform(0, 6, D)) + rng.normal(size=(N, D)) for _ in range(3))


def drifts(rng):
    time = np.linspace(-1.7, 1.7, N)[:, None]
    return tuple(time * rng.choice([-1, 1], D) + rng.normal(size=(N, D)) for _ in range(3))


def subjects(rng, share=0.5):
    label = np.repeat(np.arange(N // 10), 10)
    common, own = rng.normal(size=(3, N // 10, D))[:, label], rng.normal(size=(3, N, D))
    return tuple(np.sqrt(share) * common + np.sqrt(1 - share) * own)


def subjects_out_of_order(rng):
    """A subject's rows have one target and alike sources, in random order."""
    label = rng.permutation(np.repeat(np.arange(N // 10), 10))
    common, own = rng.normal(size=(3, N // 10, D))[:, label], rng.normal(size=(3, N, D))
    return common[0], common[1] + own[1], common[2] + own[2]


def copies(times, noise=0.0):
    def make(rng):
        rows = rng.permutation(np.tile(np.arange(N // times), times))
        return tuple(a[rows] + noise * rng.normal(size=(len(rows), D)) for a in independent(rng, N // times))

    return make


def sampled_and_held(rng):
    return np.repeat(rng.normal(size=(N // 10, D)), 10, axis=0), *rng.normal(size=(2, N, D))


def in_order_of(variable):
    def make(rng):
        samples = independent(rng)
        return tuple(a[np.argsort(samples[variable][:, 0])] for a in samples)

    return make


def by_class(run):
    def make(rng):
        label = rng.integers(0, 4, N)
        label = np.sort(label) if run is None else np.repeat(label[: N // run], run)
        centers = 1.5 * rng.normal(size=(2, 4, D))
        return np.eye(4)[label], *(centers[:, label] + rng.normal(size=(2, N, D)))

    return make


def by_absent_class(rng):
    """All variables depend on a class that is no feature, and rows are in its order."""
    label = np.sort(rng.integers(0, 10, N))
    return tuple(2 * rng.normal(size=(3, 10, D))[:, label] + rng.normal(size=(3, N, D)))


def by_class_of_a_source(rng):
    label = np.sort(rng.integers(0, 4, N))
    target, y = 1.5 * rng.normal(size=(2, 4, D))[:, label] + rng.normal(size=(2, N, D))
    return target, np.eye(4)[label], y


def half_series(rng):
    """Sources are a series, but the target is not."""
    return rng.normal(size=(N, D)), autoregressive(rng, 0.9), autoregressive(rng, 0.9)


def cut_off(rng):
    return tuple(np.maximum(a, 0) for a in independent(rng))


def whole_numbers(rng):
    return tuple(np.round(a) for a in independent(rng, d=1))


def clusters(rng):
    z = 6 * rng.normal(size=(5, 3 * D))[rng.integers(0, 5, N)] + rng.normal(size=(N, 3 * D))
    return tuple(np.split(z, 3, axis=1))


UNSOUND: dict[str, tuple[Any, str, str]] = {
    "AR .9": (series(0.9), "unusable", "dependent samples"),
    "AR -.9": (series(-0.9), "unusable", "dependent samples"),
    "AR .5": (series(0.5), "doubt", "dependent samples"),
    "driven": (driven, "unusable", "dependent samples"),
    "walks": (walks, "unusable", "dependent samples"),
    "seasons": (seasons, "unusable", "dependent samples"),
    "drifts": (drifts, "doubt", "drift"),
    "subjects": (subjects, "unusable", "dependent samples"),
    "subjects out of order": (subjects_out_of_order, "doubt", "repeated rows"),
    "twice": (copies(2), "unusable", "repeated rows"),
    "five times": (copies(5), "unusable", "repeated rows"),
    "twice, nearly": (copies(2, 0.01), "unusable", "repeated rows"),
    "sampled and held": (sampled_and_held, "doubt", "repeated rows"),
}
SOUND: dict[str, tuple[Any, str]] = {
    "independent": (independent, "silent"),
    "in order of the target": (in_order_of(0), "note"),
    "in order of x": (in_order_of(1), "note"),
    "in order of classes": (by_class(None), "note"),
    "classes in runs": (by_class(20), "silent"),
    "in order of an absent class": (by_absent_class, "doubt"),
    "in order of a source's classes": (by_class_of_a_source, "note"),
    "only sources are a series": (half_series, "silent"),
    "cut off at 0": (cut_off, "silent"),
    "whole numbers": (whole_numbers, "silent"),
    "clusters": (clusters, "silent"),
}


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("name", UNSOUND)
def test_dependent_samples_are_said(name, seed):
    make, weight, kind = UNSOUND[name]
    flags = flags_of(make(np.random.default_rng(seed)))
    assert any(flag.kind == kind for flag in flags), flags
    assert max((flag.weight for flag in flags), key=WEIGHTS.index) == weight


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("name", SOUND)
def test_sound_samples_are_not_doubted(name, seed):
    make, weight = SOUND[name]
    samples = make(np.random.default_rng(seed))
    assert WEIGHTS.index(weight_of(samples)) <= WEIGHTS.index(weight), flags_of(samples)


@pytest.mark.parametrize("n", [8, 20, 60, 200])
@pytest.mark.parametrize("d", [1, 2])
def test_few_independent_samples_are_silent(n, d):
    for seed in range(10):
        assert weight_of(independent(np.random.default_rng(seed), n, d)) == "silent"


def test_an_order_of_subjects_is_a_note_once_groups_are_given():
    samples, label = subjects(np.random.default_rng(0)), np.repeat(np.arange(90), 10)
    (flag,) = flags_of(samples, labels=label, accounted=True)
    assert flag.weight == "note"
    assert "900 rows in 90 groups" in flag


def test_few_groups_are_doubted():
    flags = flags_of(subjects(np.random.default_rng(0)), labels=np.repeat(np.arange(9), 100), accounted=True)
    assert [flag.weight for flag in flags] == ["note", "doubt"]


@pytest.mark.parametrize("seed", range(5))
def test_blocks_turn_the_flag_of_a_stationary_series_into_a_note(seed):
    rng = np.random.default_rng(seed)
    assert weight_of(series(0.9)(rng), accounted=True) == "note"
    assert weight_of(walks(rng), accounted=True) == "unusable"


def test_the_flag_says_the_effective_number():
    rng = np.random.default_rng(0)
    (flag,) = flags_of(tuple(autoregressive(rng, 0.9, n=4000) for _ in range(3)))
    effective = int(flag.split("tell as much as ")[1].split()[0])
    assert effective == pytest.approx(4000 * 0.19 / 1.81, rel=0.2)
