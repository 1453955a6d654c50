"""The training loop: one process or many, stopped and resumed at will."""

import csv
import io
import math
import os
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import FrameType
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor
from torch.nn.parallel import DistributedDataParallel
from torch.optim.lr_scheduler import LambdaLR
from torch.optim.swa_utils import AveragedModel
from torch.utils.data import DataLoader
from tqdm import tqdm

from bev_instseg.checkpoint import load_model, load_state, save_state, save_weights
from bev_instseg.config import (
    Config,
    TrainConfig,
    check_same_network,
    config_to_dict,
    save_config,
)
from bev_instseg.datasets.frames import FrameRef
from bev_instseg.evaluation.score_frames import score_frames
from bev_instseg.exceptions import CheckpointError, KittiError, ScanError, TrainingError
from bev_instseg.file_io import write_atomic
from bev_instseg.models.network import BEVNet, native_dtype
from bev_instseg.models.pillar_batch import PillarBatch
from bev_instseg.segmenter import Segmenter
from bev_instseg.structures import Pillars
from bev_instseg.training.losses import BatchTargets, batch_losses
from bev_instseg.training.targets import PillarTargets
from bev_instseg.training.training_set import TrainingSet

LOSSES = ("loss", "instance", "smoothness", "seed")
Batch = tuple[PillarBatch, BatchTargets]
Tensors = list[Tensor] | tuple[Tensor, ...]
Row = dict[str, Any]  # of log.csv
AfterRow = Callable[[Row, Segmenter | None], None]


