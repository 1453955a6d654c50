"""The clustering equals its NumPy reference to the last bit and matches hand-computed cases."""

import numpy as np
import pytest
import reference

from bev_instseg.ops.cluster import MARGIN_SQUARED, cluster
from bev_instseg.structures import PillarEmbeddings

pytestmark = pytest.mark.kernel

ROUND = (1.0, 0.0, 1.0)  # a precision: sigma 1 m, so the margin is at sqrt(2 ln 2) = 1.177 m
NARROW = (400.0, 0.0, 400.0)  # margin at 0.059 m


def embeddings(centre_m, seed, precision=ROUND):
    seed = np.array(seed, np.float32)
    if seed.ndim == 1:
        seed = seed[:, None]
    centre_m = np.array(centre_m, np.float32).reshape(-1, 2)
    precision = np.broadcast_to(np.array(precision, np.float32), (len(seed), 3)).copy()
    return PillarEmbeddings(centre_m, precision, seed)


def on_x(x, seed, precision=ROUND):
    """Return embeddings along the x axis."""
    return embeddings([(value, 0.0) for value in x], seed, precision)


def clusters_of(emb, seed_threshold=0.6, member_threshold=0.3, min_free=0.5):
    """Cluster, and compare with the reference and the invariants."""
    ours = cluster(emb, seed_threshold, member_threshold, min_free)
    theirs = reference.cluster(emb, seed_threshold, member_threshold, min_free)
    for name in ("labels", "classes", "scores", "openers"):
        assert getattr(ours, name).dtype == (np.float32 if name == "scores" else np.int32)
        np.testing.assert_array_equal(getattr(ours, name), getattr(theirs, name), err_msg=name)
    used = np.unique(ours.labels[ours.labels > 0])
    np.testing.assert_array_equal(used, np.arange(1, len(ours.classes) + 1))
    best = emb.seed[ours.labels > 0].max(axis=1)
    assert (best >= np.float32(member_threshold)).all()
    return ours


def labels_of(emb, *thresholds):
    return clusters_of(emb, *thresholds).labels.tolist()


def random_embeddings(seed, pillars, classes, objects):
    """Return pillars that point at objects more or less confidently, and background."""
    rng = np.random.default_rng(seed)
    object_centre = rng.uniform(-30, 30, (objects, 2))
    owner = rng.integers(-1, objects, pillars)
    centre = rng.uniform(-30, 30, (pillars, 2))
    near = object_centre[owner] + rng.normal(0, 0.5, (pillars, 2))
    centre = np.where(owner[:, None] >= 0, near, centre)
    sigma = np.exp(rng.uniform(np.log(0.1), np.log(3), (pillars, 2)))
    yaw = rng.uniform(0, np.pi, pillars)
    c, s = np.cos(yaw), np.sin(yaw)
    along, across = 1 / sigma.T**2
    precision = np.stack(
        [
            along * c * c + across * s * s,
            (along - across) * c * s,
            along * s * s + across * c * c,
        ],
        axis=1,
    )
    seeds = rng.random((pillars, classes)) ** 2
    seeds = np.where(rng.random((pillars, 1)) < 0.5, np.round(seeds, 1), seeds)  # many ties
    return embeddings(centre, seeds, precision)


