"""last.ckpt is of the last step, however a training ends."""

from __future__ import annotations

import lightning
import pytest
import torch
from lightning.pytorch.callbacks import EarlyStopping, ModelCheckpoint

from lvcd.training.callbacks import SaveLast


class Line(lightning.LightningModule):
    """One weight, which every batch moves; its validation gets worse with every step."""

    def __init__(self):
        super().__init__()
        self.line, self.seen = torch.nn.Linear(1, 1), []

    def training_step(self, batch, index):
        self.seen.append(int(batch))
        return self.line(batch).mean()

    def validation_step(self, batch, index):
        self.log("val/loss", float(self.global_step))

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.1)


def fit(folder, resume=None, more=(), **limits) -> tuple[lightning.Trainer, Line]:
    module, data = Line(), torch.utils.data.DataLoader(torch.arange(20.0)[:, None])
    best = ModelCheckpoint(folder, "best", "val/loss", enable_version_counter=False)
    trainer = lightning.Trainer(
        default_root_dir=folder, accelerator="cpu", callbacks=[SaveLast(str(folder)), best, *more], logger=False,
        num_sanity_val_steps=1, enable_progress_bar=False, enable_model_summary=False,
        **{"val_check_interval": 4, "check_val_every_n_epoch": None, "limit_val_batches": 2, **limits},
    )  # fmt: skip
    trainer.fit(module, data, data, ckpt_path=resume, weights_only=True)
    return trainer, module


class Enough(lightning.Callback):
    """Stops after its third step, as Lightning's Timer does when max_time is over."""

    def on_train_batch_end(self, trainer, module, outputs, batch, index):
        trainer.should_stop = trainer.global_step == 3


@pytest.mark.parametrize(
    ("limits", "more", "step"),
    [
        ({"max_steps": 6}, [], 6),
        ({"max_steps": 8}, [], 8),  # with a validation that is worse than the one before
        ({"max_steps": 3}, [], 3),  # before the first validation
        ({"max_steps": 6, "accumulate_grad_batches": 2}, [], 6),
        ({"max_epochs": 1, "limit_train_batches": 5}, [], 5),
        ({"max_steps": 9}, [Enough()], 3),
        ({"max_steps": 9}, [EarlyStopping("val/loss", patience=1)], 8),
    ],
)
def test_it_is_of_the_last_step(tmp_path, limits, more, step):
    trainer, module = fit(tmp_path, more=more, **limits)
    saved = torch.load(tmp_path / "last.ckpt", weights_only=True)
    assert trainer.global_step == saved["global_step"] == step
    assert torch.equal(saved["state_dict"]["line.weight"], module.line.weight)
    assert "optimizer_states" in saved and not list(tmp_path.glob("*.part"))


def test_a_run_that_goes_on_repeats_no_step(tmp_path):
    fit(tmp_path / "run", max_steps=6)
    _, rest = fit(tmp_path / "run", tmp_path / "run" / "last.ckpt", max_steps=11)
    assert len(rest.seen) == 5
    saved = torch.load(tmp_path / "run" / "last.ckpt", weights_only=True)
    assert saved["global_step"] == 11
    (best,) = [s for name, s in saved["callbacks"].items() if name.startswith("ModelCheckpoint")]
    assert float(best["best_model_score"]) == 4 and torch.load(tmp_path / "run" / "best.ckpt")["global_step"] == 4
