"""The configuration: every setting with its default, range and meaning.

A setting is defined in one place: its field, with type, range and default, and the sentence below
it. The checks, ``docs/configuration.md`` and ``configs/schema.json`` are made from these; after a
change run ``python scripts/config_docs.py``.
"""

from dataclasses import field
from typing import Annotated, Literal, get_args

from pydantic import Field
from pydantic.dataclasses import dataclass

from bev_instseg.grid import BEVGrid
from bev_instseg.memory import inference_bytes, machine_bytes, shortage
from bev_instseg.strict_yaml import (
    STRICT,
    Count,
    Fraction,
    NotNegative,
    Positive,
    PositiveCount,
)
from bev_instseg.structures import UNKNOWN

Layout = Literal["kitti", "semantickitti"]
Bandwidth = Literal["fixed", "scalar", "elliptical", "oriented"]
Width = Annotated[int, Field(ge=1, le=4096)]


@dataclass(frozen=True, config=STRICT)
class ClassConfig:
    """A class of objects, and what the data sets call it."""

    name: Annotated[str, Field(min_length=1)]
    """Name of the class in results; must be unique."""
    label: Annotated[int, Field(ge=1, le=0xFFFF)]
    """Number written to `.label` files for this class: SemanticKITTI's or any other."""
    kitti: tuple[str, ...] = ()
    """KITTI object types that belong to this class."""
    semantickitti: tuple[int, ...] = ()
    """Class numbers in SemanticKITTI's `.label` files that belong to this class."""
    min_points: Count = 10
    """Instances with fewer points are dropped."""
    max_height_m: Positive = 4.0
    """Points higher than this above the ground are left out of instances, metres. If it is above 4,
    instances within 3.5 m of the sensor and lower than 0.5 m are pieces of the ego vehicle."""
    piece_m: NotNegative = 0.0
    """Longer objects are learned in pieces of this length, metres, and joined; 0: never cut."""


CLASSES = (
    ClassConfig(
        "vehicle", 10, ("Car", "Van", "Truck"), (10, 13, 18, 20, 252, 257, 258, 259), 10, 4.5
    ),
    ClassConfig("pedestrian", 30, ("Pedestrian", "Person_sitting"), (30, 254), 8, 2.4),
    ClassConfig("cyclist", 31, ("Cyclist",), (31, 32, 253, 255), 8, 2.4),
)

# What a segmenter finds on request besides the classes of its network, as in SemanticKITTI.
UNKNOWN_CLASS = ClassConfig(UNKNOWN, 99)  # other-object
GROUND_LABEL = 40  # road


@dataclass(frozen=True, config=STRICT)
class SourceConfig:
    """A data set in the ``--data`` folder."""

    path: str
    """Folder of the data set, relative to `--data`."""
    layout: Layout
    """How its files are arranged: `kitti` (boxes) or `semantickitti` (a label for each point)."""
    train: tuple[str, ...] = ()
    """Training frames: KITTI: lists in `ImageSets`; SemanticKITTI: `SEQUENCE[/FRAME]`."""
    val: tuple[str, ...] = ()
    """Validation frames, named like those of `train`."""
    weight: NotNegative = 1.0
    """How often samples are drawn from this data set, relative to the other weights."""
    unlabelled_is_background: bool = False
    """Whether class 0 in `.label` files is background, as in data sets that label only objects."""


@dataclass(frozen=True, config=STRICT)
class DataConfig:
    """The data sets, and which of their points are void."""

    sources: tuple[SourceConfig, ...] = (SourceConfig(".", "kitti", ("train",), ("val",)),)
    """The data sets to use together."""
    void_kitti: tuple[str, ...] = ("Tram", "Misc")
    """KITTI object types that are void, besides `DontCare`, which always is."""
    void_semantickitti: tuple[int, ...] = (0, 1, 11, 15, 16, 256)
    """Class numbers in SemanticKITTI's `.label` files that are void; 0 is unlabelled."""
    box_floor_m: NotNegative = 0.2
    """KITTI: points in a box up to this far above its bottom are void, metres."""
    box_band_m: NotNegative = 0.15
    """KITTI: points up to this far outside a box are void, metres."""
    image_size_px: tuple[PositiveCount, PositiveCount] = (1242, 375)
    """KITTI: width and height of the camera image in pixels; points outside it are unlabelled."""