class Trainer:
    """Trains a network on a `TrainingSet`; a run is a folder.

    The folder holds ``config.yaml`` (resolved), ``log.csv``, ``last.pt``, ``best.pt`` and, at the
    end, ``weights.safetensors`` (of the last step) with its ``.json``. Scored and written is the
    moving average of the weights (``train.average_decay``). Under ``torchrun`` each process takes
    its share of every batch and the numbers stay those of one process with the whole batch.
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
        """Args:
            config: everything about the run.
            training_set: samples by number.
            validation: frames scored every ``validate_every`` steps; may be empty.
            out: the run's folder.
            resume: go on from ``out/last.pt``.
            initial: weights to start a new run from, of the same network.

        Raises:
            TrainingError: a batch that the processes cannot share, a folder that holds a run
                already, one to resume that is not there or was made with another configuration
                or other objects to paste, or initial weights of another network.
            CheckpointError: initial weights that cannot be read.
        """
        train = config.train
        self.config, self.training_set, self.out = config, training_set, out
        count = min(train.validate_frames or len(validation), len(validation))
        self.validation = [validation[i * len(validation) // count] for i in range(count)]
        self.world = int(os.environ.get("WORLD_SIZE", 1))
        self.rank = int(os.environ.get("RANK", 0))
        if train.batch_size % self.world:
            raise TrainingError(
                f"train.batch_size {train.batch_size} cannot be shared by {self.world} processes"
            )
        self.device = _device()
        native = native_dtype(self.device) == torch.bfloat16
        self.bf16 = native if train.precision == "auto" else train.precision == "bf16"
        torch.manual_seed(train.seed)
        self.model = BEVNet(config).to(self.device)
        self.network = DistributedDataParallel(self.model) if self.world > 1 else self.model
        self.optimizer = torch.optim.AdamW(
            self.model.parameters(),
            train.learning_rate,
            weight_decay=train.weight_decay,
            fused=self.device.type == "cuda",
        )
        self.schedule = LambdaLR(self.optimizer, lambda step: learning_rate_factor(step, train))
        self.average = self._new_average()
        self.step, self.best, self.seconds = 0, -math.inf, 0.0
        self.rows: list[Row] = []
        self.recent: list[dict[str, float]] = []  # losses of the steps since the last row
        self.initial_sha256 = ""  # of the weights that the run started from
        self._clock = time.perf_counter()
        self._stop = False
        last = out / "last.pt"
        if resume:
            self._restore(last)
            return
        if last.exists():
            raise TrainingError(
                f"{last}: a run is here already; add --resume or choose another --out"
            )
        if initial is not None:
            self._start_from(initial)
        if self.rank == 0:
            out.mkdir(parents=True, exist_ok=True)
            save_config(config, out / "config.yaml")

    def run(self, after_row: AfterRow = lambda row, scored: None) -> None:
        """Train to the last step, or until SIGINT or SIGTERM; then save.

        A second signal of a kind ends a lone process at once, with ``last.pt`` as it was.

        Args:
            after_row: called in the first process with each new row of the log (``step``,
                ``time_s``, ``lr``, the losses); where the step was validated, the scores
                (``val_pq_NAME``, ``val_recall_NAME``) are in the row and in ``log.csv``, and what
                was scored is the second argument, else None. It must not draw torch's random
                numbers: the run would not be the same without it.

        Raises:
            TrainingError: a loss or gradient that is not finite, or a data file that cannot be
                used; ``last.pt`` is from before it.
        """
        numbers = (signal.SIGINT, signal.SIGTERM)
        before = [signal.signal(number, self._ask_to_stop) for number in numbers]
        steps = self.config.train.steps
        try:
            with tqdm(
                total=steps, initial=self.step, unit="step", smoothing=0.05, disable=self.rank > 0
            ) as bar:
                self._loop(bar, after_row)
        finally:
            for number, handler in zip(numbers, before, strict=True):
                signal.signal(number, handler)
        if self.rank == 0 and self.step == steps:
            about = {
                "trained_steps": steps,
                "initial_sha256": self.initial_sha256,
                "objects_sha256": self.training_set.objects_sha256,
            }
            save_weights(self.out / "weights.safetensors", self.averaged, self.config, about)
        if dist.is_initialized():
            dist.destroy_process_group()

    def _loop(self, bar: tqdm, after_row: AfterRow) -> None:
        train = self.config.train
        self._clock = time.perf_counter()
        for batch in self._batches():
            self.recent.append(self._train_step(batch))
            self.step += 1
            means = {k: sum(r[k] for r in self.recent) / len(self.recent) for k in LOSSES}
            bar.set_postfix({k: f"{value:.3f}" for k, value in means.items()}, refresh=False)
            bar.update()
            log, checkpoint, validate = (
                self.step % every == 0 or self.step == train.steps
                for every in (train.log_every, train.checkpoint_every, train.validate_every)
            )
            validate = validate and bool(self.validation)
            if log or validate:
                lr = self.optimizer.param_groups[0]["lr"]
                time_s = round(self._elapsed(), 1)
                self.rows.append({"step": self.step, "time_s": time_s, "lr": lr, **means})
                self.recent = []
            scored = self._validate(bar) if validate else None
            if self.rank == 0 and (log or validate):
                after_row(self.rows[-1], scored)
            stop = self._agreed_stop()
            if checkpoint or stop:
                self._save("last.pt")
            if stop:
                break

    def _batches(self) -> Iterator[Batch]:
        train = self.config.train
        local = train.batch_size // self.world
        first = [
            step * train.batch_size + self.rank * local for step in range(self.step, train.steps)
        ]
        loader: DataLoader[Batch] = DataLoader(
            self.training_set,  # type: ignore[arg-type]
            batch_sampler=[list(range(i, i + local)) for i in first],
            num_workers=train.workers,
            multiprocessing_context="spawn" if train.workers else None,
            collate_fn=stack,  # in the workers
            pin_memory=self.device.type == "cuda",
            prefetch_factor=4 if train.workers else None,
            generator=torch.Generator(),  # its own, so that starting again moves no other
        )
        try:
            # The workers inherit that SIGINT is ignored: Ctrl-C stops the loop, and the loop them.
            ours = signal.signal(signal.SIGINT, signal.SIG_IGN)
            batches = iter(loader)
            signal.signal(signal.SIGINT, ours)
            yield from batches
        except (KittiError, ScanError) as error:  # out of a worker the message is a whole traceback
            name = f"{type(error).__module__}.{type(error).__qualname__}: "
            raise TrainingError(str(error).splitlines()[-1].removeprefix(name)) from None

    def _train_step(self, stacked: Batch) -> dict[str, float]:
        config = self.config
        batch, targets = stacked[0].to(self.device), stacked[1].to(self.device)
        self.network.train()
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.bf16):
            embeddings = self.network(batch)
        losses = batch_losses(
            embeddings,
            batch.centres_m,
            targets,
            config.loss,
            config.model.fixed_sigma_m,
        )
        self.optimizer.zero_grad(set_to_none=True)
        losses["loss"].backward()
        norm = torch.nn.utils.clip_grad_norm_(self.model.parameters(), config.train.clip_norm)
        values = torch.stack([losses[name].detach() for name in LOSSES] + [norm])
        numbers = self._mean_over_processes(values).tolist()
        for name, value in zip((*LOSSES, "gradient norm"), numbers, strict=True):
            if not math.isfinite(value):
                raise TrainingError(
                    f"{self.out}: {name} is {value} at step {self.step + 1}; start again elsewhere "
                    "with a lower train.learning_rate or train.precision fp32"
                )
        self.optimizer.step()
        self.schedule.step()
        self.average.update_parameters(self.model)
        return dict(zip(LOSSES, numbers, strict=False))

    def _mean_over_processes(self, values: Tensor) -> Tensor:
        if self.world > 1:
            dist.all_reduce(values)
            values /= self.world
        return values

    def _validate(self, bar: tqdm) -> Segmenter:
        """Score the network, each process its share of the frames; fills the row of this step."""
        bar.set_postfix_str("validating")
        device: Any = self.device.type
        segmenter = Segmenter(self.averaged, self.config, device, sparse_backend="torch")
        share = score_frames(segmenter, self.validation[self.rank :: self.world], self.config)
        shares = [share] * self.world
        if self.world > 1:
            dist.all_gather_object(shares, share)
        for other in shares[1:]:
            shares[0].merge(other)
        result = shares[0].result()
        for name, r in result.per_class.items():
            self.rows[-1] |= {f"val_pq_{name}": r.pq, f"val_recall_{name}": r.recall_50}
        if self.rank == 0:
            scores = " ".join(f"{name} {100 * r.pq:.1f}" for name, r in result.per_class.items())
            bar.write(
                f"step {self.step} of {self.config.train.steps}: PQ {scores}; {self._times()}"
            )
            self._write_log()
        if result.mean_pq > self.best:  # never where it is NaN: no object in any frame
            self.best = result.mean_pq
            self._save("best.pt")
        return segmenter

    def _save(self, name: str) -> None:
        if self.rank:
            return
        state = {
            "config": config_to_dict(self.config),
            "step": self.step,
            "best": self.best,
            "seconds": self._elapsed(),
            "model": self.averaged.state_dict(),
            "averaged_steps": int(self.average.n_averaged),
            "trained": self.model.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "schedule": self.schedule.state_dict(),
            "rng": torch.get_rng_state(),
            "rows": self.rows,
            "recent": self.recent,
            "initial_sha256": self.initial_sha256,
            "objects_sha256": self.training_set.objects_sha256,
        }
        save_state(self.out / name, state)
        self._write_log()

    def _write_log(self) -> None:
        columns = list(dict.fromkeys(key for row in self.rows for key in row))
        text = io.StringIO()
        writer = csv.DictWriter(text, columns)
        writer.writeheader()
        writer.writerows(self.rows)
        write_atomic(self.out / "log.csv", text.getvalue().encode())

    def _start_from(self, path: Path) -> None:
        model, config, self.initial_sha256 = load_model(path)
        try:
            check_same_network(config, self.config)
        except ValueError as error:
            raise TrainingError(f"{path}: of another network: {error}") from None
        self.model.load_state_dict(model.state_dict())
        self.average = self._new_average()

    def _new_average(self) -> AveragedModel:
        """The mean of the weights so far, the recent ones weighing more and more."""
        decay = self.config.train.average_decay

        def mean(average: Tensors, weights: Tensors, _: Tensor | int) -> None:
            count = float(self.average.n_averaged)  # ours lies on the CPU: no waiting for a GPU
            if average[0].is_floating_point():
                torch._foreach_lerp_(average, weights, max(1 - decay, 1 / (1 + 0.1 * count)))
            else:  # counters
                torch._foreach_copy_(average, weights)

        return AveragedModel(self.model, multi_avg_fn=mean, use_buffers=True)

    @property
    def averaged(self) -> BEVNet:
        """The network that is scored and saved."""
        return self.average.module  # type: ignore[return-value]

    def _restore(self, path: Path) -> None:
        if not path.exists():
            raise TrainingError(f"{path}: no run to resume; leave --resume out to start one")
        try:
            state = load_state(path)
        except CheckpointError as error:
            raise TrainingError(str(error)) from None
        if state.get("config") != config_to_dict(self.config):
            raise TrainingError(
                f"{path}: made with another configuration; resume with {self.out}/config.yaml"
            )
        if state.get("objects_sha256", "") != self.training_set.objects_sha256:
            raise TrainingError(f"{path}: made with other --objects; give the same again, in order")
        try:
            self.model.load_state_dict(state["trained"])
            self.averaged.load_state_dict(state["model"])
            self.average.n_averaged.fill_(state["averaged_steps"])
            self.optimizer.load_state_dict(state["optimizer"])
            self.schedule.load_state_dict(state["schedule"])
            torch.set_rng_state(state["rng"])
            self.step, self.best, self.seconds = state["step"], state["best"], state["seconds"]
            self.rows, self.recent = state["rows"], state.get("recent", [])
            self.initial_sha256 = state.get("initial_sha256", "")
        except (LookupError, TypeError, ValueError, RuntimeError):
            raise TrainingError(f"{path}: no training state; choose another --out") from None

    def _elapsed(self) -> float:
        """Seconds of training, those before a resume included."""
        now = time.perf_counter()
        self.seconds, self._clock = self.seconds + now - self._clock, now
        return self.seconds

    def _times(self) -> str:
        """How long the run took so far and will yet, at the pace since the validation before."""
        train, so_far_s = self.config.train, self._elapsed()
        if self.step == train.steps:
            return f"{duration(so_far_s)} in all"
        step_s = so_far_s / self.step
        for row in self.rows:  # from that row's time to the last one's there is one validation
            if row["step"] == self.step - train.validate_every:
                step_s = (self.rows[-1]["time_s"] - row["time_s"]) / train.validate_every
        left_s = step_s * (train.steps - self.step)
        return f"{duration(so_far_s)} so far, {duration(left_s)} left"

    def _ask_to_stop(self, number: int, frame: FrameType | None) -> None:
        self._stop = True
        if self.world == 1:  # a second one ends the process at once
            signal.signal(number, signal.SIG_DFL)

    def _agreed_stop(self) -> bool:
        if self.world == 1:
            return self._stop
        flag = torch.tensor([float(self._stop)], device=self.device)
        return bool(self._mean_over_processes(flag).item() > 0)


def stack(samples: Sequence[tuple[Pillars, PillarTargets]]) -> Batch:
    """Samples as the tensors of a batch."""
    pillars, targets = zip(*samples, strict=True)
    return PillarBatch.from_pillars(pillars), BatchTargets.of(targets)


def learning_rate_factor(step: int, train: TrainConfig) -> float:
    """Factor on the learning rate: linear warm-up, then a half cosine to 0 at the last step."""
    if step < train.warmup_steps:
        return (step + 1) / train.warmup_steps
    done = (step - train.warmup_steps) / max(train.steps - train.warmup_steps, 1)
    return 0.5 * (1 + math.cos(math.pi * min(done, 1.0)))


def duration(seconds: float) -> str:
    """``45 s``, ``11 min``, ``2 h 5 min``: to about a percent."""
    minutes = round(seconds / 60)
    if seconds < 100:
        return f"{seconds:.0f} s"
    return f"{minutes} min" if minutes < 100 else f"{minutes // 60} h {minutes % 60} min"


def _device() -> torch.device:
    """This process's GPU, or the CPU; joins the process group under ``torchrun``."""
    cuda = torch.cuda.is_available()
    local = int(os.environ.get("LOCAL_RANK", 0))
    if int(os.environ.get("WORLD_SIZE", 1)) > 1 and not dist.is_initialized():
        dist.init_process_group("nccl" if cuda else "gloo")
    if cuda:
        torch.cuda.set_device(local)
        return torch.device("cuda", local)
    return torch.device("cpu")
