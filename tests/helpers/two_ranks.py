"""Train a toy and save the first gradients and the last weights; with shards, also stop, kill and resume it.

python -m tests.helpers.two_ranks RANKS BATCH OUT ddp|fsdp|killed [all|lora]
"""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

import lightning
import torch
from lightning.pytorch.strategies import ModelParallelStrategy
from torch.distributed.tensor import DTensor

from lvcd.data.batch import Batch
from lvcd.errors import InputError
from lvcd.training import AtomicCheckpointIO, FineTuneModule, Optimization
from lvcd.training.callbacks import Ema, Samples, StopOnSignal
from lvcd.training.fsdp import with_full_weights
from tests.helpers.fitting import clips
from tests.helpers.toys import toy_networks


class Keep(lightning.Callback):
    """Keeps the gradients of the first step."""

    def __init__(self):
        self.gradients: dict[str, torch.Tensor] = {}

    def on_before_optimizer_step(self, trainer, module, optimizer):
        if not self.gradients:
            self.gradients |= {n: unsharded(p.grad) for n, p in module.named_parameters() if p.grad is not None}


def unsharded(x: torch.Tensor) -> torch.Tensor:
    return (x.full_tensor() if isinstance(x, DTensor) else x).detach().clone()


class Data(lightning.LightningDataModule):
    """Step k of r ranks takes clips k r b .. in order: rank after rank."""

    def __init__(self, batch: int):
        super().__init__()
        self.batch = batch

    def train_dataloader(self):
        ranks, rank = self.trainer.world_size, self.trainer.global_rank
        steps = torch.arange(8).view(-1, ranks, self.batch)[:, rank].tolist()
        done = self.trainer.fit_loop.epoch_loop.batch_progress.current.ready  # Lightning starts a loader anew
        steps = steps[done:] + steps[:done]
        return torch.utils.data.DataLoader(Clips(), batch_sampler=steps, collate_fn=join)

    def val_dataloader(self):
        return torch.utils.data.DataLoader(Clips(), batch_sampler=[[0]], collate_fn=join)


class Gets(lightning.Callback):
    """Gets a signal before the end of an optimizer step, on every rank."""

    def __init__(self, number: int, step: int):
        self.number, self.step = number, step

    def on_before_optimizer_step(self, trainer, module, optimizer):
        if trainer.global_step + 1 == self.step:
            os.kill(os.getpid(), self.number)


class Clips(torch.utils.data.Dataset):
    def __len__(self) -> int:
        return 8

    def __getitem__(self, index: int) -> Batch:
        return clips(1, index)


def join(batches: list[Batch]) -> Batch:
    return Batch(*(torch.cat([getattr(b, name) for b in batches]) for name in ("sketches", "fps", "frames")))


def die_while_saving(trainer: lightning.Trainer, file: str) -> None:
    """As when the disk of the rank that writes is full."""
    save = torch.save

    def half(what, file):
        file.write(b"half")
        raise OSError("no space left")

    torch.save = half
    try:
        trainer.save_checkpoint(file)
    except InputError:
        trainer.strategy.barrier()  # where the other rank waits
    torch.save = save


def toy_module(unet: str = "all") -> FineTuneModule:
    return FineTuneModule(toy_networks(), unet, Optimization(lr=1e-4), gradient_checkpointing=unet == "all")


def fit(
    ranks: int, batch: int, folder: Path, kind: str, more: list, resume: Path | None = None, unet: str = "all"
) -> tuple[lightning.Trainer, FineTuneModule]:
    strategy = kind if kind == "ddp" else ModelParallelStrategy(ranks, 1, save_distributed_checkpoint=False)
    steps = 2 if unet == "all" else 1
    usual = [Ema(0.5), Samples(str(folder), clips=1, steps=1), StopOnSignal(str(folder))] if unet == "all" else []
    trainer = lightning.Trainer(
        accelerator="cpu", devices=ranks, strategy=strategy if ranks > 1 else "auto", max_steps=steps,
        callbacks=[*usual, *more], accumulate_grad_batches=steps, num_sanity_val_steps=1, val_check_interval=1.0,
        logger=False, enable_checkpointing=False, enable_progress_bar=False, enable_model_summary=False,
        use_distributed_sampler=False, plugins=[AtomicCheckpointIO()],
    )  # fmt: skip
    module = toy_module(unet)
    trainer.fit(module, Data(batch), ckpt_path=resume, weights_only=True)
    return trainer, module


def train(ranks: int, batch: int, out: str, kind: str = "ddp", unet: str = "all") -> None:
    torch.set_num_threads(1)
    folder, keep = Path(f"{out}.run"), Keep()
    if kind == "killed":
        fit(ranks, batch, folder, kind, [Gets(signal.SIGTERM, 1)])
        fit(ranks, batch, folder, kind, [Gets(signal.SIGKILL, 2)], folder / "last.ckpt")
    before = {n: p.detach().clone() for n, p in toy_module(unet).named_parameters()}
    trainer, module = fit(ranks, batch, folder, kind, [keep], unet=unet)
    after = {n: unsharded(p) for n, p in module.named_parameters()}
    if kind == "fsdp":
        trainer.save_checkpoint(f"{out}.ckpt", weights_only=False)
        die_while_saving(trainer, f"{out}.ckpt")
    results = {"before": before, "after": after, "gradients": keep.gradients}
    if kind == "fsdp" and unet == "all":
        full = with_full_weights(trainer, module, toy_module)
        if trainer.is_global_zero:
            full.export(Path(f"{out}.model"))
        killed = Path(out).parent / "killed.run" / "last.ckpt"
        _, rest = fit(ranks, batch, folder / "rest", kind, [], killed)
        results["rested"] = {n: unsharded(p) for n, p in rest.named_parameters()}
    if trainer.is_global_zero:
        torch.save(results, out)


if __name__ == "__main__":
    train(int(sys.argv[1]), int(sys.argv[2]), *sys.argv[3:])