@dataclass(frozen=True, config=STRICT)
class ModelConfig:
    """The network."""

    widths: Annotated[tuple[Width, ...], Field(min_length=3)] = (32, 48, 64, 96, 128)
    """Channels at each level; the levels have strides 1, 2, 4, 8, 16, ... of the grid."""
    blocks: tuple[Annotated[int, Field(ge=0, le=64)], ...] = (1, 1, 2, 2, 2)
    """Residual blocks at each level; as many numbers as `widths`. At the coarsest level, blocks
    after the first look twice as far."""
    bandwidth: Bandwidth = "oriented"
    """Shape of the margin: a circle of constant size (`fixed`) or of any size (`scalar`), or an
    ellipse along x and y (`elliptical`) or at any angle (`oriented`)."""
    initial_margin_m: Annotated[float, Field(ge=0.02, le=64)] = 1.0
    """Radius of the margin, where phi is 0.5, before training, metres."""
    fixed_sigma_m: Annotated[float, Field(ge=0.02, le=64)] = 0.5
    """Sigma of every object with `bandwidth: fixed`, metres."""
    dense_levels: Annotated[int, Field(ge=1)] = 1
    """Number of coarsest levels computed at every cell; the others only at occupied cells."""
    relative_intensity: bool = False
    """Whether intensities are scaled so that the ground within 30 m has the mean 0.25."""

    def __post_init__(self) -> None:
        if len(self.widths) != len(self.blocks):
            raise ValueError(
                f"widths has {len(self.widths)} levels, blocks {len(self.blocks)}; "
                "give both the same number"
            )
        if self.sparse_levels < 1:
            raise ValueError(
                f"dense_levels is {self.dense_levels}, but the first of the {len(self.widths)} "
                f"levels is not dense; give {len(self.widths) - 1} or less"
            )

    @property
    def stride(self) -> int:
        """Stride of the coarsest level; the grid's sides must be multiples of it."""
        return 1 << (len(self.widths) - 1)

    @property
    def sparse_levels(self) -> int:
        """How many levels, from stride 1 on, are computed at occupied cells only."""
        return len(self.widths) - self.dense_levels


@dataclass(frozen=True, config=STRICT)
class LossConfig:
    """The training loss; equation numbers are those of Neven et al. (CVPR 2019)."""

    instance: Literal["regression", "hinge", "lovasz"] = "lovasz"
    """Instance loss: `regression` (eq. 1), `hinge` (eq. 2 and 3) or `lovasz` (eq. 4 and 5)."""
    center: Literal["centroid", "medoid", "embedding", "box"] = "embedding"
    """Where embeddings aim: the object's `centroid`, `medoid` (of its pillars, the one with the
    smallest sum of distances to the others), mean `embedding` (eq. 8) or `box` centre."""
    hinge_delta_m: NotNegative = 0.3
    """Margin of `instance: hinge` (eq. 2), metres."""
    instance_weight: NotNegative = 1.0
    """Weight of the instance loss."""
    smoothness_weight: NotNegative = 1.0
    """Weight of the loss that makes the precisions within an object equal (eq. 10)."""
    seed_weight: NotNegative = 10.0
    """Weight of the seed loss (eq. 11)."""
    seed_target: Literal["phi", "one"] = "phi"
    """Target of the seed on an object: `phi` (eq. 11), or `one` everywhere."""
    foreground_weight: tuple[NotNegative, ...] = (2.0, 3.0, 3.0)
    """Weight of objects' pillars in the seed loss, one number per class; background has 1."""
    semantic_weight: NotNegative = 0.0
    """Weight of the loss of an extra layer, only in training, that predicts the class or the kind
    of background of each pillar, if `.label` files distinguish such kinds; 0: no layer."""


