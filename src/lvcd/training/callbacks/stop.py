"""A run that is told to stop, or has gone wrong, ends with everything kept."""

from __future__ import annotations

import signal
from pathlib import Path
from typing import Any

import lightning
import torch

from lvcd.data.batch import Batch
from lvcd.errors import InputError

REQUEUE = (signal.SIGUSR1, signal.SIGUSR2)
"""What SLURM sends before a job's time is over, if Lightning or submitit asked for it."""


class StopOnSignal(lightning.Callback):
    """SIGINT or SIGTERM: finish the optimizer step, save `last.ckpt`, stop. A second one is Python's own.

    So too where SLURM is about to take the machine away, by a signal that Lightning or submitit answers: they then have
    the job started again. Alone they would do that in the middle of a step, each rank in another place, and submitit
    without saving.

    folder    where the checkpoint goes
    """

    def __init__(self, folder: str):
        self.folder = Path(folder)
        self.asked = 0
        """The signal; 0 = none yet."""
        self.saved: Path | None = None
        """The checkpoint to go on from; None = the run was not stopped."""
        self._before: dict[int, Any] = {}

    def on_train_start(self, trainer: Any, module: Any) -> None:
        answered = [number for number in REQUEUE if callable(signal.getsignal(number))]
        for number in (signal.SIGINT, signal.SIGTERM, *answered):
            self._before[number] = signal.signal(number, self._ask)

    def _ask(self, number: int, frame: Any) -> None:
        if self.asked not in REQUEUE:  # SIGTERM follows when a job is started again
            self.asked = number
        if number not in REQUEUE:
            signal.signal(number, signal.default_int_handler)

    def on_train_batch_end(self, trainer: Any, module: Any, outputs: Any, batch: Any, index: int) -> None:
        asked = self.asked
        if trainer.world_size > 1:  # all ranks hear it, not all in the same step
            told = torch.tensor(asked, device=trainer.strategy.root_device)
            asked = int(trainer.strategy.reduce(told, reduce_op="max"))
        if asked and (index + 1) % trainer.accumulate_grad_batches == 0:
            self.saved = self.folder / "last.ckpt"
            trainer.save_checkpoint(self.saved, weights_only=False)  # with the optimizer
            trainer.should_stop = True
            trainer.limit_val_batches = 0  # else Lightning validates once more, which may take longer than is left
            trainer.fit_loop.epoch_loop.min_steps = None  # stops now
            if asked in REQUEUE:
                self._before[asked](asked, None)
                for twin in Path(trainer.default_root_dir).glob("hpc_ckpt_*.ckpt") if trainer.is_global_zero else ():
                    twin.unlink()  # Lightning's, of this step or before; there would be one more each time

    def teardown(self, trainer: Any, module: Any, stage: str) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
        self._before = {}


class NoNumberError(InputError):
    """Training has gone astray."""


class StopOnNan(lightning.Callback):
    """A loss that is no number stops the run; the batch that made it is saved, and weights that make it are not.

    NoNumberError: the loss of a step, with the batch's clips and file; or that of a validation.
    """

    def __init__(self, folder: str):
        self.folder = Path(folder)

    def on_train_batch_end(self, trainer: Any, module: Any, outputs: Any, batch: Batch, index: int) -> None:
        if bool(torch.isfinite(outputs["loss"])):
            return
        self.folder.mkdir(parents=True, exist_ok=True)
        file = self.folder / f"nan-step{trainer.global_step}-rank{trainer.global_rank}.pt"
        torch.save({k: v for k, v in vars(batch.to("cpu")).items() if v is not None}, file)
        clips = ", ".join(batch.keys) or "without names"
        raise NoNumberError(
            f"the loss is {float(outputs['loss'])} after step {trainer.global_step}, clips {clips} (saved as {file}): "
            f"{REMEDY}"
        )

    def on_validation_end(self, trainer: Any, module: Any) -> None:
        """Before ModelCheckpoint, which Lightning calls last."""
        loss = trainer.callback_metrics.get("val/loss", torch.zeros(()))
        if not trainer.sanity_checking and not bool(torch.isfinite(loss)):
            raise NoNumberError(f"the validation's loss is {float(loss)} after step {trainer.global_step}: {REMEDY}")


REMEDY = "lower the learning rate, or train with trainer.precision=bf16-mixed or 32-true"
