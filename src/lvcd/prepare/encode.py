"""`lvcd encode`: shards of pixels to shards of latents and image embeddings, at the size of one stage.

`docs/data-format.md` describes what comes out. The same shards, model, device and batch give the same bytes, whether a
run was interrupted or not.

letters: n frames encoded at once, c latent channels, h w latent size, d width of a token, H W pixels
"""

from __future__ import annotations

import io
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from tqdm import tqdm

from lvcd.checkpoints.fingerprint import fingerprint
from lvcd.checkpoints.hub import find_model
from lvcd.checkpoints.loading import component_names, load_svd_parts
from lvcd.data.clip import fit
from lvcd.data.resolutions import Stage
from lvcd.data.stream.source import RetryPolicy, ShardSource
from lvcd.errors import InputError, on_out_of_memory
from lvcd.io.disk import printable, sha256
from lvcd.nn.condition import clip_token, encode_mode
from lvcd.pipeline import silence_libraries
from lvcd.pixel_values import signed_from_uint8
from lvcd.shards.folder import ShardFolder
from lvcd.shards.format import ENCODED, metadata_json
from lvcd.shards.members import read_shard

Array = np.ndarray[Any, Any]


@dataclass
class Encoders:
    """A model's VAE and image encoder, in float32, for frames of one size."""

    vae: Any
    """AutoencoderKLTemporalDecoder or ColorVAE. The model's autoencoder, never the separate condition_encoder: what
    is stored is what the video path denoises."""
    image_encoder: nn.Module
    stage: Stage
    device: str
    batch: int
    """Frames encoded at once."""

    @classmethod
    def load(cls, folder: str | Path, stage: Stage, device: str, batch: int) -> Encoders:
        """Load the encoders of a model, or of Stable Video Diffusion in any of its forms.

        batch    frames encoded at once
        InputError: no model, or its networks cannot take frames of this size.
        """
        silence_libraries()
        folder = find_model(folder)
        names = component_names(folder)
        if missing := [name for name in ("vae", "image_encoder") if name not in names]:
            raise InputError(f"{printable(folder)} has no {missing[0]}: give a model folder, or SVD's")
        loaded = load_svd_parts(folder, ("vae", "image_encoder"))
        vae, image_encoder = (loaded.network(name, torch.float32) for name in ("vae", "image_encoder"))
        multiple = 2 ** (len(vae.config.block_out_channels) - 1)
        if "unet" in names:  # its sizes are needed, its weights are not
            levels = load_svd_parts(folder, ("unet",)).parts["unet"][0].model.config.block_out_channels
            multiple *= 2 ** (len(levels) - 1)
        if stage.height % multiple or stage.width % multiple:
            height, width = (max(multiple, round(n / multiple) * multiple) for n in (stage.height, stage.width))
            raise InputError(
                f"frames of {stage.width}x{stage.height} do not fit {printable(folder)}, which takes multiples of "
                f"{multiple} pixels: give --stage {width}x{height}"
            )
        return cls(vae.to(device), image_encoder.to(device), stage, device, batch)

    def describe(self) -> dict[str, Any]:
        """Return their identity, as a manifest has it."""
        return {
            "vae": fingerprint(self.vae),
            "scale": float(self.vae.config.scaling_factor),
            "image_encoder": fingerprint(self.image_encoder),
        }

    @torch.no_grad()
    def __call__(self, frames: Array) -> tuple[Array, Array]:
        """Encode frames, uint8 (n H W 3) => the posterior's mode (n c h w), unscaled, and tokens (n d); float16.

        InputError: the device has too little memory.
        """
        deterministic = torch.backends.cudnn.flags(benchmark=False, deterministic=True, allow_tf32=False)
        with on_out_of_memory(self._too_little_memory), deterministic:
            x = signed_from_uint8(torch.from_numpy(frames).to(self.device).movedim(-1, 1))
            latents, tokens = encode_mode(self.vae, x), clip_token(self.image_encoder, x)[:, 0]
            return _half(latents), _half(tokens)

    def _too_little_memory(self) -> str:
        advice = "lower --batch" if self.batch > 1 else "choose a smaller --stage or another --device"
        size = f"{self.batch} frames of {self.stage.width}x{self.stage.height}"
        return f"{self.device} has too little memory for {size}: {advice}"


def _half(values: Tensor) -> Array:
    return values.half().cpu().numpy()