@dataclass(frozen=True, config=STRICT)
class ClusterConfig:
    """Thresholds of the clustering and of the scores."""

    seed_threshold: Fraction = 0.8
    """Lowest seed of a pillar that can open an instance."""
    member_threshold: Fraction = 0.2
    """Lowest seed, of any class, of a pillar that can join an instance."""
    min_free: Fraction = 0.5
    """Fraction of the pillars in a seed's margin that must be free for it to open an instance."""
    min_height_m: float = 0.08
    """Points lower than this above the ground are left out of instances, metres."""
    calibration: tuple[tuple[float, float, float], ...] = ()
    """Per class (a, b, c) of score = sigmoid(a + b logit(mean seed) + c ln(points)), or empty."""
    score_threshold: Fraction = 0.0
    """Instances with a lower score are dropped."""


@dataclass(frozen=True, config=STRICT)
class AugmentConfig:
    """Random changes to training frames."""

    enabled: bool = True
    """Whether frames are changed at all; `false` also turns off rotation and mirroring."""
    scale: Annotated[float, Field(ge=0, le=0.9)] = 0.05
    """The sweep is scaled by a random factor of 1 ± this."""
    intensity: Fraction = 0.2
    """Intensities are scaled by a random factor of 1 ± this."""
    intensity_gamma: Annotated[float, Field(ge=0, le=10)] = 0.4
    """Intensities are raised to a random power from exp(-this) to exp(this)."""
    intensity_none: Fraction = 0.0
    """Fraction of the sweeps whose intensities become constant, nearly always 0."""
    intensity_map: Fraction = 0.0
    """Fraction of the sweeps whose intensities are changed by a random increasing map."""
    height_m: NotNegative = 0.3
    """The sweep is raised or lowered by up to this, metres."""
    height_noise_m: NotNegative = 0.02
    """Standard deviation of the noise added to the height of each point, metres."""
    dropout: Fraction = 0.3
    """Up to this fraction of the points is dropped."""
    thin: Fraction = 0.15
    """Fraction of the sweeps that lose about half of their beams."""
    paste: tuple[Annotated[int, Field(ge=0, le=1000)], ...] = (3, 6, 5)
    """Maximum number of objects pasted from other frames, one number per class."""
    distractors: Annotated[int, Field(ge=0, le=1000)] = 6
    """Maximum number of false positives pasted as background, from `bev-instseg cut-objects`."""

    def __post_init__(self) -> None:
        if self.intensity_none + self.intensity_map > 1:
            raise ValueError("intensity_none and intensity_map add up to more than 1; lower one")


@dataclass(frozen=True, config=STRICT)
class TrainConfig:
    """The training loop."""

    steps: PositiveCount = 20_000
    """Optimizer steps in total."""
    batch_size: PositiveCount = 4
    """Frames per step, over all processes."""
    window_cells: Count = 256
    """Side of the training crop, a multiple of the network's stride; 0 trains on the whole grid."""
    object_windows: Fraction = 0.75
    """Fraction of the crops around an object; the others are around any labelled point."""
    min_object_points: Count = 5
    """Objects with fewer points are void."""
    learning_rate: NotNegative = 2e-3
    """Highest learning rate, reached after the warm-up; it then falls along a cosine."""
    weight_decay: NotNegative = 0.01
    """Weight decay of AdamW."""
    warmup_steps: Count = 200
    """Steps over which the learning rate rises."""
    clip_norm: Positive = 5.0
    """Gradients with a larger norm are shortened to it."""
    average_decay: Fraction = 0.999
    """Decay per step of the moving average of the weights; the average is scored and saved."""
    precision: Literal["auto", "fp32", "bf16"] = "auto"
    """Arithmetic of the convolutions; `auto` is `bf16` if the hardware supports it, else `fp32`."""
    seed: Annotated[int, Field(ge=0, le=2**63 - 1)] = 0
    """Seed of the initial weights and of all random choices."""
    workers: Annotated[int, Field(ge=0, le=1024)] = 1
    """Loader processes; 0 loads in the training process."""
    validate_every: PositiveCount = 1000
    """Steps from one validation to the next."""
    validate_frames: Count = 0
    """Frames to validate on, spread evenly over all of them; 0 uses all."""
    log_every: PositiveCount = 10
    """Steps from one row of the log to the next."""
    checkpoint_every: PositiveCount = 250
    """Steps from one checkpoint to the next."""


