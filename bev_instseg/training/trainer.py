"""The training loop: in one or several processes, which can be interrupted and resumed."""

import math
import warnings
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch.nn.parallel import DistributedDataParallel
from tqdm import tqdm

from bev_instseg.checkpoint import load_model, save_weights
from bev_instseg.config import Config, ModelConfig
from bev_instseg.config_files import config_to_dict
from bev_instseg.datasets.frames import FrameRef
from bev_instseg.evaluation.score_frames import score_frames
from bev_instseg.exceptions import TrainingError
from bev_instseg.memory import machine_bytes, shortage, training_bytes
from bev_instseg.models.network import BEVNet, native_dtype
from bev_instseg.segmenter import Segmenter
from bev_instseg.tables import table_cell
from bev_instseg.training.batches import Batch, load_batches, lost_worker_explained
from bev_instseg.training.losses import SEMANTIC, batch_losses, semantic_loss
from bev_instseg.training.optimization import new_average, new_optimizer
from bev_instseg.training.processes import Processes
from bev_instseg.training.progress import Progress, Row
from bev_instseg.training.run_folder import RunFolder
from bev_instseg.training.stop_signals import StopSignals
from bev_instseg.training.trained_network import TrainedNetwork
from bev_instseg.training.training_set import TrainingSet, hash_names

AfterRow = Callable[[Row, Segmenter | None], None]


