"""Training of the networks that paint: the sketch branch alone, or with the U-Net (paper, section 4.4).

letters: b clips, t frames (the reference at 0), c latent channels, h w latent size, H W pixels.
"""

from __future__ import annotations

import hashlib
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

import lightning
import numpy as np
import torch
from torch import Tensor, nn

from lvcd.data.batch import Batch
from lvcd.diffusion.loss import denoising_loss
from lvcd.diffusion.noise import log_normal_sigma
from lvcd.diffusion.precondition import precondition
from lvcd.errors import InputError
from lvcd.frames import FrameLayout
from lvcd.nn.condition import Condition, clip_token, encode_mode, numbers
from lvcd.nn.network import bind

from .checkpoint import check_fits, keep_trained
from .correspondence import attending, gaze_loss
from .fsdp import shard
from .networks import Networks
from .optimizer import Optimization
from .trainable import UNet, choose


class FineTuneModule(lightning.LightningModule):
    """The sketch branch, and as much of the U-Net as `unet` says.

    Noise, its level and the dropping of conditions are drawn for each clip from (seed, batch, clip's place in it): the
    result does not depend on how a batch is spread over ranks, and a run that goes on needs no generator's state.
    """

    strict_loading = False  # a checkpoint holds only what was trained; `check_fits` is strict about that

    def __init__(
        self,
        networks: Networks,
        unet: UNet = "self_attention",
        optimization: Optimization | None = None,  # None = the paper's
        sigma_mean: float = 1.0,  # ln sigma ~ N(mean, std^2)
        sigma_std: float = 1.6,
        condition_dropout: float = 0.0,  # share of clips without reference token and latent, for guidance
        lookup: float = 0.0,  # share of clips with the reference's latent beside itself alone: colors are looked up
        gaze: float = 0.0,  # weight of `gaze_loss`, which teaches attention where to look
        huber: float | None = None,  # errors of latents from which they count in proportion; None = all squared (paper)
        gradient_checkpointing: bool = False,  # less memory, the same gradients, about a third more time
        frozen_half: bool = False,  # frozen linear and convolution weights in the half type that mixed precision uses
        reference_attention: bool = True,  # ablation: False = every frame attends to itself alone
        isolation: bool = True,  # ablation: False = temporal layers see the reference as one more frame
        seed: int = 0,
    ):
        super().__init__()
        if not 0 <= condition_dropout < 1:
            raise InputError(f"condition_dropout={condition_dropout}: give a share from 0 up to 1")
        self.unet, self.controlnet = networks.unet, networks.controlnet
        self._networks = [networks]  # in a list: encoders are no part of the module, its checkpoints or its buckets
        self.learns = choose(self.unet, self.controlnet, unet)
        self.optimization = optimization or Optimization()
        self.sigma_mean, self.sigma_std = sigma_mean, sigma_std
        if not 0 <= lookup <= 1 or gaze < 0:
            raise InputError(f"lookup={lookup}, gaze={gaze}: give a share from 0 to 1, and a weight from 0")
        if not reference_attention and (lookup or gaze):
            raise InputError("lookup and gaze train reference attention: set both to 0 where there is none")
        self.condition_dropout, self.frozen_half, self.seed = condition_dropout, frozen_half, seed
        if huber is not None and not huber > 0:
            raise InputError(f"huber={huber}: give an error above 0, or null for squares")
        self.lookup, self.gaze, self.huber = lookup, gaze, huber
        self.rights = {"reference_attention": reference_attention, "isolation": isolation}
        networks.settings |= self.rights
        self._spread = False
        if gradient_checkpointing:
            self.unet.enable_gradient_checkpointing()
            self.controlnet.enable_gradient_checkpointing()

    @property
    def networks(self) -> Networks:
        return self._networks[0]

    @property
    def encoder_fingerprints(self) -> dict[str, str]:
        """What encoded shards must have been made with: see ShardDataModule."""
        return self.networks.encoder_fingerprints

    # --- one step -----------------------------------------------------------------------------------------------------

    def training_step(self, batch: Batch, index: int) -> dict[str, Tensor]:
        """=> loss, and of each clip: loss and sigma (b)."""
        b = len(batch.fps)
        place = self.global_rank * b
        step = self.trainer.fit_loop.total_batch_idx if self._trainer else index
        seeds = [seed_of(self.seed, step, place + i) for i in range(b)]
        with self.listen() as seen:
            loss, sigma, x0 = self.losses(batch, seeds, self.condition_dropout, self.lookup)
        self.log("train/loss", loss.mean(), prog_bar=True, batch_size=b)
        total = loss.mean()
        if self.gaze:
            gaze = gaze_loss(seen, x0, seeds).mean()
            self.log("train/gaze", gaze, batch_size=b)
            total = total + self.gaze * gaze
        return {"loss": total, "losses": loss.detach(), "sigma": sigma}

    def validation_step(self, batch: Batch, index: int) -> None:
        """The same noise for a clip at every validation, on however many ranks."""
        names = batch.keys or tuple(f"{index}.{i}" for i in range(len(batch.fps)))
        seeds = [int.from_bytes(hashlib.sha256(name.encode()).digest()[:7]) for name in names]
        with self.listen() as seen:
            loss, _, x0 = self.losses(batch, seeds)
        if self.gaze:
            self.log("val/gaze", gaze_loss(seen, x0, seeds).mean(), batch_size=len(loss), sync_dist=True)
        self.log("val/loss", loss.mean(), prog_bar=True, batch_size=len(loss), sync_dist=True)

    def losses(
        self, batch: Batch, seeds: list[int], condition_dropout: float = 0.0, lookup: float = 0.0
    ) -> tuple[Tensor, Tensor, Tensor]:
        """=> denoising loss and sigma of each clip, (b) each, and the clean latents (b t c h w). seeds: one a clip."""
        latents, condition = self.encode(batch)
        generators = [torch.Generator().manual_seed(seed) for seed in seeds]
        sigma = torch.cat([log_normal_sigma(1, self.sigma_mean, self.sigma_std, g) for g in generators])
        noise = torch.stack([gaussian(latents[0], g, seed) for g, seed in zip(generators, seeds)])
        if condition_dropout:
            dropped = torch.stack([torch.rand((), generator=g) for g in generators]) < condition_dropout
            condition = condition.dropped_where(dropped.to(latents.device))
        if lookup:
            alone = torch.stack([torch.rand((), generator=g) for g in generators]) < lookup
            condition = condition.at_reference_where(alone.to(latents.device))
        t = latents.shape[1]
        net = bind(self.unet, self.controlnet, condition, batch.sketches)
        layout = FrameLayout.referenced(window=t - 1).ablated(**self.rights)
        sigma = sigma.to(latents.device)
        x0 = latents * self.networks.vae.config.scaling_factor
        denoise = precondition(lambda x, c_noise: net(x, c_noise, layout))
        return denoising_loss(denoise, x0, sigma, noise.to(x0), self.huber).mean(dim=1), sigma, x0

    def listen(self) -> AbstractContextManager[list]:
        """See `attending`; an empty list where nothing is taught."""
        return attending(self.unet, self.controlnet) if self.gaze else nullcontext([])

    @torch.no_grad()
    def encode(self, batch: Batch) -> tuple[Tensor, Condition]:
        """=> latents (b t c h w) unscaled, and what the networks are told of the reference."""
        parts = self.networks
        if batch.latents is not None and batch.tokens is not None:
            latents, token, reference = batch.latents, batch.tokens, batch.latents[:, 0]
        else:
            assert batch.frames is not None, "a batch has frames, or latents and tokens"
            b, t = batch.frames.shape[:2]
            with torch.autocast(self.device.type, enabled=False):  # SVD's encoder overflows in float16
                latents = encode_mode(parts.vae, batch.frames.flatten(0, 1).float()).unflatten(0, (b, t))
                reference = (
                    latents[:, 0]
                    if parts.condition_encoder is None
                    else encode_mode(parts.condition_encoder, batch.frames[:, 0].float())
                )
                token = clip_token(parts.image_encoder, batch.frames[:, 0].float())
        reference = reference[:, None].expand(-1, latents.shape[1], -1, -1, -1)
        return latents, Condition(token, reference, numbers(len(batch.fps), self.device))

    # --- around the steps ---------------------------------------------------------------------------------------------

    def configure_optimizers(self) -> Any:
        named = dict(self.named_parameters())
        groups = {group: [named[name] for name in names] for group, names in self.learns.items()}
        return self.optimization.build(groups, int(self.trainer.estimated_stepping_batches))

    def configure_model(self) -> None:
        """Where a strategy spreads weights over ranks (trainer=fsdp)."""
        mesh = self.device_mesh
        if mesh is not None and not self._spread:
            if self.frozen_half:
                raise InputError("weights in shards are of one type: set module.frozen_half=false with trainer=fsdp")
            if self.optimization.muon is not None:
                raise InputError("Muon wants whole matrices: set module.optimization.muon=null with trainer=fsdp")
            self._spread = True
            for network in (self.unet, self.controlnet):
                shard(network, mesh["data_parallel"])

    def setup(self, stage: str) -> None:
        if stage == "fit":
            _ = self.networks.fingerprints  # of the weights as training starts from them
            if self.frozen_half and (half := HALF.get(str(self.trainer.precision))):
                halve_frozen(self, half)

    def on_fit_start(self) -> None:
        self._encoders_here()
        frozen = sum(p.numel() for p in self.parameters() if not p.requires_grad)
        named = dict(self.named_parameters())
        for group, names in self.learns.items():
            self.print(f"{group}: {len(names)} tensors learn, {sum(named[n].numel() for n in names):,} parameters")
        self.print(f"frozen: {frozen:,} parameters, and the encoders'; on {self.device}")

    def on_validation_start(self) -> None:
        self._encoders_here()

    def _encoders_here(self) -> None:
        for encoder in self.networks.encoders:
            encoder.to(self.device)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        keep_trained(self, checkpoint, self.networks.fingerprints)

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        check_fits(self, checkpoint, self.networks.fingerprints)

    def export(self, folder: Path) -> None:
        """Writes the folder that `lvcd colorize --model` takes, in half precision."""
        self.networks.pipeline().to(torch.float16).save_pretrained(folder)


class ControlNetModule(FineTuneModule):
    """The sketch branch alone; the U-Net is frozen."""

    def __init__(self, networks: Networks, **settings: Any):
        super().__init__(networks, "none", **settings)


HALF = {"16-mixed": torch.float16, "bf16-mixed": torch.bfloat16}


def halve_frozen(module: nn.Module, dtype: torch.dtype) -> None:
    """Frozen weights of linear layers and convolutions in half: autocast rounds them so at every use anyway."""
    for layer in module.modules():
        if isinstance(layer, (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d)):
            for p in layer.parameters(recurse=False):
                if not p.requires_grad:
                    p.data = p.data.to(dtype)


def gaussian(like: Tensor, generator: torch.Generator, seed: int) -> Tensor:
    """Noise of that shape, drawn where it is needed: on a GPU by a generator of its own, whose numbers are others."""
    if like.is_cuda:
        generator = torch.Generator(like.device).manual_seed(seed)
    return torch.randn(like.shape, generator=generator, device=generator.device)


def seed_of(*numbers: int) -> int:
    """One seed of 63 bits from several numbers."""
    return int(np.random.SeedSequence(numbers).generate_state(1, np.uint64)[0] >> np.uint64(1))
