"""Where a run stopped in its data, as Lightning's checkpoints hold it."""

from __future__ import annotations

from typing import Any

import lightning

from .stream.loader import StreamLoader


class Positioned(lightning.LightningDataModule):
    """A checkpoint holds where the run stopped, and it goes on with the very next batch of training."""

    def __init__(self) -> None:
        super().__init__()
        self._loaders: dict[str, StreamLoader] = {}
        self._state: dict[str, Any] | None = None

    def _begin(self, loader: StreamLoader) -> StreamLoader:
        """Of training: with the trainer's epoch, or where it was stopped."""
        loader.epoch = self.trainer.current_epoch if self.trainer else 0
        if self._state:
            loader.go_on(self._state)
            self._state = None
        return loader

    def _keep(self, part: str, loader: StreamLoader) -> StreamLoader:
        """In place of the one before."""
        if part in self._loaders:
            self._loaders[part].close()
        self._loaders[part] = loader
        return loader

    def state_dict(self) -> dict[str, Any]:
        loader, trainer = self._loaders.get("train"), self.trainer
        if loader is None or trainer is None:
            return {}
        progress: Any = trainer.fit_loop.epoch_loop.batch_progress.current
        state = loader.position(progress.ready - progress.processed)
        if state["done"] >= trainer.num_training_batches:  # where the trainer ends an epoch early
            state |= {"epoch": state["epoch"] + 1, "done": 0}
        return state

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self._state = state_dict

    def teardown(self, stage: str) -> None:
        for loader in self._loaders.values():
            loader.close()

    def on_exception(self, exception: BaseException) -> None:
        self.teardown("fit")  # a process of theirs, deaf as it is, would be waited for without end