@dataclass(frozen=True, config=STRICT)
class Config:
    """Everything a run needs; files in ``configs/`` hold only what differs from these defaults.

    Raises:
        ValueError: A setting has the wrong type or is out of range, two classes have the same
            name, label or kind of label, a list does not have one number per class, the grid or
            the training crop is not a multiple of the network's stride, or a sweep would need more
            memory than the machine has.
    """

    grid: BEVGrid = field(default_factory=BEVGrid)
    """The part of a sweep that the network sees, and the size of its cells."""
    classes: Annotated[tuple[ClassConfig, ...], Field(min_length=1)] = CLASSES
    """The classes of objects, in the order of the seed maps."""
    data: DataConfig = field(default_factory=DataConfig)
    """The data sets, and which of their points are void: ignored in training and scoring.

    A class of a data set that is neither void nor listed under `classes` is background; one that
    is both is void."""
    model: ModelConfig = field(default_factory=ModelConfig)
    """The network."""
    loss: LossConfig = field(default_factory=LossConfig)
    """The training loss."""
    cluster: ClusterConfig = field(default_factory=ClusterConfig)
    """Thresholds of the clustering and of the scores."""
    augment: AugmentConfig = field(default_factory=AugmentConfig)
    """Random changes to training frames."""
    train: TrainConfig = field(default_factory=TrainConfig)
    """The training loop."""

    def __post_init__(self) -> None:
        count = len(self.classes)
        if len(set(self.class_names)) != count:
            raise ValueError(f"classes: two have the same name: {', '.join(self.class_names)}")
        if UNKNOWN in self.class_names:
            raise ValueError(
                f"classes: the name {UNKNOWN!r} is that of objects without a class; choose another"
            )
        labels = [c.label for c in self.classes]
        if twice := [label for label in labels if labels.count(label) > 1]:
            raise ValueError(f"classes: two have the label {twice[0]}; give each its own")
        lengths = {
            "loss.foreground_weight": len(self.loss.foreground_weight),
            "augment.paste": len(self.augment.paste),
            "cluster.calibration": len(self.cluster.calibration) or count,  # none is fine
        }
        for key, length in lengths.items():
            if length != count:
                raise ValueError(f"{key} has {length} entries for {count} classes; give one each")
        if any(self.in_pieces) and self.model.bandwidth != "oriented":
            raise ValueError(
                "classes: piece_m needs model.bandwidth: oriented, which shows the direction of a "
                "piece"
            )
        stride = self.model.stride
        for key, cells in (
            ("grid", self.grid.shape),
            ("train.window_cells", (self.train.window_cells,)),
        ):
            if any(n % stride for n in cells):
                raise ValueError(
                    f"{key}: {' x '.join(map(str, cells))} cells is not a multiple of the "
                    f"network's stride {stride}"
                )
        for layout in get_args(Layout):
            kinds = [kind for c in self.classes for kind in getattr(c, layout)]
            if shared := [kind for kind in kinds if kinds.count(kind) > 1]:
                raise ValueError(f"classes: two have the {layout} kind {shared[0]!r}; choose one")
        (nx, ny), model = self.grid.shape, self.model
        if reason := shortage(
            inference_bytes(nx * ny, model.widths, model.blocks), machine_bytes()
        ):
            raise ValueError(
                f"a grid of {nx:,} x {ny:,} cells with model.widths of up to "
                f"{max(model.widths)} {reason}; choose a smaller range, a larger grid.cell_m "
                "or smaller widths"
            )

    @property
    def in_pieces(self) -> tuple[bool, ...]:
        """Per class, whether its objects are learned in pieces and joined."""
        return tuple(kind.piece_m > 0 for kind in self.classes)

    @property
    def class_names(self) -> tuple[str, ...]:
        """The C class names, in the order of the seed maps."""
        return tuple(c.name for c in self.classes)


def check_same_network(base: Config, config: Config) -> None:
    """Raise an error unless weights trained under one configuration can be used under another.

    Args:
        base: The configuration of the weights.
        config: The other configuration.

    Raises:
        ValueError: The ``model``, ``grid.cell_m`` or the number of classes differs. All else may
            differ, including class names and the range of the grid.
    """
    fixed = (config.model, config.grid.cell_m, len(config.classes))
    if fixed != (base.model, base.grid.cell_m, len(base.classes)):
        raise ValueError("model, grid.cell_m and the number of classes are fixed by the weights")
