"""Ground and unknown objects compared with ground removal + DBSCAN, on the same labelled sweeps."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import numpy as np
from tqdm import tqdm

from bev_instseg.benchmark.measure import measure
from bev_instseg.benchmark.peers import dbscan, new_patchwork, non_ground
from bev_instseg.datasets.frames import FrameRef
from bev_instseg.datasets.semantickitti import read_words
from bev_instseg.evaluation.class_agnostic import THINGS, GroundCounts, ThingCounts, Words
from bev_instseg.ops.ground_points import find_ground
from bev_instseg.ops.voxelize import voxelize
from bev_instseg.segmenter import Segmenter
from bev_instseg.structures import Float32
from bev_instseg.tables import markdown_table, table_cell

OURS, KNOWN, PEER = "ours with unknown objects", "ours without", "Patchwork++ and DBSCAN"
GROUND_NAMES = {OURS: "ours", PEER: "Patchwork++"}
REPEATS = 5


@dataclass
class Method:
    """The counts and times of a method.

    Attributes:
        ground: Its points on the ground.
        ground_ms: Time of each sweep until they are known.
        things: What it found.
        things_ms: Time of each sweep from points to labels.
    """

    ground: GroundCounts = field(default_factory=GroundCounts)
    ground_ms: list[float] = field(default_factory=list)
    things: ThingCounts = field(default_factory=ThingCounts)
    things_ms: list[float] = field(default_factory=list)


def compare_unknown(segmenter: Segmenter, root: Path, refs: Sequence[FrameRef]) -> str:
    """Return two tables, for the ground and for objects of any kind; missing packages are reported.

    Args:
        segmenter: The segmenter without extras.
        root: Folder of a data set in SemanticKITTI layout.
        refs: Its frames.
    """
    methods, notice = {OURS: Method(), KNOWN: Method()}, ""
    adders: list[Callable[[Float32, Words], None]] = [partial(_add_ours, segmenter, methods)]
    try:
        patchwork = new_patchwork()
        dbscan(np.zeros((20, 4), np.float32))
        methods[PEER] = Method()
        adders.append(partial(_add_peer, patchwork, methods[PEER]))
    except ImportError as error:
        notice = f"{PEER}: not measured: {error}; pip install 'bev-instseg[peers]'\n\n"
    config = segmenter.config
    for ref in tqdm(refs, unit="frame"):
        frame = ref.read(config.classes, config.data)
        words = read_words(root, frame)
        for add in adders:
            add(frame.points, words)
    return f"{notice}{_ground_table(methods)}\n\n{_thing_table(methods)}"


def _add_ours(
    segmenter: Segmenter, methods: dict[str, Method], points: Float32, words: Words
) -> None:
    extended = segmenter.with_extras(True, True)
    instances = extended.segment_with_maps(points).instances
    methods[OURS].things.add(points, words, instances.labels)
    methods[KNOWN].things.add(points, words, segmenter.segment_with_maps(points).instances.labels)
    assert instances.ground is not None
    methods[OURS].ground.add(points, words, instances.ground)

    def ground_only() -> None:
        find_ground(voxelize(points, segmenter.config.grid), instances.labels)

    # Whole sweeps in turns: called alone, the last stage would find its data in the caches.
    both = segmenter, segmenter.with_extras(unknown=True)
    turns = [[one.segment_with_maps(points).timing_ms for one in both] for _ in range(REPEATS)]
    known_ms = min(sum(known.values()) for known, _ in turns)
    plain_ms, unknown_ms = (min(turn[i]["assemble"] for turn in turns) for i in range(2))
    methods[OURS].ground_ms += _best_ms(ground_only)
    methods[KNOWN].things_ms.append(known_ms)
    methods[OURS].things_ms.append(known_ms + unknown_ms - plain_ms)


def _add_peer(patchwork: object, method: Method, points: Float32, words: Words) -> None:
    rest = non_ground(patchwork, points)
    ground = np.ones(len(points), np.bool_)
    ground[rest] = False
    method.ground.add(points, words, ground)
    labels = np.zeros(len(points), np.int32)
    labels[rest] = dbscan(points[rest]) + 1
    method.things.add(points, words, labels)
    calls = partial(non_ground, patchwork, points), partial(dbscan, points[rest])
    ground_ms, cluster_ms = _best_ms(*calls)
    method.ground_ms.append(ground_ms)
    method.things_ms.append(ground_ms + cluster_ms)


def _best_ms(*calls: Callable[[], object]) -> list[float]:
    """Return the shortest of `REPEATS` times of each call; they take turns."""
    times_ms = [[measure(call, 1, 0).median_ms for call in calls] for _ in range(REPEATS)]
    return np.min(times_ms, axis=0).tolist()  # type: ignore[no-any-return]


def _ground_table(methods: dict[str, Method]) -> str:
    rows = [["ground, % of points", "precision", "without vegetation", "recall", "ms"]]
    for name, method in methods.items():
        if method.ground_ms:
            counts = method.ground
            shares = counts.precision, counts.precision_without_plants, counts.recall
            ms = f"{np.median(method.ground_ms):.1f}"
            rows.append([GROUND_NAMES[name], *map(table_cell, shares), ms])
    return markdown_table(rows)


def _thing_table(methods: dict[str, Method]) -> str:
    there = next(iter(methods.values())).things.there
    kinds = [kind for kind in THINGS if there[kind]]
    total = sum(there.values())
    header = [*(f"{kind} ({there[kind]})" for kind in kinds), f"all ({total})"]
    rows = [["recall, %", *header, "ms"]]
    for about in ("matched", "covered"):
        for name, method in methods.items():
            found: dict[str, int] = getattr(method.things, about)
            shares = [found[kind] / there[kind] for kind in kinds]
            shares.append(sum(found.values()) / total if total else np.nan)
            ms = f"{np.median(method.things_ms):.1f}"
            rows.append([f"{about}: {name}", *map(table_cell, shares), ms])
    return markdown_table(rows)
