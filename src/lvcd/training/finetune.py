"""LightningModules that train the colorization networks: the ControlNet alone, or with the U-Net (paper, section 4.4).

letters: b clips, t frames (the reference at 0), c latent channels, h w latent size, H W pixels.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

import lightning
import numpy as np
import torch
from torch import Tensor, nn

from lvcd.checkpoints.adapters import trained_layers, write_adapter
from lvcd.checkpoints.component import config_of
from lvcd.checkpoints.config_files import write_json
from lvcd.checkpoints.digest import new_model_folder
from lvcd.data.batch import Batch
from lvcd.diffusion.loss import denoising_loss
from lvcd.diffusion.noise import log_normal_sigma
from lvcd.diffusion.precondition import precondition
from lvcd.errors import InputError
from lvcd.frames import FrameLayout
from lvcd.nn.blocks import large_blocks
from lvcd.nn.condition import Condition, added_time_ids, clip_token, encode_mode
from lvcd.nn.lora import has_lora, merge_lora
from lvcd.nn.network import conditioned_network

from .checkpoint import TRAINING_FILE, check_taken_weights, check_trained_weights, keep_trained_weights, saved_weights
from .correspondence import correspondence_loss, record_attention_inputs
from .fsdp import shard_network
from .networks import Networks
from .optimizer import Optimization
from .trainable import LoraSettings, TrainableControlNet, TrainableUNet, effective_weights, select_trainable

COMPILED_SHAPES = 64
"""Shapes and settings in which the blocks of a class are compiled at most; in others they run as they are."""
HALF_DTYPES = {"16-mixed": torch.float16, "bf16-mixed": torch.bfloat16}
"""Lightning's names of mixed precision -> the half type that autocast computes in."""


