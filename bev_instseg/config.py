"""Everything that can be set, with its default: frozen dataclasses, read from YAML."""

import dataclasses
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import yaml

from bev_instseg.exceptions import ConfigError
from bev_instseg.grid import BEVGrid
from bev_instseg.strict_yaml import build, merge, plain, read_yaml

Layout = Literal["kitti", "semantickitti"]
Bandwidth = Literal["fixed", "scalar", "elliptical", "oriented"]


@dataclass(frozen=True)
class ClassConfig:
    """One class of objects and what the data sets call it.

    Attributes:
        name: our name.
        label: written to ``.label`` files for this class, 1..65535; SemanticKITTI's number for it,
            or any other.
        kitti: KITTI object types that are this class.
        semantickitti: classes in ``.label`` files (low 16 bits) that are this class.
        min_points: an instance with fewer points is dropped.
        max_height_m: points higher than this above the ground are not part of an instance.
    """

    name: str
    label: int
    kitti: tuple[str, ...] = ()
    semantickitti: tuple[int, ...] = ()
    min_points: int = 10
    max_height_m: float = 4.0


CLASSES = (
    ClassConfig(
        "vehicle", 10, ("Car", "Van", "Truck"), (10, 13, 18, 20, 252, 257, 258, 259), 10, 4.5
    ),
    ClassConfig("pedestrian", 30, ("Pedestrian", "Person_sitting"), (30, 254), 8, 2.4),
    ClassConfig("cyclist", 31, ("Cyclist",), (31, 32, 253, 255), 8, 2.4),
)


@dataclass(frozen=True)
class SourceConfig:
    """A data set below the ``--data`` folder.

    Attributes:
        path: folder relative to ``--data``.
        layout: how its files lie.
        train: KITTI: names in ``ImageSets``; SemanticKITTI: ``SEQ`` or ``SEQ/FRAME``.
        val: likewise.
        weight: how often its frames are drawn in training, per source.
        unlabelled_is_background: SemanticKITTI class 0 means "no object", not "nobody looked".
    """

    path: str
    layout: Layout
    train: tuple[str, ...] = ()
    val: tuple[str, ...] = ()
    weight: float = 1.0
    unlabelled_is_background: bool = False


@dataclass(frozen=True)
class DataConfig:
    """Where frames come from and which of the data sets' own names are void.

    A point of a void class neither trains nor scores; a class that is neither void nor in
    `ClassConfig` is background.

    Attributes:
        sources: the data sets of the mixture.
        void_kitti: KITTI object types that are void; DontCare always is.
        void_semantickitti: classes in ``.label`` files that are void, 0 (unlabelled) among them.
            Void goes before `ClassConfig`: a number in both is void.
        box_floor_m: KITTI: points of a box less than this above its bottom are void, metres.
        box_band_m: KITTI: points up to this far outside a box are void, metres.
        image_size_px: KITTI: width and height of the camera's image; outside nobody looked.
    """

    sources: tuple[SourceConfig, ...] = (SourceConfig(".", "kitti", ("train",), ("val",)),)
    void_kitti: tuple[str, ...] = ("Tram", "Misc")
    void_semantickitti: tuple[int, ...] = (0, 1, 11, 15, 16, 256)
    box_floor_m: float = 0.2
    box_band_m: float = 0.15
    image_size_px: tuple[int, int] = (1242, 375)


@dataclass(frozen=True)
class ModelConfig:
    """Size of the network.

    Attributes:
        widths: channels at strides 1, 2, 4, 8, 16 of the grid; three levels or more.
        blocks: residual blocks at those strides.
        bandwidth: form of the predicted precision: 1, 2 or 3 channels (``fixed`` predicts none).
        initial_margin_m: where the margin phi = 0.5 starts, metres.
        fixed_sigma_m: sigma of ``bandwidth: fixed``, metres.
    """

    widths: tuple[int, ...] = (32, 48, 64, 96, 128)
    blocks: tuple[int, ...] = (1, 1, 2, 2, 1)
    bandwidth: Bandwidth = "oriented"
    initial_margin_m: float = 1.0
    fixed_sigma_m: float = 0.5

    @property
    def stride(self) -> int:
        """Of the coarsest maps: the sides of a grid must be multiples of it."""
        return 2 ** (len(self.widths) - 1)


