"""Train a toy and save the first gradients and the last weights.

python -m tests.helpers.two_ranks RANKS BATCH OUT ddp|fsdp [all|lora]
"""

from __future__ import annotations

import sys

import lightning
import torch
from lightning.pytorch.strategies import ModelParallelStrategy
from torch.distributed.tensor import DTensor

from lvcd.data.batch import Batch
from lvcd.training import AtomicCheckpointIO, FineTuneModule, Optimization
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
        return torch.utils.data.DataLoader(Clips(), batch_sampler=steps, collate_fn=join)


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
    except OSError:
        trainer.strategy.barrier()  # where the other rank waits
    torch.save = save


def train(ranks: int, batch: int, out: str, kind: str = "ddp", unet: str = "all") -> None:
    torch.set_num_threads(1)
    keep = Keep()
    strategy = ModelParallelStrategy(ranks, 1, save_distributed_checkpoint=False) if kind == "fsdp" else kind
    steps = 2 if unet == "all" else 1
    trainer = lightning.Trainer(
        accelerator="cpu", devices=ranks, strategy=strategy if ranks > 1 else "auto", max_steps=steps, callbacks=[keep],
        accumulate_grad_batches=steps, logger=False, enable_checkpointing=False, enable_progress_bar=False,
        enable_model_summary=False, use_distributed_sampler=False, plugins=[AtomicCheckpointIO()],
    )  # fmt: skip
    module = FineTuneModule(toy_networks(), unet, Optimization(lr=1e-4), gradient_checkpointing=unet == "all")
    before = {n: p.detach().clone() for n, p in module.named_parameters()}
    trainer.fit(module, Data(batch))
    after = {n: unsharded(p) for n, p in module.named_parameters()}
    if kind == "fsdp":
        trainer.save_checkpoint(f"{out}.ckpt", weights_only=False)
        die_while_saving(trainer, f"{out}.ckpt")
    if trainer.is_global_zero:
        torch.save({"before": before, "after": after, "gradients": keep.gradients}, out)


if __name__ == "__main__":
    train(int(sys.argv[1]), int(sys.argv[2]), *sys.argv[3:])