class Trainer:
    """Trains a network on a `TrainingSet`; the run is kept in a folder.

    The folder holds ``config.yaml`` (defaults included), ``log.csv``, ``last.pt``, ``best.pt`` and,
    once training is complete, ``weights.safetensors`` with its ``.json``. The moving average of the
    weights (``train.average_decay``) is scored and saved. Under ``torchrun`` each process takes its
    share of every batch; the results equal those of one process with the whole batch.

    Attributes:
        config: Everything about the run.
        training_set: Samples by number.
        validation: The frames scored at each validation.
        processes: The processes that share the run.
        folder: The run's folder.
        progress: Finished steps, rows of the log, best score and time.
        stopped_by: Number of the signal that stopped `run`, or 0.
    """

    def __init__(
        self,
        config: Config,
        training_set: TrainingSet,
        validation: Sequence[FrameRef],
        out: Path,
        resume: bool = False,
        initial: Path | None = None,
    ) -> None:
        """Start a run, or restore one from its folder.

        Args:
            config: Everything about the run.
            training_set: Samples by number.
            validation: Frames to score every ``validate_every`` steps; may be empty.
            out: The run's folder.
            resume: Whether to continue from ``out/last.pt``.
            initial: Weights of the same network, perhaps with fewer blocks, to start a new run
                from. Notices report a different size of the cells, different intensities, and
                classes that start untrained.

        Raises:
            TrainingError: The processes cannot share a batch evenly; the memory is too small; the
                folder already holds a run; the run to resume is missing or damaged, or was made
                with a different configuration, objects to paste, training or validation frames; or
                the initial weights belong to a different network.
            CheckpointError: The initial weights cannot be read.
        """
        train = config.train
        if train.warmup_steps >= train.steps:
            warnings.warn(
                f"train.warmup_steps is {train.warmup_steps}, train.steps {train.steps}: the "
                "learning rate will not reach its full height; set warmup_steps to a tenth of "
                "steps",
                stacklevel=2,
            )
        self.config, self.training_set, self.folder = config, training_set, RunFolder(out)
        self.validation = _spread(validation, train.validate_frames)
        self.processes = Processes.join(train.batch_size)
        self.device = self.processes.device
        self.bf16 = train.precision == "bf16" or (
            train.precision == "auto" and native_dtype(self.device) == torch.bfloat16
        )
        _require_memory(config, self.processes)
        torch.manual_seed(train.seed)
        self.model = BEVNet(config).to(self.device)
        several = self.processes.world > 1
        self.trained = TrainedNetwork(self.model, config).to(self.device)
        self.network = DistributedDataParallel(self.trained) if several else self.trained
        self.optimizer, self.schedule = new_optimizer(self.trained, train)
        self.average = new_average(self.model, train.average_decay)
        self.progress = Progress()
        self.signals = StopSignals(second_kills=not several)
        self.stopped_by = 0
        if resume:
            self._restore()
            return
        self.folder.require_new()
        if initial is not None:
            self._start_from(initial)
        if self.processes.rank == 0:
            self.folder.create(config)

    @property
    def averaged(self) -> BEVNet:
        """The network that is scored and saved."""
        return self.average.module  # type: ignore[return-value]

    def run(self, after_row: AfterRow = lambda row, scored: None) -> None:
        """Train to the last step, or until SIGINT, SIGTERM or SIGHUP; then save.

        A second signal ends a lone process at once, without saving.

        Args:
            after_row: Called in the first process with each new row of the log (``step``,
                ``time_s``, ``lr``, the losses). After a validation the scores (``val_pq_NAME``,
                ``val_recall_NAME``) are in the row and in ``log.csv``, and the second argument is
                the segmenter that was scored; otherwise it is None. It must not draw from torch's
                global random generator, which would change the run.

        Raises:
            TrainingError: A loss or gradient is not finite, a data file cannot be used, or a loader
                process was killed; ``last.pt`` is still that of the last checkpoint.
        """
        steps, progress = self.config.train.steps, self.progress
        bar: tqdm[Any] = tqdm(
            total=steps,
            initial=progress.step,
            unit="step",
            smoothing=0.05,
            disable=self.processes.rank > 0,
        )
        with self.signals, bar, lost_worker_explained(self.config.train.workers):
            self._loop(bar, after_row)
        if self.processes.rank == 0 and progress.step == steps:
            about = {
                "trained_steps": steps,
                "initial_sha256": progress.initial_sha256,
                "objects_sha256": self.training_set.objects_sha256,
            }
            save_weights(self.folder.weights, self.averaged, self.config, about)
        self.processes.leave()

    def _loop(self, bar: "tqdm[Any]", after_row: AfterRow) -> None:
        train, progress = self.config.train, self.progress
        progress.start_clock()
        for batch in load_batches(self.training_set, train, progress.step, self.processes):
            progress.finish_step(self._train_step(batch))
            means = {name: f"{value:.3f}" for name, value in progress.mean_losses().items()}
            bar.set_postfix(means, refresh=False)
            bar.update()

            log, checkpoint, validate = (
                progress.step % every == 0 or progress.step == train.steps
                for every in (train.log_every, train.checkpoint_every, train.validate_every)
            )
            validate = validate and bool(self.validation)
            if log or validate:
                row = progress.add_row(self.optimizer.param_groups[0]["lr"])
                scored = self._validate(row, bar) if validate else None
                if self.processes.rank == 0:
                    after_row(row, scored)

            self.stopped_by = self._agreed_signal()
            if checkpoint or self.stopped_by:
                self._save(self.folder.last)
            if self.stopped_by:
                break

    def _train_step(self, batch: Batch) -> dict[str, float]:
        """Take one optimizer step; return the losses of the batch over all processes."""
        config = self.config
        pillars, targets = batch[0].to(self.device), batch[1].to(self.device)
        self.network.train()
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.bf16):
            embeddings, kinds = self.network(pillars)
        losses = batch_losses(
            embeddings, pillars.centres_m, targets, config.loss, config.model.fixed_sigma_m
        )
        if kinds is not None:
            losses[SEMANTIC] = semantic_loss(kinds, targets)
            losses["loss"] = losses["loss"] + config.loss.semantic_weight * losses[SEMANTIC]
        self.optimizer.zero_grad(set_to_none=True)
        losses["loss"].backward()  # type: ignore[no-untyped-call]
        norm = torch.nn.utils.clip_grad_norm_(self.trained.parameters(), config.train.clip_norm)

        values = torch.stack([value.detach() for value in (*losses.values(), norm)])
        numbers = self.processes.mean(values).tolist()
        for name, number in zip((*losses, "gradient norm"), numbers, strict=True):
            if not math.isfinite(number):
                raise TrainingError(
                    f"{self.folder.path}: {name} is {number} at step {self.progress.step + 1}; "
                    "start a new run with a lower train.learning_rate or train.precision fp32"
                )
        self.optimizer.step()
        self.schedule.step()
        self.average.update_parameters(self.model)
        return dict(zip(losses, numbers, strict=False))

    def _validate(self, row: Row, bar: "tqdm[Any]") -> Segmenter:
        """Score the network, each process on its share of the frames; add the scores to the row."""
        bar.set_postfix_str("validating")
        device: Any = self.device.type
        segmenter = Segmenter(self.averaged, self.config, device, sparse_backend="torch")
        refs = self.processes.share(self.validation)
        evaluator, *others = self.processes.gather(score_frames(segmenter, refs, self.config))
        for other in others:
            evaluator.merge(other)
        result = evaluator.result()
        for name, r in result.per_class.items():
            row |= {f"val_pq_{name}": r.pq, f"val_recall_{name}": r.recall_50}
        progress, train = self.progress, self.config.train
        if self.processes.rank == 0:
            scores = " ".join(f"{name} {table_cell(r.pq)}" for name, r in result.per_class.items())
            times = progress.times(train)
            bar.write(f"step {progress.step} of {train.steps}: PQ {scores}; {times}")
            self.folder.write_log(progress.rows)
        if result.mean_pq > progress.best:  # never if it is NaN: no object in any frame
            progress.best = result.mean_pq
            self._save(self.folder.best)
        return segmenter

    def _agreed_signal(self) -> int:
        """Return the number of a stop signal that any process has received, or 0."""
        return self.processes.largest(self.signals.received)

    def _save(self, path: Path) -> None:
        if self.processes.rank:
            return
        state = {
            "config": config_to_dict(self.config),
            "objects_sha256": self.training_set.objects_sha256,
            "frames_sha256": self.training_set.frames_sha256,
            "validation_sha256": hash_names(self.validation),
            "model": self.averaged.state_dict(),
            "averaged_steps": int(self.average.n_averaged),
            "trained": self.model.state_dict(),
            "kinds": self.trained.kinds.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "schedule": self.schedule.state_dict(),
            "rng": torch.get_rng_state(),
            **self.progress.state(),
        }
        self.folder.save(path, state, self.progress.rows)

    def _restore(self) -> None:
        frames = self.training_set
        state = self.folder.load_last(
            self.config, frames.objects_sha256, frames.frames_sha256, hash_names(self.validation)
        )
        try:
            self.model.load_state_dict(state["trained"])
            self.trained.kinds.load_state_dict(state.get("kinds", {}))
            self.averaged.load_state_dict(state["model"])
            self.average.n_averaged.fill_(state["averaged_steps"])
            self.optimizer.load_state_dict(state["optimizer"])
            self.schedule.load_state_dict(state["schedule"])
            torch.set_rng_state(state["rng"])
            self.progress = Progress.from_state(state)
        except (LookupError, TypeError, ValueError, RuntimeError):
            raise TrainingError(
                f"{self.folder.last}: is not a training state; choose a different --out"
            ) from None

    def _start_from(self, path: Path) -> None:
        model, config, sha256 = load_model(path)
        _check_start(path, config, self.config)
        self.model.start_from(model.to(self.device), _matching_classes(path, config, self.config))
        self.average = new_average(self.model, self.config.train.average_decay)
        self.progress.initial_sha256 = sha256