@dataclass(frozen=True)
class LossConfig:
    """Which of the equations of Neven et al. (CVPR 2019) are used, and their weights.

    Attributes:
        instance: eq. 1 ``regression``, eq. 2 and 3 ``hinge``, eq. 4 and 5 ``lovasz``.
        center: what an object's embeddings point at; ``embedding`` is eq. 8.
        hinge_delta_m: the fixed margin of eq. 2.
        instance_weight, smoothness_weight, seed_weight: weights of the three parts.
        foreground_weight: weight of an object's pillars in eq. 11, one number per class.
    """

    instance: Literal["regression", "hinge", "lovasz"] = "lovasz"
    center: Literal["centroid", "embedding", "box"] = "embedding"
    hinge_delta_m: float = 0.3
    instance_weight: float = 1.0
    smoothness_weight: float = 1.0
    seed_weight: float = 10.0
    foreground_weight: tuple[float, ...] = (2.0, 3.0, 3.0)


@dataclass(frozen=True)
class ClusterConfig:
    """Thresholds of the clustering.

    Attributes:
        seed_threshold: the least seed that opens an instance.
        member_threshold: the least seed (of any class) of a pillar that joins one.
        min_free: the least part of the pillars inside a seed's margin that no earlier instance has.
        min_height_m: points lower than this above the ground stay out of instances.
        calibration: per class (a, b, c) of an instance's score sigmoid(a + b logit(s) + c log(n)),
            the probability that it is right; s is its mean seed, n its points. Empty: score s.
        score_threshold: an instance with a lower score is dropped.
    """

    seed_threshold: float = 0.8
    member_threshold: float = 0.2
    min_free: float = 0.5
    min_height_m: float = 0.08
    calibration: tuple[tuple[float, float, float], ...] = ()
    score_threshold: float = 0.0


@dataclass(frozen=True)
class AugmentConfig:
    """Random changes to a training frame; all of them off with ``enabled: false``.

    Attributes:
        scale: the sweep is scaled by 1 +- this.
        intensity: intensities are scaled by 1 +- this.
        intensity_gamma: and raised to a power between exp(-this) and exp(this): other sensors
            measure on other scales.
        height_m: the sweep is raised or lowered by up to this; all but the grid's z range and the
            ground estimate are blind to it.
        height_noise_m: standard deviation of what each point is raised or lowered by on its own.
        dropout: up to this part of the points is dropped.
        thin: part of the sweeps that are left about half of their beams.
        paste: objects pasted from other frames, at most, per class.
        distractors: pieces of background that a network took for objects, pasted as background,
            at most; only a database of bev-instseg cut-objects has them.
    """

    enabled: bool = True
    scale: float = 0.05
    intensity: float = 0.2
    intensity_gamma: float = 0.4
    height_m: float = 0.3
    height_noise_m: float = 0.02
    dropout: float = 0.3
    thin: float = 0.15
    paste: tuple[int, ...] = (3, 6, 5)
    distractors: int = 6


@dataclass(frozen=True)
class TrainConfig:
    """The training loop.

    Attributes:
        steps: optimizer steps in all.
        batch_size: frames a step over all processes.
        window_cells: side of the square training crop; 0 trains on the whole grid.
        object_windows: part of the crops that lie around an object, of a class drawn evenly; the
            others lie around any labelled point.
        min_object_points: an object with fewer points is void: too little to learn from.
        average_decay: the weights that are scored and saved are a moving average, of which each
            step keeps this part; early steps keep less.
        learning_rate: the highest, after the warm-up; it then falls along a cosine.
        weight_decay: of AdamW.
        warmup_steps: the learning rate rises over so many steps.
        clip_norm: a longer gradient is shortened to this.
        precision: arithmetic of the convolutions; ``auto`` is ``bf16`` on GPUs and processors that
            have it, and ``fp32`` on others, where it is several times faster.
        seed: of the weights at the start and of all that is drawn.
        validate_every, log_every, checkpoint_every: intervals in steps.
        workers: loader processes; 0 loads in the training process.
        validate_frames: score only so many frames, spread over all; 0 scores all of them.
    """

    steps: int = 20_000
    batch_size: int = 4
    window_cells: int = 256
    object_windows: float = 0.75
    min_object_points: int = 5
    learning_rate: float = 2e-3
    weight_decay: float = 0.01
    warmup_steps: int = 200
    clip_norm: float = 5.0
    average_decay: float = 0.999
    precision: Literal["auto", "fp32", "bf16"] = "auto"
    seed: int = 0
    workers: int = 1
    validate_every: int = 1000
    validate_frames: int = 0
    log_every: int = 10
    checkpoint_every: int = 250


