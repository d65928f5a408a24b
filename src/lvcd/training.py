"""What Lightning trains."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import lightning
import torch
import torch.nn.functional as F
from torch import Tensor
from transformers import CLIPVisionConfig, CLIPVisionModelWithProjection

from .data.batch import Batch
from .diffusion.loss import denoising_loss
from .diffusion.noise import log_normal_sigma
from .diffusion.precondition import precondition
from .frames import FrameLayout
from .nn.condition import Condition, clip_token, encode_mode, numbers
from .nn.controlnet import SketchControlNet
from .nn.encoder import zero_branches
from .nn.network import bind
from .nn.unet import ColorUNet
from .nn.vae import ColorVAE
from .pipeline import LineartVideoPipeline


class _Module(lightning.LightningModule):
    """AdamW, a linear warm-up, then a linear decay to zero at the last step."""

    lr: float
    warmup_steps: int

    def configure_optimizers(self) -> Any:
        parameters = [p for p in self.parameters() if p.requires_grad]
        optimizer = torch.optim.AdamW(parameters, lr=self.lr)
        total = int(self.trainer.estimated_stepping_batches)

        def factor(step: int) -> float:
            return min(
                (step + 1) / (self.warmup_steps + 1), max(0.0, (total - step) / max(1, total - self.warmup_steps))
            )

        schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, factor)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    def on_fit_start(self) -> None:
        trained = sum(p.numel() for p in self.parameters() if p.requires_grad)
        frozen = sum(p.numel() for p in self.parameters() if not p.requires_grad)
        self.print(f"training {trained:,} parameters ({frozen:,} frozen) on {self.device}")


class VaeModule(_Module):
    """A small autoencoder for flat colors and sharp lines: |x - x'| + (x - x')^2 + edges, and a little KL.

    Trained on one random crop of each batch, height and width in px: the network is convolutional but for one layer.
    """

    def __init__(
        self,
        vae: dict,
        crop: tuple[int, int],
        lr: float = 1e-3,
        warmup_steps: int = 50,
        kl: float = 1e-6,
        edges: float = 0.5,
    ):
        super().__init__()
        self.save_hyperparameters()
        self.vae = ColorVAE(**vae)
        self.lr, self.warmup_steps, self.crop, self.kl, self.edges = lr, warmup_steps, crop, kl, edges

    def training_step(self, batch: Batch, index: int) -> Tensor:
        assert batch.frames is not None
        top, left = (int(torch.randint(full - part + 1, ())) for full, part in zip(batch.frames.shape[-2:], self.crop))
        x = batch.frames.flatten(0, 1)[..., top : top + self.crop[0], left : left + self.crop[1]]
        posterior = self.vae.encode(x).latent_dist
        y = self.vae.decode(posterior.sample(), num_frames=batch.frames.shape[1]).sample
        edges = sum(F.l1_loss(y.diff(dim=d), x.diff(dim=d)) for d in (-1, -2))
        loss = F.l1_loss(y, x) + F.mse_loss(y, x) + self.edges * edges + self.kl * posterior.kl().mean()
        self.log("loss", loss, prog_bar=True)
        return loss

    def validation_step(self, batch: Batch, index: int) -> None:
        assert batch.frames is not None
        x = batch.frames.flatten(0, 1)
        z = encode_mode(self.vae, x)
        y = self.vae.decode(z, num_frames=batch.frames.shape[1]).sample.clamp(-1, 1)
        psnr = -10 * ((x - y) / 2).square().mean(dim=(1, 2, 3)).log10()
        self.log_dict({"val/psnr": psnr.mean(), "val/latent_std": z.std()}, prog_bar=True, batch_size=len(x))

    def export(self, folder: Path) -> None:
        """Writes the VAE, its scale factor set so that scaled latents have a standard deviation of 1."""
        self.vae.register_to_config(scaling_factor=1 / float(self.trainer.callback_metrics["val/latent_std"]))
        self.vae.half().save_pretrained(folder)


class FineTuneModule(_Module):
    """The sketch branch and the U-Net together, from a pretrained VAE (paper, section 4).

    Configurations of networks are keyword arguments of their classes.
    """

    def __init__(
        self,
        unet: dict,
        controlnet: dict,
        image_encoder: dict,
        vae: str,  # a folder with a trained VAE
        lr: float = 5e-5,
        warmup_steps: int = 0,
        sigma_mean: float = 1.0,  # ln sigma ~ N(mean, std^2)
        sigma_std: float = 1.6,
        pipeline: dict | None = None,  # settings of the exported pipeline
    ):
        super().__init__()
        self.save_hyperparameters()
        self.unet = ColorUNet(**unet)
        zero_branches(self.unet)
        self.controlnet = SketchControlNet.from_unet(self.unet, **controlnet)
        self.image_encoder = CLIPVisionModelWithProjection(CLIPVisionConfig(**image_encoder))
        self.vae = ColorVAE.from_pretrained(vae, torch_dtype=torch.float32)
        self.vae.requires_grad_(False)
        self.lr, self.warmup_steps = lr, warmup_steps
        self.sigma_mean, self.sigma_std = sigma_mean, sigma_std
        self.pipeline = pipeline or {}

    def training_step(self, batch: Batch, index: int) -> Tensor:
        loss = self._loss(batch, None)
        self.log("loss", loss, prog_bar=True)
        return loss

    def validation_step(self, batch: Batch, index: int) -> None:
        generator = torch.Generator().manual_seed(index)  # the same noise at every validation
        self.log("val/loss", self._loss(batch, generator), prog_bar=True, batch_size=len(batch.fps))

    def _loss(self, batch: Batch, generator: torch.Generator | None) -> Tensor:
        assert batch.frames is not None
        b, t = batch.frames.shape[:2]
        with torch.no_grad():
            latents = encode_mode(self.vae, batch.frames.flatten(0, 1)).unflatten(0, (b, t))
        token = clip_token(self.image_encoder, batch.frames[:, 0])
        concat = latents[:, :1].expand(-1, t, -1, -1, -1)
        condition = Condition(token, concat, numbers(b, self.device))
        net = bind(self.unet, self.controlnet, condition, batch.sketches)
        layout = FrameLayout.referenced(window=t - 1)
        sigma = log_normal_sigma(b, self.sigma_mean, self.sigma_std, generator).to(self.device)
        x0 = latents * self.vae.config.scaling_factor
        noise = torch.randn(x0.shape, generator=generator).to(x0)
        return denoising_loss(precondition(lambda x, c_noise: net(x, c_noise, layout)), x0, sigma, noise).mean()

    def export(self, folder: Path) -> None:
        """Writes the folder that `lvcd colorize --model` takes, in half precision."""
        parts = (self.unet, self.controlnet, self.vae, self.image_encoder)
        LineartVideoPipeline(*parts, **self.pipeline).to(torch.float16).save_pretrained(folder)