def _check_start(path: Path, trained: Config, config: Config) -> None:
    """Raise TrainingError if weights do not fit; report how the input differs from theirs."""
    own = config.model
    if not _fits(trained.model, own):
        raise TrainingError(f"{path}: belongs to a different network; use its model settings")
    for name, was, now in (
        ("grid.cell_m", trained.grid.cell_m, config.grid.cell_m),
        ("model.relative_intensity", trained.model.relative_intensity, own.relative_intensity),
    ):
        if was != now:
            warnings.warn(
                f"{path}: trained with {name} {was}, not {now}; the network must get used to that",
                stacklevel=4,
            )


def _fits(trained: ModelConfig, own: ModelConfig) -> bool:
    """Return whether a network can start from weights: the same, or the same with more blocks."""
    if trained.widths != own.widths:
        return False
    same = replace(trained, relative_intensity=own.relative_intensity, blocks=own.blocks)
    return same == own and all(
        was <= now for was, now in zip(trained.blocks, own.blocks, strict=True)
    )


def _matching_classes(path: Path, trained: Config, config: Config) -> list[int | None]:
    """Return for each class of a configuration the class of trained weights that it starts from.

    If the numbers of classes are equal, it is the class in the same position, else the class of the
    same name. A notice names the classes that have none.
    """
    names, old_names = config.class_names, trained.class_names
    if len(names) == len(old_names):
        return list(range(len(names)))
    if new := [name for name in names if name not in old_names]:
        warnings.warn(
            f"{path}: has the classes {', '.join(old_names)}; these start untrained: "
            f"{', '.join(new)}",
            stacklevel=4,
        )
    return [old_names.index(name) if name in old_names else None for name in names]


def _require_memory(config: Config, processes: Processes) -> None:
    """Raise TrainingError if there is not enough memory for the training."""
    available = machine_bytes()
    if processes.device.type == "cuda":
        available = torch.cuda.get_device_properties(processes.device).total_memory
    model, train, (nx, ny) = config.model, config.train, config.grid.shape
    cells = train.window_cells**2 or nx * ny
    needed = training_bytes(cells, model.widths, model.blocks, train.batch_size // processes.world)
    if reason := shortage(needed, available):
        raise TrainingError(
            f"training with model.widths of up to {max(model.widths)}, train.batch_size "
            f"{train.batch_size} and train.window_cells {train.window_cells} {reason}; "
            "make one of them smaller"
        )


def _spread(refs: Sequence[FrameRef], count: int) -> list[FrameRef]:
    """Return this many frames, spread evenly over all; 0 returns all of them."""
    count = min(count or len(refs), len(refs))
    return [refs[i * len(refs) // count] for i in range(count)]
