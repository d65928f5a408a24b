"""Stopping a run: by a signal, with everything saved, or because its loss is not a number."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any

import lightning
import torch

from lvcd.data.batch import Batch
from lvcd.errors import InputError

REQUEUE_SIGNALS = tuple(getattr(signal, name) for name in ("SIGUSR1", "SIGUSR2") if hasattr(signal, name))
"""Signals that SLURM sends before a job's time is over, if Lightning or submitit asked for one."""

HANGUP = getattr(signal, "SIGHUP", None)
"""Signal of a terminal that was closed; None on Windows."""


class StopOnSignal(lightning.Callback):
    """On SIGINT, SIGTERM or SIGHUP: finishes the step, saves `last.ckpt` and stops. A second one stops at once.

    The same before SLURM ends a job, on a signal that Lightning or submitit handles, which then queue the job again.
    By themselves they would do so in the middle of a step, on each rank in another place, and submitit without saving.

    It runs after all other callbacks, wherever it is in the configuration: so the checkpoint holds what every callback
    has made of the step, like Ema's average.
    """

    def __init__(self, folder: str):
        """folder: where the checkpoint goes."""
        self.folder = Path(folder)
        self.received = 0
        """Number of the signal; 0 = none yet."""
        self.saved: Path | None = None
        """The checkpoint to go on from; None = the run was not stopped."""
        self._handlers: dict[int, Any] = {}

    def setup(self, trainer: Any, module: Any, stage: str) -> None:
        """Move behind all other callbacks."""
        trainer.callbacks = [*(callback for callback in trainer.callbacks if callback is not self), self]

    def on_train_start(self, trainer: Any, module: Any) -> None:
        """Take over the signals' handlers."""
        handled = [number for number in REQUEUE_SIGNALS if callable(signal.getsignal(number))]
        hangup = [] if HANGUP is None or signal.getsignal(HANGUP) is signal.SIG_IGN else [HANGUP]  # nohup ignores it
        for number in (signal.SIGINT, signal.SIGTERM, *hangup, *handled):
            self._handlers[number] = signal.signal(number, self._receive)

    def _receive(self, number: int, frame: Any) -> None:
        if self.received not in REQUEUE_SIGNALS:  # SIGTERM follows when a job is queued again
            self.received = number
        if number == HANGUP:
            signal.signal(number, signal.SIG_IGN)  # a shell sends one more than the terminal
            leave_terminal()
        elif number not in REQUEUE_SIGNALS:
            signal.signal(number, signal.default_int_handler)

    def on_train_batch_end(self, trainer: Any, module: Any, outputs: Any, batch: Any, index: int) -> None:
        """At the end of an optimizer step, if any rank has received a signal: save and stop."""
        received = self.received
        if trainer.world_size > 1:  # all ranks receive it, but not all in the same step
            numbers = torch.tensor(received, device=trainer.strategy.root_device)
            received = int(trainer.strategy.reduce(numbers, reduce_op="max"))
        if received and (index + 1) % trainer.accumulate_grad_batches == 0:
            self.saved = self.folder / "last.ckpt"
            trainer.save_checkpoint(self.saved, weights_only=False)  # with the optimizer's state
            trainer.should_stop = True
            trainer.limit_val_batches = 0  # else Lightning validates first, which may take longer than the time left
            trainer.fit_loop.epoch_loop.min_steps = None  # stop now
            if received in REQUEUE_SIGNALS:
                self._handlers[received](received, None)
                duplicates = Path(trainer.default_root_dir).glob("hpc_ckpt_*.ckpt")  # Lightning's, one more each time
                for file in duplicates if trainer.is_global_zero else ():
                    file.unlink()

    def teardown(self, trainer: Any, module: Any, stage: str) -> None:
        """Give the signals back to their handlers."""
        for number, handler in self._handlers.items():
            signal.signal(number, handler)
        self._handlers = {}


def leave_terminal() -> None:
    """Send to nowhere what was to be shown on a terminal that is gone: a line that cannot be shown ends a run."""
    for stream in (1, 2):
        try:
            os.write(stream, b"\n")
        except OSError:
            os.dup2(os.open(os.devnull, os.O_WRONLY), stream)


class NanLossError(InputError):
    """The loss is NaN or infinite."""


class StopOnNan(lightning.Callback):
    """Stops a run whose loss is NaN or infinite; saves the batch that caused it, and no such weights.

    NanLossError: the loss of a step, with the batch's clips and file; or the loss of a validation.
    """

    def __init__(self, folder: str):
        """folder: where the batch goes."""
        self.folder = Path(folder)

    def on_train_batch_end(self, trainer: Any, module: Any, outputs: Any, batch: Batch, index: int) -> None:
        """Check the loss of the step."""
        if bool(torch.isfinite(outputs["loss"])):
            return
        self.folder.mkdir(parents=True, exist_ok=True)
        file = self.folder / f"nan-step{trainer.global_step}-rank{trainer.global_rank}.pt"
        torch.save({k: v for k, v in vars(batch.to("cpu")).items() if v is not None}, file)
        clips = ", ".join(batch.keys) or "without names"
        raise NanLossError(
            f"the loss is {float(outputs['loss'])} after step {trainer.global_step}, clips {clips} (saved as {file}): "
            f"{ADVICE}"
        )

    def on_validation_end(self, trainer: Any, module: Any) -> None:
        """Check the loss of the validation before ModelCheckpoint saves; Lightning calls that last."""
        loss = trainer.callback_metrics.get("val/loss", torch.zeros(()))
        if not trainer.sanity_checking and not bool(torch.isfinite(loss)):
            raise NanLossError(f"the validation loss is {float(loss)} after step {trainer.global_step}: {ADVICE}")


ADVICE = "lower the learning rate, or train with trainer.precision=bf16-mixed or 32-true"
