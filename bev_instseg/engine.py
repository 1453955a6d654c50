"""The training loop: one process or many, stopped and resumed at will."""

import csv
import io
import math
import os
import signal
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import FrameType
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor
from torch.nn.parallel import DistributedDataParallel
from torch.optim.lr_scheduler import LambdaLR
from torch.utils.data import DataLoader
from tqdm import tqdm

from bev_instseg.checkpoint import CheckpointError, load_state, save_state, save_weights
from bev_instseg.config import Config, TrainConfig, config_to_dict, save_config
from bev_instseg.datasets.scan_io import write_atomic
from bev_instseg.datasets.sources import FrameRef
from bev_instseg.evaluation import evaluate
from bev_instseg.losses import batch_losses
from bev_instseg.models.batch import PillarBatch
from bev_instseg.models.network import BEVNet
from bev_instseg.segmenter import Segmenter
from bev_instseg.structures import Pillars
from bev_instseg.targets import PillarTargets
from bev_instseg.training_set import TrainingSet

LOSSES = ("loss", "instance", "smoothness", "seed")
Sample = tuple[Pillars, PillarTargets]


class TrainingError(RuntimeError):
    """A training run that cannot start or go on; one line with reason and remedy."""


class Trainer:
    """Trains a network on a `TrainingSet`; a run is a folder.

    The folder holds ``config.yaml`` (resolved), ``log.csv``, ``last.pt``, ``best.pt`` and, at the
    end, ``weights.safetensors`` with its ``.json``. Under ``torchrun`` each process takes its
    share of every batch and the numbers stay those of one process with the whole batch.
    """

    def __init__(
        self,
        config: Config,
        training_set: TrainingSet,
        validation: Sequence[FrameRef],
        out: Path,
        resume: bool = False,
    ) -> None:
        """Args:
            config: everything about the run.
            training_set: samples by number.
            validation: frames scored every ``validate_every`` steps; may be empty.
            out: the run's folder.
            resume: go on from ``out/last.pt``.

        Raises:
            TrainingError: a batch that the processes cannot share, a folder that holds a run
                already, or one to resume that is not there or was made with another configuration.
        """
        self.config, self.training_set, self.validation, self.out = (
            config,
            training_set,
            validation,
            out,
        )
        self.world = int(os.environ.get("WORLD_SIZE", 1))
        self.rank = int(os.environ.get("RANK", 0))
        if config.train.batch_size % self.world:
            raise TrainingError(
                f"train.batch_size {config.train.batch_size} cannot be shared by {self.world} processes"
            )
        self.device = _device()
        torch.manual_seed(config.train.seed)
        self.model = BEVNet(config).to(self.device)
        self.network = DistributedDataParallel(self.model) if self.world > 1 else self.model
        self.optimizer = torch.optim.AdamW(
            self.model.parameters(), config.train.learning_rate, weight_decay=config.train.weight_decay
        )
        self.schedule = LambdaLR(self.optimizer, lambda step: learning_rate(step, config.train))
        self.step, self.best, self.seconds = 0, -math.inf, 0.0
        self.rows: list[dict[str, Any]] = []
        self._stop = False
        last = out / "last.pt"
        if resume:
            self._restore(last)
        elif last.exists():
            raise TrainingError(f"{last}: a run is here already; add --resume or choose another --out")
        elif self.rank == 0:
            out.mkdir(parents=True, exist_ok=True)
            save_config(config, out / "config.yaml")

    def run(self) -> None:
        """Train to the last step, or until SIGINT or SIGTERM; then save.

        Raises:
            TrainingError: a loss or gradient that is not finite; ``last.pt`` is from before it.
        """
        train = self.config.train
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, self._ask_to_stop)
        bar = tqdm(
            total=train.steps, initial=self.step, unit="step", disable=self.rank > 0, smoothing=0.05
        )
        sums, since, clock = dict.fromkeys(LOSSES, 0.0), 0, time.perf_counter()
        for batch in self._batches():
            losses = self._train_step(batch)
            self.step += 1
            since += 1
            for name in LOSSES:
                sums[name] += losses[name]
            bar.set_postfix({name: f"{sums[name] / since:.3f}" for name in LOSSES}, refresh=False)
            bar.update()
            end = self.step == train.steps
            stop = self._agreed_stop()
            if self.step % train.log_every == 0 or end:
                self.seconds += time.perf_counter() - clock
                clock = time.perf_counter()
                row: dict[str, Any] = {
                    "step": self.step,
                    "time_s": round(self.seconds, 1),
                    "lr": self.optimizer.param_groups[0]["lr"],
                }
                row |= {name: sums[name] / since for name in LOSSES}
                sums, since = dict.fromkeys(LOSSES, 0.0), 0
                if self.step % train.validate_every < train.log_every or end:
                    row |= self._validate(bar)
                self.rows.append(row)
                if self.step % train.checkpoint_every < train.log_every or end or stop:
                    self._save("last.pt")
            if stop:
                break
        bar.close()
        if self.rank == 0 and self.step == train.steps:
            save_weights(
                self.out / "weights.safetensors",
                self.model,
                self.config,
                {"trained_steps": self.step},
            )

    def _batches(self) -> Iterator[list[Sample]]:
        train = self.config.train
        local = train.batch_size // self.world
        first = [step * train.batch_size + self.rank * local for step in range(self.step, train.steps)]
        return iter(
            DataLoader(
                self.training_set,  # type: ignore[arg-type]
                batch_sampler=[list(range(i, i + local)) for i in first],
                num_workers=train.workers,
                multiprocessing_context="spawn" if train.workers else None,
                collate_fn=list,
                prefetch_factor=4 if train.workers else None,
            )
        )

    def _train_step(self, samples: list[Sample]) -> dict[str, float]:
        config = self.config
        batch = PillarBatch.from_pillars([pillars for pillars, _ in samples]).to(self.device)
        self.network.train()
        bf16 = config.train.precision == "bf16"
        with torch.autocast(self.device.type, torch.bfloat16, enabled=bf16):
            embeddings = self.network(batch)
        losses = batch_losses(
            embeddings,
            batch.centres_m,
            batch.counts,
            [targets for _, targets in samples],
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
                    f"{self.out}: {name} is {value} at step {self.step + 1}; lower "
                    "train.learning_rate or train in fp32, and --resume"
                )
        self.optimizer.step()
        self.schedule.step()
        return dict(zip(LOSSES, numbers, strict=False))

    def _mean_over_processes(self, values: Tensor) -> Tensor:
        if self.world > 1:
            dist.all_reduce(values)
            values /= self.world
        return values

    def _validate(self, bar: tqdm) -> dict[str, float]:
        if self.rank or not self.validation:
            return {}
        bar.set_postfix_str("validating")
        segmenter = Segmenter(self.model, self.config, self.device.type)  # type: ignore[arg-type]
        result = evaluate(segmenter, self.validation, self.config).result()
        if result.mean_pq > self.best:
            self.best = result.mean_pq
            self._save("best.pt")
        scores = " ".join(f"{name} {100 * r.pq:.1f}" for name, r in result.per_class.items())
        bar.write(f"step {self.step}: PQ {scores}")
        columns = {f"val_pq_{name}": r.pq for name, r in result.per_class.items()}
        columns |= {f"val_recall_{name}": r.recall_50 for name, r in result.per_class.items()}
        return columns

    def _save(self, name: str) -> None:
        if self.rank:
            return
        state = {
            "config": config_to_dict(self.config),
            "step": self.step,
            "best": self.best,
            "seconds": self.seconds,
            "model": self.model.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "schedule": self.schedule.state_dict(),
            "rng": torch.get_rng_state(),
            "rows": self.rows,
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

    def _restore(self, path: Path) -> None:
        try:
            state = load_state(path)
        except CheckpointError as error:
            raise TrainingError(str(error)) from None
        if state["config"] != config_to_dict(self.config):
            raise TrainingError(f"{path}: made with another configuration; resume with {self.out}/config.yaml")
        self.model.load_state_dict(state["model"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.schedule.load_state_dict(state["schedule"])
        torch.set_rng_state(state["rng"])
        self.step, self.best, self.seconds = state["step"], state["best"], state["seconds"]
        self.rows = state["rows"]

    def _ask_to_stop(self, number: int, frame: FrameType | None) -> None:
        self._stop = True

    def _agreed_stop(self) -> bool:
        if self.world == 1:
            return self._stop
        flag = torch.tensor([float(self._stop)], device=self.device)
        return bool(self._mean_over_processes(flag).item() > 0)


def learning_rate(step: int, train: TrainConfig) -> float:
    """Factor on the learning rate: linear warm-up, then a half cosine to 0 at the last step."""
    if step < train.warmup_steps:
        return (step + 1) / train.warmup_steps
    done = (step - train.warmup_steps) / max(train.steps - train.warmup_steps, 1)
    return 0.5 * (1 + math.cos(math.pi * min(done, 1.0)))


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