@dataclass
class EncodeReport:
    """A report says what a run of `encode` did."""

    folder: Path
    clips: int = 0
    """The number of clips that this run encoded."""
    frames: int = 0
    """The number of their frames."""
    unreadable: int = 0
    """The number of clips that cannot be read in the source."""
    reused: int = 0
    """The number of shards that were there already."""
    megabytes: float = 0.0
    """The size of all shards."""


def encode(shards: Path, encoders: Encoders) -> EncodeReport:
    """Encode a folder of shards into its subfolder STAGE. A clip that cannot be read is left out and named on stderr.

    InputError: no shards, changed ones, or the folder holds something else, is in use or cannot be written.
    """
    source = ShardSource(str(shards))
    if not source.is_folder:
        raise InputError(f"{shards} is no folder: copy the shards into one")
    manifest = source.manifest(RetryPolicy())
    if any(not isinstance(shard.get("sha256"), str) for shard in manifest.record["shards"]):
        raise InputError(f"manifest.json in {printable(shards)} lacks the SHA-256 of shards: prepare it again")
    out = shards / encoders.stage.name
    job = {"source_sha256": manifest.sha256, "stage": encoders.stage._asdict(), "encoders": encoders.describe()}
    with ShardFolder(out, ENCODED, job, planned={shard.name: shard.clips for shard in manifest.shards}) as folder:
        todo = [shard for shard in manifest.record["shards"] if shard["name"] in folder.missing]
        done = EncodeReport(out, reused=len(manifest.shards) - len(todo))
        with tqdm(total=sum(s["clips"] for s in todo), desc="encoding", unit="clip", file=sys.stderr) as bar:
            for shard in todo:
                _encode_shard(shards, shard, folder, encoders, done, bar)
        if not folder.finished:
            if sha256(shards / "manifest.json") != manifest.sha256:
                raise InputError(
                    f"{printable(shards)} was prepared anew meanwhile: delete {printable(out)} and encode again"
                )
            folder.finish()
        done.megabytes = sum(s["bytes"] for s in folder.record["shards"]) / 1e6
    return done


def _encode_shard(
    shards: Path, shard: dict[str, Any], folder: ShardFolder, encoders: Encoders, done: EncodeReport, bar: tqdm
) -> None:
    clips, damage = 0, list[str]()

    def report(line: str) -> None:
        damage.append(line)
        bar.write(line, file=sys.stderr)

    sound = sha256(shards / shard["name"]) == shard["sha256"]
    with folder.write_shard(shard["name"]) as writer:
        for clip in read_shard(shards / shard["name"], report):
            writer.add_files(clip["__key__"], _encoded(clip, encoders, bar))
            clips += 1
            done.frames += len(clip["frames"])
            bar.update()
        if not (sound or damage):
            raise InputError(
                f"{printable(shards / shard['name'])} is not what its manifest says, though nothing in it is "
                "damaged: prepare or copy it again"
            )
    done.clips += clips
    done.unreadable += shard["clips"] - clips
    bar.update(shard["clips"] - clips)


def _encoded(clip: dict[str, Any], encoders: Encoders, bar: tqdm) -> dict[str, bytes]:
    """Return the files of a clip. InputError: too little memory, or what comes out of the networks is not finite."""
    _, height, width = encoders.stage
    frames = clip["frames"]
    latents: list[Array] = []
    tokens: list[Array] = []
    for first in range(0, len(frames), encoders.batch):
        pixels = np.stack([fit(frame, height, width) for frame in frames[first : first + encoders.batch]])
        for values, part in zip((latents, tokens), encoders(pixels)):
            if not np.isfinite(part).all():
                raise InputError(f"the model gives no finite numbers for clip {clip['__key__']}: use another --model")
            values.append(part)
        bar.set_postfix_str(f"frame {first + len(pixels)} of {len(frames)}")
    return {
        "json": metadata_json(clip["json"]),
        "latents.npy": _npy(np.concatenate(latents)),
        "tokens.npy": _npy(np.concatenate(tokens)),
        "sketches.npy": _npy(np.stack([fit(sketch, height, width) for sketch in clip["sketches"]])),
    }


def _npy(array: Array) -> bytes:
    data = io.BytesIO()
    np.save(data, np.ascontiguousarray(array), allow_pickle=False)
    return data.getvalue()
