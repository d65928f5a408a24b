"""Data modules that resume within an epoch: Lightning's checkpoints hold where the run stopped."""

from __future__ import annotations

from typing import Any

import lightning

from .stream.loader import StreamLoader


class ResumableDataModule(lightning.LightningDataModule):
    """A data module whose checkpoint holds where the run stopped: it resumes with the very next batch of training."""

    def __init__(self) -> None:
        super().__init__()
        self._loaders: dict[str, StreamLoader] = {}
        self._state: dict[str, Any] | None = None

    def _resumed(self, loader: StreamLoader) -> StreamLoader:
        """Set the training loader to the trainer's epoch, or to where the run was stopped."""
        loader.epoch = self.trainer.current_epoch if self.trainer else 0
        if self._state:
            loader.resume(self._state)
            self._state = None
        return loader

    def _register(self, part: str, loader: StreamLoader) -> StreamLoader:
        """Keep the loader of train, val or test, and close the one before."""
        if part in self._loaders:
            self._loaders[part].close()
        self._loaders[part] = loader
        return loader

    def state_dict(self) -> dict[str, Any]:
        """Return the position of the next batch that the trainer has not finished."""
        loader, trainer = self._loaders.get("train"), self.trainer
        if loader is None or trainer is None:
            return {}
        progress: Any = trainer.fit_loop.epoch_loop.batch_progress.current
        state = loader.position(progress.ready - progress.processed)
        if state["done"] >= trainer.num_training_batches:  # where the trainer ends an epoch early
            state |= {"epoch": state["epoch"] + 1, "done": 0}
        return state

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Remember the position for the next training loader."""
        self._state = state_dict

    def teardown(self, stage: str) -> None:
        """Close all loaders."""
        for loader in self._loaders.values():
            loader.close()

    def on_exception(self, exception: BaseException) -> None:
        """Close all loaders: their processes ignore signals, and Python would wait for them without end."""
        self.teardown("fit")
