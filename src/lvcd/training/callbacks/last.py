"""The newest checkpoint of a run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import lightning

from .stop import StopOnSignal


class SaveLast(lightning.Callback):
    """Saves `last.ckpt` after every validation and after the last step, so that a run that goes on repeats no step.

    Lightning's ModelCheckpoint saves it only where a validation is better than those before. This one runs after all
    other callbacks, wherever it is in the configuration: the checkpoint holds what they have made of the step.
    """

    def __init__(self, folder: str):
        """folder: where the checkpoint goes."""
        self.file = Path(folder) / "last.ckpt"

    def setup(self, trainer: Any, module: Any, stage: str) -> None:
        """Move behind all other callbacks."""
        trainer.callbacks = [*(callback for callback in trainer.callbacks if callback is not self), self]

    def on_train_batch_end(self, trainer: Any, module: Any, outputs: Any, batch: Any, index: int) -> None:
        """Save after the last step, by trainer.max_steps, max_epochs or max_time."""
        epochs_end = trainer.fit_loop.epoch_loop.batch_progress.is_last_batch and (
            trainer.current_epoch + 1 == trainer.fit_loop.max_epochs
        )
        stopped = any(isinstance(c, StopOnSignal) and c.saved for c in trainer.callbacks)
        if not stopped and (trainer.global_step == trainer.max_steps or trainer.should_stop or epochs_end):
            trainer.save_checkpoint(self.file, weights_only=False)  # with the optimizer's state

    def on_validation_end(self, trainer: Any, module: Any) -> None:
        """Save after a validation of the training."""
        if trainer.state.fn == "fit" and not trainer.sanity_checking:
            trainer.save_checkpoint(self.file, weights_only=False)