class FineTuneModule(lightning.LightningModule):
    """Trains as much of the U-Net and the ControlNet as `unet` and `controlnet` say, with the denoising loss of EDM.

    The noise, its level and the dropped conditions of a clip are drawn from (seed, batch number, place in the batch).
    So the result does not depend on how a batch is spread over ranks, and resuming needs no state of a generator.

    InputError: a setting out of its range.
    """

    strict_loading = False  # a checkpoint holds only trained weights; `check_trained_weights` is strict about those

    def __init__(
        self,
        networks: Networks,
        unet: TrainableUNet = "self_attention",  # what is trained of the U-Net
        optimization: Optimization | None = None,  # None = the paper's
        sigma_mean: float = 1.0,  # ln sigma ~ N(mean, std^2)
        sigma_std: float = 1.6,
        condition_dropout: float = 0.0,  # probability of dropping the reference's token and latent (for guidance)
        reference_only_prob: float = 0.0,
        # probability of giving the reference latent to frame 0 only, so that color must come through attention
        correspondence_weight: float = 0.0,  # weight of the cross-entropy of reference attention against color matches
        huber: float | None = None,  # error of a latent above which the loss is linear; None = squared (paper)
        gradient_checkpointing: bool = False,  # less memory, the same gradients, about a third more time
        frozen_half: bool = False,  # keep frozen linear and convolution weights in mixed precision's half type
        compile: bool = False,  # compile every block by torch.compile, at the first steps
        reference_attention: bool = True,  # ablation: False = every frame attends to itself only
        isolation: bool = True,  # ablation: False = temporal layers treat the reference as one more frame
        seed: int = 0,
        controlnet: TrainableControlNet | None = None,  # None = adapters where the U-Net gets them, else all of it
        lora: Mapping[str, Any] | LoraSettings | None = None,  # settings of adapters; None = the defaults
    ):
        super().__init__()
        which = controlnet or ("lora" if unet == "lora" else "all")
        if "lora" in (unet, which) and networks.recipe is not None:
            raise InputError("new networks have nothing to adapt: give module=lora and a module.networks.folder")
        if which != "all" and networks.new_controlnet:
            raise InputError("the model has no ControlNet, and a new one hears no sketch until all of it is trained: "
                             "give LVCD's model as module.networks.folder, or module.controlnet=all")  # fmt: skip
        if not 0 <= condition_dropout < 1:
            raise InputError(f"condition_dropout={condition_dropout}: give a probability from 0 to below 1")
        if not 0 <= reference_only_prob <= 1:
            raise InputError(f"reference_only_prob={reference_only_prob}: give a probability from 0 to 1")
        if correspondence_weight < 0:
            raise InputError(f"correspondence_weight={correspondence_weight}: give a weight of at least 0")
        if not reference_attention and (reference_only_prob or correspondence_weight):
            raise InputError(
                "reference_only_prob and correspondence_weight train reference attention: "
                "set both to 0 with reference_attention=false"
            )
        if compile and correspondence_weight:
            raise InputError(
                "compiled blocks hide what correspondence_weight needs of them: set one of module.compile=false and "
                "module.correspondence_weight=0"
            )
        if huber is not None and not huber > 0:
            raise InputError(f"huber={huber}: give an error above 0, or null for squared errors")
        self.unet, self.controlnet = networks.unet, networks.controlnet
        self._networks = [networks]  # in a list: encoders are no part of the module, its checkpoints or DDP's buckets
        self.lora = LoraSettings.of(lora)
        self.trainable = select_trainable(self.unet, self.controlnet, unet, which, self.lora)
        self.taken: list[str] = []
        """Names of weights of another run (init_from) that are not trained here: checkpoints hold them, too."""
        self.optimization = optimization or Optimization()
        self.sigma_mean, self.sigma_std = sigma_mean, sigma_std
        self.condition_dropout, self.reference_only_prob = condition_dropout, reference_only_prob
        self.correspondence_weight, self.huber = correspondence_weight, huber
        self.frozen_half, self.seed, self._compiles = frozen_half, seed, compile
        self.layout_settings = {"reference_attention": reference_attention, "isolation": isolation}
        networks.settings |= self.layout_settings
        self._sharded = False
        if gradient_checkpointing:
            self.unet.enable_gradient_checkpointing()
            self.controlnet.enable_gradient_checkpointing()

    @property
    def networks(self) -> Networks:
        """The trained networks and the frozen encoders."""
        return self._networks[0]

    @property
    def encoder_fingerprints(self) -> dict[str, str]:
        """SHA-256 of the encoders, which encoded shards must have been made with (see ShardDataModule)."""
        return self.networks.encoder_fingerprints

    # --- one step -----------------------------------------------------------------------------------------------------

    def training_step(self, batch: Batch, index: int) -> dict[str, Tensor]:
        """Return the loss, and of each clip the denoising loss and sigma, (b) each."""
        b = len(batch.fps)
        first_clip = self.global_rank * b
        step = self.trainer.fit_loop.total_batch_idx if self._trainer else index
        seeds = [derive_seed(self.seed, step, first_clip + i) for i in range(b)]
        with self.attention_inputs() as inputs:
            losses, sigma, x0 = self.losses(batch, seeds, self.condition_dropout, self.reference_only_prob)
        self.log("train/loss", losses.mean(), prog_bar=True, batch_size=b)
        total = losses.mean()
        if self.correspondence_weight:
            correspondence = correspondence_loss(inputs, x0, seeds).mean()
            self.log("train/correspondence", correspondence, batch_size=b)
            total = total + self.correspondence_weight * correspondence
        return {"loss": total, "losses": losses.detach(), "sigma": sigma}

    def validation_step(self, batch: Batch, index: int) -> None:
        """Log the loss; a clip gets the same noise at every validation, on any number of ranks."""
        keys = batch.keys or tuple(f"{index}.{i}" for i in range(len(batch.fps)))
        seeds = [int.from_bytes(hashlib.sha256(key.encode()).digest()[:7]) for key in keys]
        with self.attention_inputs() as inputs:
            losses, _, x0 = self.losses(batch, seeds)
        if self.correspondence_weight:
            correspondence = correspondence_loss(inputs, x0, seeds).mean()
            self.log("val/correspondence", correspondence, batch_size=len(losses), sync_dist=True)
        self.log("val/loss", losses.mean(), prog_bar=True, batch_size=len(losses), sync_dist=True)

    def losses(
        self,
        batch: Batch,
        seeds: list[int],  # one for each clip
        condition_dropout: float = 0.0,
        reference_only_prob: float = 0.0,
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Return each clip's denoising loss and sigma, (b) each, and the scaled clean latents (b t c h w)."""
        latents, condition = self.encode(batch)
        generators = [torch.Generator().manual_seed(seed) for seed in seeds]
        sigma = torch.cat([log_normal_sigma(1, self.sigma_mean, self.sigma_std, g) for g in generators])
        noise = torch.stack([draw_noise(latents[0], g, seed) for g, seed in zip(generators, seeds)])
        if condition_dropout:
            dropped = torch.stack([torch.rand((), generator=g) for g in generators]) < condition_dropout
            condition = condition.unconditional_where(dropped.to(latents.device))
        if reference_only_prob:
            reference_only = torch.stack([torch.rand((), generator=g) for g in generators]) < reference_only_prob
            condition = condition.reference_only_where(reference_only.to(latents.device))
        t = latents.shape[1]
        net = conditioned_network(self.unet, self.controlnet, condition, batch.sketches)
        layout = FrameLayout.referenced(window=t - 1).ablated(**self.layout_settings)
        sigma = sigma.to(latents.device)
        x0 = latents * self.networks.vae.config.scaling_factor
        denoise = precondition(lambda x, c_noise: net(x, c_noise, layout))
        return denoising_loss(denoise, x0, sigma, noise.to(x0), self.huber).mean(dim=1), sigma, x0

    def attention_inputs(self) -> AbstractContextManager[list]:
        """Record what `correspondence_loss` needs; the list stays empty where that loss has no weight."""
        return record_attention_inputs(self.unet, self.controlnet) if self.correspondence_weight else nullcontext([])

    @torch.no_grad()
    def encode(self, batch: Batch) -> tuple[Tensor, Condition]:
        """Return unscaled latents (b t c h w) and the networks' condition; encoded batches are passed on as they are.

        The networks always get the frame rate that LVCD was trained with, not the clip's own (method, section 2).
        """
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
        concat = reference[:, None].expand(-1, latents.shape[1], -1, -1, -1)
        return latents, Condition(token, concat, added_time_ids(len(batch.fps), self.device))

    # --- around the steps ---------------------------------------------------------------------------------------------

    def configure_optimizers(self) -> Any:
        """Build the optimizer and its schedule, with a parameter group for each network."""
        parameters = dict(self.named_parameters())
        groups = {group: [parameters[name] for name in names] for group, names in self.trainable.items()}
        return self.optimization.build(groups, int(self.trainer.estimated_stepping_batches))

    def configure_model(self) -> None:
        """Shard the networks over ranks where the strategy is ModelParallelStrategy (trainer=fsdp).

        InputError: a setting that sharded weights do not allow.
        """
        mesh = self.device_mesh
        if mesh is not None and not self._sharded:
            if self.frozen_half:
                raise InputError("sharded weights must have one type: set module.frozen_half=false with trainer=fsdp")
            if self.optimization.muon is not None:
                raise InputError("Muon needs whole matrices: set module.optimization.muon=null with trainer=fsdp")
            self._sharded = True
            for network in (self.unet, self.controlnet):
                shard_network(network, mesh["data_parallel"])

    def setup(self, stage: str) -> None:
        """Fingerprint the weights that training starts from, cast the frozen ones if `frozen_half` is set, and compile
        if `compile` is.
        """
        if stage == "fit":
            _ = self.networks.fingerprints
            if self.frozen_half and (dtype := HALF_DTYPES.get(str(self.trainer.precision))):
                cast_frozen_weights(self, dtype)
            if self._compiles:
                compile_blocks(self.unet)
                compile_blocks(self.controlnet)

    def on_fit_start(self) -> None:
        """Move the encoders to the device and print how many parameters are trained."""
        self._move_encoders()
        frozen = sum(p.numel() for p in self.parameters() if not p.requires_grad)
        parameters = dict(self.named_parameters())
        for group, names in self.trainable.items():
            count = sum(parameters[name].numel() for name in names)
            self.print(f"{group}: {count:,} trainable parameters in {len(names)} tensors")
        self.print(f"frozen: {frozen:,} parameters, and the encoders; on {self.device}")

    def on_validation_start(self) -> None:
        """Move the encoders to the device: a validation may run without a fit."""
        self._move_encoders()

    def _move_encoders(self) -> None:
        for encoder in self.networks.encoders:
            encoder.to(self.device)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Keep in the checkpoint only what the starting model does not have."""
        keep_trained_weights(self, checkpoint, self.networks.fingerprints, self.taken)

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """InputError: the checkpoint holds other weights than this module trains."""
        self.taken = check_trained_weights(self, checkpoint, self.networks.fingerprints)

    def take_weights(self, checkpoint: dict[str, Any]) -> str:
        """Begin with what a checkpoint of another run has trained, and return what was taken, for people to read.

        That run may have trained other parts of the same networks. What it did not train keeps the weights of the
        starting model. InputError: it had other networks or encoders, or lacks weights and had another starting model.
        """
        effective = effective_weights(self.unet, self.controlnet)
        base = self.networks.fingerprints  # of the starting model, so before any weight is changed
        self.taken = [n for n in check_taken_weights(self, checkpoint, base, effective) if n in effective]
        weights = {name: x for name, x in saved_weights(checkpoint).items() if name in effective}
        self.load_state_dict(weights, strict=False)
        counts = []
        for group in self.trainable:
            all_names = [name for name in effective if name.startswith(f"{group}.")]
            counts.append(f"{group} {sum(name in weights for name in all_names)} of {len(all_names)} tensors")
        rest = "; the rest is the starting model's" if len(weights) < len(effective) else ""
        frozen = f"; {len(self.taken)} of the tensors taken are not trained here" if self.taken else ""
        return f"{', '.join(counts)}{rest}{frozen}"

    @property
    def is_adapter(self) -> bool:
        """Whether all that is trained are adapters."""
        return not self.taken and all(".lora_" in name for names in self.trainable.values() for name in names)

    def export(self, folder: Path, training: dict[str, Any] | None = None) -> None:
        """Write the model folder that `lvcd colorize --model` takes, in half precision; it appears whole or not at all.

        Adapters are merged into the weights of their layers, and the module has none afterwards.
        training: the content of TRAINING_FILE; None = no such file.
        InputError: another folder is there, or it cannot be written.
        """
        for network in (self.unet, self.controlnet):
            if has_lora(network):
                merge_lora(network)
        with new_model_folder(folder) as partial:
            if training is not None:
                write_json(training, partial / TRAINING_FILE)
            self.networks.pipeline().to(torch.float16).save_pretrained(partial)

    def export_adapter(self, folder: Path, training: dict[str, Any] | None = None) -> None:
        """Write the trained adapters as a folder for `lvcd colorize --adapter`; it appears whole or not at all.

        training: as in `export`. InputError: more than adapters is trained, or the folder cannot be written.
        """
        if not self.is_adapter:
            raise InputError("this run trained more than adapters, of which an adapter's folder has no place: export "
                             "its model, or train with module=lora")  # fmt: skip
        networks = {"unet": self.unet, "controlnet": self.controlnet}
        layers = {name: trained_layers(network) for name, network in networks.items() if has_lora(network)}
        base = {name: self.networks.fingerprints[name] for name in networks}
        write_adapter(folder, layers, base, config_of(self.unet), training)


class ControlNetModule(FineTuneModule):
    """Trains the ControlNet alone; the U-Net is frozen. The arguments are FineTuneModule's, but for `unet`."""

    def __init__(self, networks: Networks, **settings: Any):
        super().__init__(networks, "none", **settings)


def cast_frozen_weights(module: nn.Module, dtype: torch.dtype) -> None:
    """Cast the frozen weights of linear layers and convolutions, which autocast would cast at every use anyway."""
    for layer in module.modules():
        if isinstance(layer, (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d)):
            for p in layer.parameters(recurse=False):
                if not p.requires_grad:
                    p.data = p.data.to(dtype)


def compile_blocks(network: nn.Module) -> None:
    """Compile every transformer block and every residual block by torch.compile, in place: no name of a weight changes.

    Blocks of one class and shape share their code, so that a network of hundreds compiles in minutes, not hours.
    """
    limits = torch._dynamo.config  # type: ignore[attr-defined]  # a limit is for all blocks of a class
    limits.recompile_limit = max(limits.recompile_limit, COMPILED_SHAPES)
    for block in large_blocks(network):
        block.compile(dynamic=False)


def draw_noise(like: Tensor, generator: torch.Generator, seed: int) -> Tensor:
    """Draw unit normal noise of a tensor's shape, on its device.

    On a GPU a generator of that device is seeded with `seed`; its numbers differ from the CPU's.
    """
    if like.is_cuda:
        generator = torch.Generator(like.device).manual_seed(seed)
    return torch.randn(like.shape, generator=generator, device=generator.device)


def derive_seed(*numbers: int) -> int:
    """Derive one seed of 63 bits from several numbers."""
    return int(np.random.SeedSequence(numbers).generate_state(1, np.uint64)[0] >> np.uint64(1))