@dataclass(frozen=True)
class Config:
    """Everything a run needs; ``configs/*.yaml`` hold only what differs from these defaults.

    Attributes:
        grid: what the network sees of a sweep.
        classes: the C classes, in the order of the seed maps.
        data: where labelled frames come from.
        model: size of the network.
        loss: what it is trained on.
        cluster: thresholds.
        augment: random changes to training frames.
        train: the training loop.

    Raises:
        ValueError: a number out of range, two classes of one name, a list that is not one number
            per class where it must be, or a grid or crop that is no multiple of the network's
            stride; one line that names the key.
    """

    grid: BEVGrid = field(default_factory=BEVGrid)
    classes: tuple[ClassConfig, ...] = CLASSES
    data: DataConfig = field(default_factory=DataConfig)
    model: ModelConfig = field(default_factory=ModelConfig)
    loss: LossConfig = field(default_factory=LossConfig)
    cluster: ClusterConfig = field(default_factory=ClusterConfig)
    augment: AugmentConfig = field(default_factory=AugmentConfig)
    train: TrainConfig = field(default_factory=TrainConfig)

    def __post_init__(self) -> None:
        if not self.classes:
            raise ValueError("classes must name at least one class")
        if len(set(self.class_names)) != len(self.classes):
            raise ValueError(f"classes: a name is given twice in {self.class_names}")
        for key, values in (
            ("loss.foreground_weight", self.loss.foreground_weight),
            ("augment.paste", self.augment.paste),
        ):
            if len(values) != len(self.classes):
                raise ValueError(f"{key} has {len(values)} numbers for {len(self.classes)} classes")
        if len(self.cluster.calibration) not in (0, len(self.classes)):
            raise ValueError(
                f"cluster.calibration has {len(self.cluster.calibration)} triples for "
                f"{len(self.classes)} classes; give one each, or none"
            )
        if len(self.model.widths) != len(self.model.blocks):
            raise ValueError("model.widths and model.blocks differ in length")
        if len(self.model.widths) < 3:
            raise ValueError("model.widths must name at least three levels")
        for c in self.classes:
            if not c.name:
                raise ValueError("classes: a name is empty")
        for key, low, high in _RANGES:
            section, _, name = key.partition(".")
            part = getattr(self, section)
            for item in part if isinstance(part, tuple) else (part,):
                values = getattr(item, name)
                for value in values if isinstance(values, tuple) else (values,):
                    if not low <= value <= high:
                        raise ValueError(f"{key} must lie in {low}..{high}, got {value}")
        for source in self.data.sources:
            if source.weight < 0:
                raise ValueError(f"data.sources: weight must be at least 0, got {source.weight}")
        stride = self.model.stride
        for key, cells in (("grid", self.grid.shape), ("train", (self.train.window_cells,))):
            if any(n % stride for n in cells):
                raise ValueError(
                    f"{key}: {' x '.join(map(str, cells))} cells are no multiple of the network's "
                    f"stride {stride}"
                )

    @property
    def class_names(self) -> tuple[str, ...]:
        """The C class names, in the order of the seed maps."""
        return tuple(c.name for c in self.classes)


