"""Training of a small model's autoencoder."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import lightning
import torch
import torch.nn.functional as F
from torch import Tensor

from lvcd.checkpoints.config_files import write_json
from lvcd.checkpoints.digest import new_model_folder
from lvcd.data.batch import Batch
from lvcd.nn.condition import encode_mode
from lvcd.nn.vae import ColorVAE

from .checkpoint import TRAINING_FILE, check_trained_weights
from .finetune import derive_seed
from .optimizer import Optimization


class VaeModule(lightning.LightningModule):
    """Trains a small VAE for flat colors and sharp lines: |x - x'| + (x - x')^2, an edge loss and a small KL term.

    The edge loss is the mean absolute error of differences between neighboring pixels. Each step trains on one random
    crop of its batch, which is enough because all layers but one are convolutions.
    """

    def __init__(
        self,
        vae: dict[str, Any],  # arguments of ColorVAE
        crop: tuple[int, int],  # height and width, px
        optimization: Optimization,
        kl: float = 1e-6,  # weight of the KL term
        edges: float = 0.5,  # weight of the edge loss
        seed: int = 0,
    ):
        super().__init__()
        self.vae = ColorVAE(**vae)
        self.optimization, self.crop, self.kl, self.edges, self.seed = optimization, crop, kl, edges, seed

    def training_step(self, batch: Batch, index: int) -> Tensor:
        """Return the loss of one crop."""
        assert batch.frames is not None
        step = self.trainer.fit_loop.total_batch_idx
        generator = torch.Generator().manual_seed(derive_seed(self.seed, step, self.global_rank))
        top, left = (
            int(torch.randint(full - part + 1, (), generator=generator))
            for full, part in zip(batch.frames.shape[-2:], self.crop)
        )
        x = batch.frames.flatten(0, 1)[..., top : top + self.crop[0], left : left + self.crop[1]]
        posterior = self.vae.encode(x).latent_dist
        noise = torch.randn(posterior.mean.shape, generator=generator).to(x)
        y = self.vae.decode(posterior.mean + posterior.std * noise, num_frames=batch.frames.shape[1]).sample
        edges = sum(F.l1_loss(y.diff(dim=d), x.diff(dim=d)) for d in (-1, -2))
        loss = F.l1_loss(y, x) + F.mse_loss(y, x) + self.edges * edges + self.kl * posterior.kl().mean()
        self.log("train/loss", loss, prog_bar=True, batch_size=len(batch.fps))
        return loss

    def validation_step(self, batch: Batch, index: int) -> None:
        """Log the PSNR of reconstructed frames in dB, and the standard deviation of latents."""
        assert batch.frames is not None
        x = batch.frames.flatten(0, 1)
        z = encode_mode(self.vae, x)
        y = self.vae.decode(z, num_frames=batch.frames.shape[1]).sample.clamp(-1, 1)
        psnr = -10 * ((x - y) / 2).square().mean(dim=(1, 2, 3)).log10()
        values = {"val/psnr": psnr.mean(), "val/latent_std": z.std()}
        self.log_dict(values, prog_bar=True, batch_size=len(x), sync_dist=True)

    def configure_optimizers(self) -> Any:
        """Build the optimizer and its schedule."""
        return self.optimization.build({"vae": list(self.parameters())}, int(self.trainer.estimated_stepping_batches))

    def on_fit_start(self) -> None:
        """Print how many parameters are trained."""
        self.print(f"vae: {sum(p.numel() for p in self.parameters()):,} trainable parameters; on {self.device}")

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """InputError: the checkpoint holds other weights than this VAE's."""
        check_trained_weights(self, checkpoint, {})

    def export(self, folder: Path, training: dict[str, Any] | None = None) -> None:
        """Write the VAE's folder; its scaling factor gives scaled latents a standard deviation of 1.

        training: the content of TRAINING_FILE; None = no such file.
        """
        self.vae.register_to_config(scaling_factor=1 / float(self.trainer.callback_metrics["val/latent_std"]))
        with new_model_folder(folder) as partial:
            if training is not None:
                write_json(training, partial / TRAINING_FILE)
            self.vae.half().save_pretrained(partial)