@pytest.mark.parametrize("classes", [1, 3, 5])
@pytest.mark.parametrize("pillars", [1, 20, 900])
def test_equals_reference_on_random_embeddings(pillars, classes):
    for seed in range(8):
        emb = random_embeddings(seed, pillars, classes, 1 + pillars // 15)
        clusters_of(emb)
        clusters_of(emb, 0.3, 0.6, 0.0)
        clusters_of(emb, 0.0, 0.0, 1.0)
        clusters_of(emb, 0.9, 0.1, 0.3)


@pytest.mark.parametrize("part", [0.05, 0.5])
def test_equals_reference_on_extreme_numbers(part):
    numbers = np.array(
        [np.nan, np.inf, -np.inf, 0, -0.0, 1e-45, 1e-20, 1e20, 3e38, -3e38], np.float32
    )
    rng = np.random.default_rng(0)
    for seed in range(20):
        emb = random_embeddings(seed, 200, 3, 8)
        for array in (emb.centre_m, emb.precision, emb.seed):
            at = rng.random(array.shape) < part
            array[at] = rng.choice(numbers, at.sum())
        np.clip(emb.seed, 0, 1, out=emb.seed)  # NaN stays
        clusters_of(emb)


@pytest.mark.parametrize("classes", [1, 5])
def test_no_pillars(classes):
    clusters = clusters_of(embeddings(np.zeros((0, 2)), np.zeros((0, classes))))
    assert len(clusters.labels) == len(clusters.classes) == len(clusters.scores) == 0


def test_nothing_above_a_threshold():
    emb = on_x([0, 1, 5], [0.59, 0.5, 0.2])
    clusters = clusters_of(emb)
    assert clusters.labels.tolist() == [0, 0, 0]
    assert len(clusters.classes) == len(clusters.scores) == 0
    assert labels_of(emb, 0.0, 0.6) == [0, 0, 0]  # an opener must be a possible member itself


def test_thresholds_are_inclusive_in_float32():
    """float32(0.6) is above 0.6 and float32(0.7) below 0.7; both reach their own threshold."""
    assert labels_of(on_x([0], [0.6])) == [1]
    assert labels_of(on_x([0, 9], [0.7, 0.7]), 0.7, 0.7) == [1, 2]
    assert labels_of(on_x([0, 1], [0.9, 0.3])) == [1, 1]
    below = np.nextafter(np.float32(0.3), np.float32(0))
    assert labels_of(on_x([0, 1], [0.9, below])) == [1, 0]


def test_margin_of_a_round_gaussian():
    # 1.177 m around the first and the fifth.
    emb = on_x([0, 1.17, 1.18, -1.17, 10, 11.17], [0.9, 0.4, 0.4, 0.4, 0.8, 0.4])
    assert labels_of(emb) == [1, 1, 0, 1, 2, 2]


def test_each_seed_has_its_own_margin():
    wide = (0.01, 0, 0.01)  # sigma 10 m
    emb = on_x(
        [0, 5, 50, 50.05, 50.1], [0.9, 0.4, 0.8, 0.4, 0.4], [wide, ROUND, NARROW, wide, wide]
    )
    assert labels_of(emb) == [1, 1, 2, 2, 0]


def test_hand_computed_oriented_margin():
    """Sigma 2 m along 45 degrees and 0.5 m across: W = R diag(1/4, 4) R^T.

    Squared distances: (1.5, 1.5) has 4.5 / 4 = 1.125 and is inside; (1.5, -1.5) has 4.5 * 4 = 18.
    """
    positions = [
        (0, 0),
        (1.5, 1.5),
        (1.5, -1.5),
        (-1.5, -1.5),
        (-1.5, 1.5),
        (0.4, 0.4),
        (0.4, -0.4),
    ]
    positions = np.add(positions, [20, -30])
    seeds = [0.9, *[0.4] * 6]
    assert labels_of(embeddings(positions, seeds, (2.125, -1.875, 2.125))) == [1, 1, 0, 1, 0, 1, 1]
    assert labels_of(embeddings(positions, seeds, (2.125, 1.875, 2.125))) == [1, 0, 1, 0, 1, 1, 1]
    # The same extent along x and y without the orientation includes neither.
    assert labels_of(embeddings(positions, seeds, (2.125, 0, 2.125))) == [1, 0, 0, 0, 0, 1, 1]


def test_on_the_margin_is_outside():
    """xx + 2 xy + yy, split so that d = (1, 1) has d^2 == 2 ln 2 exactly."""
    xx = 1.28125
    yy = float(np.float32(MARGIN_SQUARED - xx))
    xy = (MARGIN_SQUARED - xx - yy) / 2
    assert xy == np.float32(xy)
    assert xx + 2 * xy + yy == MARGIN_SQUARED
    positions, seeds = [(0, 0), (1, 1)], [0.9, 0.4]
    for step, expected in ((-1, [1, 1]), (0, [1, 0]), (1, [1, 0])):
        # The smallest change of 2 xy that float64 resolves next to 2 ln 2.
        moved = xy + step * 2.0**-53
        assert moved == np.float32(moved)
        emb = embeddings(positions, seeds, (xx, moved, yy))
        assert cluster(emb, 0.6, 0.3, 0.5).labels.tolist() == expected


def test_ties_go_to_the_lower_pillar():
    # The second reaches both others; the first has the same seed and precedes it.
    emb = on_x([0, 1, 2], [0.9, 0.9, 0.9])
    assert labels_of(emb) == [1, 1, 2]
    assert labels_of(on_x([0, 1, 2], [0.9, 0.95, 0.9])) == [1, 1, 1]
    assert labels_of(on_x([2, 1, 0], [0.8, 0.8, 0.8])) == [1, 1, 2]


def test_a_claimed_pillar_stays_with_its_instance():
    # 1.0 is within the margins of both seeds; the higher one claims it.
    assert labels_of(on_x([0, 1, 2, 2.5], [0.8, 0.4, 0.9, 0.4])) == [2, 1, 1, 1]
    assert labels_of(on_x([0, 1, 2, 2.5], [0.9, 0.4, 0.8, 0.4])) == [1, 1, 2, 2]


def test_hand_computed_min_free():
    # The first claims 0 and 1; the margin of the seed at 2 holds 1, 2, 3: two of three are free.
    x, seeds = [0, 1, 2, 3], [0.9, 0.4, 0.8, 0.4]
    assert labels_of(on_x(x, seeds), 0.6, 0.3, 0.66) == [1, 1, 2, 2]
    assert labels_of(on_x(x, seeds), 0.6, 0.3, 0.67) == [1, 1, 0, 0]
    # Exactly half is enough.
    x, seeds = [0, 1, 2], [0.9, 0.4, 0.8]
    assert labels_of(on_x(x, seeds), 0.6, 0.3, 0.5) == [1, 1, 2]
    assert labels_of(on_x(x, seeds), 0.6, 0.3, 0.501) == [1, 1, 0]


def test_min_free_ignores_pillars_below_the_member_threshold():
    # 1.0 and 3.0 are background: the margin of the seed at 2 holds only itself.
    emb = on_x([0, 1, 2, 3], [0.9, 0.2, 0.8, 0.2])
    assert labels_of(emb, 0.6, 0.3, 1.0) == [1, 0, 2, 0]


def test_a_skipped_seed_can_still_be_claimed():
    # The margin of the seed at 1.3 holds 0.5, 1, 1.3: one of three is free. In that of the last
    # one, half are free.
    x, seeds = [0, 0.5, 1, 1.3, 2.3], [0.95, 0.4, 0.4, 0.9, 0.85]
    assert labels_of(on_x(x[:4], seeds[:4])) == [1, 1, 1, 0]
    assert labels_of(on_x(x, seeds)) == [1, 1, 1, 2, 2]


@pytest.mark.parametrize("count", [300, 1500])
def test_instances_are_not_limited(count):
    rng = np.random.default_rng(0)
    seeds = rng.permutation(np.linspace(0.61, 0.99, count))
    clusters = clusters_of(on_x(np.arange(count), seeds, NARROW))
    np.testing.assert_array_equal(np.argsort(-seeds), np.argsort(clusters.labels))
    np.testing.assert_array_equal(clusters.scores, np.sort(seeds.astype(np.float32))[::-1])


@pytest.mark.parametrize("spread_m", [1e-3, 1.0, 300.0, 1e6])
@pytest.mark.parametrize("ratio", [1, 30, 400])
def test_equals_reference_at_any_spread_and_elongation(spread_m, ratio):
    """All in one bucket, more than the maximum of buckets, and needles at all headings."""
    rng = np.random.default_rng(0)
    count = 400
    object_centre = rng.uniform(-spread_m, spread_m, (40, 2))
    centre = object_centre[rng.integers(0, 40, count)] + rng.normal(0, 0.5, (count, 2))
    yaw = rng.uniform(0, np.pi, count)
    c, s, along, across = np.cos(yaw), np.sin(yaw), 1.0, float(ratio) ** 2
    precision = np.stack(
        [
            along * c * c + across * s * s,
            (along - across) * c * s,
            along * s * s + across * c * c,
        ],
        axis=1,
    )
    clusters = clusters_of(embeddings(centre, rng.random((count, 3)), precision), 0.5, 0.1, 0.2)
    assert len(clusters.classes) > (20 if spread_m > 100 else 1)


def test_members_at_the_very_ends_of_the_margin():
    """Also where a bucket starts at an end, and for needles too thin for the bounding box.

    With precision W the margin reaches sqrt(2 ln 2 yy / det W) along x, at y / x = -xy / yy there.
    """
    rng = np.random.default_rng(0)
    found = 0
    for _ in range(300):
        ratio, yaw = rng.choice([1, 5, 30, 400, 3000]), rng.uniform(0, np.pi)
        c, s, along = np.cos(yaw), np.sin(yaw), rng.uniform(0.05, 4)
        across = along * ratio**2
        xx, yy = along * c * c + across * s * s, along * s * s + across * c * c
        xx, xy, yy = np.float32([xx, (along - across) * c * s, yy]).astype(float)
        reach = np.sqrt(MARGIN_SQUARED * yy / (xx * yy - xy * xy))
        end = np.array([reach, -xy / yy * reach]) * (1 - 1e-6)
        opener = rng.uniform(-3, 3, 2)
        others = [opener + end, opener - end, opener + end - np.ceil(reach + 3)]  # last: a corner
        clusters = clusters_of(
            embeddings([opener, *others], [0.9, 0.4, 0.4, 0.4], (xx, xy, yy)), 0.6, 0.3, 0.0
        )
        found += (clusters.labels == 1).sum()
    assert found > 300 * 1.5


def test_hand_computed_class_and_score():
    seeds = [
        [0.875, 0.0, 0.25],  # opens the instance, but in total
        [0.0, 0.75, 0.5],
        [0.125, 0.5, 0.0],  # class 1 has 1.25 and class 0 has 1.0
        [0.0, 0.0, 0.625],
    ]
    clusters = clusters_of(on_x([0, 0.5, 1, 9], seeds))
    assert clusters.labels.tolist() == [1, 1, 1, 2]
    assert clusters.classes.tolist() == [1, 2]
    np.testing.assert_array_equal(clusters.scores, np.array([1.25 / 3, 0.625], np.float32))


def test_ties_go_to_the_lower_class():
    clusters = clusters_of(on_x([0, 0.5], [[0.0, 0.75, 0.5], [0.0, 0.25, 0.5]]))
    assert clusters.classes.tolist() == [1]
    assert clusters.scores.tolist() == [0.5]


def test_nan_and_infinity():
    nan = np.nan
    seeds = [[0.9, 0.1], [nan, 0.9], [0.9, nan], [0.4, 0.1]]
    assert labels_of(on_x([0, 0.1, 5, 0.2], seeds)) == [1, 0, 0, 1]
    # A pillar with a bad centre neither joins nor opens an instance.
    for bad in (nan, np.inf, -np.inf):
        assert labels_of(on_x([bad, 0, 0.1], [0.9, 0.8, 0.4])) == [0, 1, 1]
    # One with a bad precision opens no instance but may join one.
    bad_second = on_x([0, 5, 5.5], [0.9, 0.8, 0.7], [ROUND, (nan, 0, 1), ROUND])
    assert labels_of(bad_second) == [1, 2, 2]
    assert labels_of(on_x([0, 5], [0.9, 0.8], [(1, nan, 1), (1, 0, nan)])) == [0, 0]


def test_huge_and_zero_precision():
    largest = np.finfo(np.float32).max
    emb = on_x([0, 0, 1e-3, 9], [0.9, 0.4, 0.4, 0.4], (largest, 0, largest))
    assert labels_of(emb) == [1, 1, 0, 0]  # only exactly the same place
    assert labels_of(on_x([0, 0, 1e-3, 1e30], [0.9, 0.4, 0.4, 0.4], (0, 0, 0))) == [1, 1, 1, 1]


def test_pillar_order_does_not_matter_without_ties():
    rng = np.random.default_rng(1)
    emb = random_embeddings(1, 600, 3, 40)
    emb.seed[:] = rng.permutation(np.linspace(0, 1, emb.seed.size)).reshape(emb.seed.shape)
    order = rng.permutation(600)
    moved = PillarEmbeddings(emb.centre_m[order], emb.precision[order], emb.seed[order])
    ours, theirs = clusters_of(emb), clusters_of(moved)
    assert len(ours.classes) > 20
    np.testing.assert_array_equal(ours.labels[order], theirs.labels)
    np.testing.assert_array_equal(ours.classes, theirs.classes)
    np.testing.assert_allclose(ours.scores, theirs.scores, atol=1e-6)


def test_memory_layout_does_not_matter():
    emb = random_embeddings(2, 300, 3, 20)
    expected = clusters_of(emb)
    strided = PillarEmbeddings(
        *(np.asfortranarray(a) for a in (emb.centre_m, emb.precision, emb.seed))
    )
    np.testing.assert_array_equal(cluster(strided, 0.6, 0.3, 0.5).labels, expected.labels)
    np.testing.assert_array_equal(cluster(strided, 0.6, 0.3, 0.5).scores, expected.scores)