_MANY, _TINY = 10**9, 1e-9
# What numbers may be: lowest and highest value that makes sense.
_RANGES = (
    ("classes.label", 1, 0xFFFF),
    ("classes.min_points", 0, _MANY),
    ("classes.max_height_m", _TINY, _MANY),
    ("data.box_floor_m", 0, _MANY),
    ("data.box_band_m", 0, _MANY),
    ("data.image_size_px", 1, _MANY),
    ("model.widths", 1, 4096),
    ("model.blocks", 0, 64),
    ("model.initial_margin_m", 0.02, 64),
    ("model.fixed_sigma_m", 0.02, 64),
    ("loss.hinge_delta_m", 0, _MANY),
    ("loss.instance_weight", 0, _MANY),
    ("loss.smoothness_weight", 0, _MANY),
    ("loss.seed_weight", 0, _MANY),
    ("loss.foreground_weight", 0, _MANY),
    ("cluster.seed_threshold", 0, 1),
    ("cluster.member_threshold", 0, 1),
    ("cluster.min_free", 0, 1),
    ("cluster.score_threshold", 0, 1),
    ("augment.scale", 0, 0.9),
    ("augment.intensity", 0, 1),
    ("augment.intensity_gamma", 0, 10),
    ("augment.height_m", 0, _MANY),
    ("augment.height_noise_m", 0, _MANY),
    ("augment.dropout", 0, 1),
    ("augment.thin", 0, 1),
    ("augment.paste", 0, 1000),
    ("augment.distractors", 0, 1000),
    ("train.steps", 1, _MANY),
    ("train.batch_size", 1, _MANY),
    ("train.window_cells", 0, _MANY),
    ("train.object_windows", 0, 1),
    ("train.average_decay", 0, 1),
    ("train.min_object_points", 0, _MANY),
    ("train.learning_rate", 0, _MANY),
    ("train.weight_decay", 0, _MANY),
    ("train.warmup_steps", 0, _MANY),
    ("train.clip_norm", _TINY, _MANY),
    ("train.seed", 0, 2**63 - 1),
    ("train.workers", 0, 1024),
    ("train.validate_every", 1, _MANY),
    ("train.validate_frames", 0, _MANY),
    ("train.log_every", 1, _MANY),
    ("train.checkpoint_every", 1, _MANY),
)


def load_config(*paths: str | Path) -> Config:
    """Read YAML files over the defaults, each over those before it.

    Between files, mappings are merged key by key, and lists of mappings (classes, sources) that are
    equally long entry by entry; any other list replaces the one before it.

    Raises:
        ConfigError: unreadable file, bad YAML, unknown key, wrong type or value; one line.
    """
    tree: object = {}
    for path in paths:
        tree = merge(tree, read_yaml(path))
    return config_from_dict(tree, ", ".join(map(str, paths)))


def override_config(base: Config, path: str | Path) -> Config:
    """A YAML file over a network's own configuration: thresholds, class names, the grid's range.

    Mappings are merged key by key, and so is the list of classes entry by entry.

    Args:
        base: the configuration of the weights.
        path: the YAML file.

    Raises:
        ConfigError: as `load_config`; or the file changes what the weights have fixed.
    """
    config = config_from_dict(merge(config_to_dict(base), read_yaml(path)), str(path))
    try:
        check_same_network(base, config)
    except ValueError as error:
        raise ConfigError(f"{path}: {error}") from None
    return config


def check_same_network(base: Config, config: Config) -> None:
    """Raise unless weights trained under ``base`` can be used under ``config``.

    Raises:
        ValueError: another ``model``, another ``grid.cell_m`` or another number of classes. All
            else may differ, names of classes and the grid's range included.
    """
    fixed = (config.model, config.grid.cell_m, len(config.classes))
    if fixed != (base.model, base.grid.cell_m, len(base.classes)):
        raise ValueError("model, grid.cell_m and the number of classes are fixed by the weights")


def config_from_dict(tree: object, source: str = "configuration") -> Config:
    """Build a Config from nested dictionaries and lists.

    Args:
        tree: what `config_to_dict` returns; what is left out has its default.
        source: opens each error message.

    Raises:
        ConfigError: unknown key, wrong type or value; one line.
    """
    return build(Config, tree, "", source)


def config_to_dict(config: Any) -> dict:
    """The inverse of `config_from_dict`: plain dictionaries, lists, numbers and strings."""
    return plain(dataclasses.asdict(config))


def save_config(config: Config, path: str | Path) -> None:
    """Write the resolved configuration as YAML that `load_config` reads back.

    Raises:
        OSError: if the file cannot be written.
    """
    Path(path).write_text(yaml.safe_dump(config_to_dict(config), sort_keys=False), encoding="utf-8")
