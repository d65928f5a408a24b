"""`lvcd encode`: shards of pixels to shards of what the networks see of them, at the size of one stage.

`data/README.md` describes what comes out. The same shards, model, device and batch give the same bytes, whether a run
was interrupted or not.

letters: n frames encoded at once, c latent channels, h w latent size, d width of a token, H W pixels
"""

from __future__ import annotations

import io
import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from tqdm import tqdm

from lvcd.checkpoints.convert import verify
from lvcd.checkpoints.fingerprint import fingerprint
from lvcd.data.clip import fit
from lvcd.data.resolutions import Stage
from lvcd.data.stream.source import ENCODED, Manifest, Patience, Source
from lvcd.errors import InputError, on_out_of_memory
from lvcd.io.disk import Lock, atomic, named, reading, sha256, writing
from lvcd.nn.condition import clip_token, encode_mode
from lvcd.nn.unet import ColorUNet
from lvcd.pipeline import LineartVideoPipeline, quiet
from lvcd.shards.format import ShardWriter, read_shard

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
    def load(cls, folder: Path, stage: Stage, device: str, batch: int) -> Encoders:
        """InputError: no model, or its networks cannot take frames of this size."""
        quiet()
        verify(folder)
        with torch.device("meta"):  # its sizes are needed, its weights are not
            unet = ColorUNet.from_config(ColorUNet.load_config(folder / "unet"))
        model = LineartVideoPipeline.from_pretrained(
            folder,
            unet=unet,
            controlnet=None,
            condition_encoder=None,
            torch_dtype=torch.float32,
            local_files_only=True,
        )
        multiple = model.size_multiple
        if stage.height % multiple or stage.width % multiple:
            height, width = (max(multiple, round(n / multiple) * multiple) for n in (stage.height, stage.width))
            raise InputError(
                f"frames of {stage.width}x{stage.height} do not fit {named(folder)}, which takes multiples of "
                f"{multiple} pixels: give --stage {width}x{height}"
            )
        return cls(model.vae.to(device).eval(), model.image_encoder.to(device).eval(), stage, device, batch)

    def describe(self) -> dict[str, Any]:
        """What a manifest says of them."""
        return {
            "vae": fingerprint(self.vae),
            "scale": float(self.vae.config.scaling_factor),
            "image_encoder": fingerprint(self.image_encoder),
        }

    @torch.no_grad()
    def __call__(self, frames: Array) -> tuple[Array, Array]:
        """uint8 (n H W 3) => the posterior's mode (n c h w), unscaled, and tokens (n d); float16.

        InputError: the device has too little memory.
        """
        deterministic = torch.backends.cudnn.flags(benchmark=False, deterministic=True, allow_tf32=False)
        with on_out_of_memory(self._too_little_memory), deterministic:
            x = torch.from_numpy(frames).to(self.device).movedim(-1, 1).float() / 127.5 - 1
            latents, tokens = encode_mode(self.vae, x), clip_token(self.image_encoder, x)[:, 0]
            return _half(latents), _half(tokens)

    def _too_little_memory(self) -> str:
        advice = "lower --batch" if self.batch > 1 else "choose a smaller --stage or another --device"
        size = f"{self.batch} frames of {self.stage.width}x{self.stage.height}"
        return f"{self.device} has too little memory for {size}: {advice}"


def _half(values: Tensor) -> Array:
    return values.half().cpu().numpy()


@dataclass
class Done:
    """What a run of `encode` did."""

    folder: Path
    clips: int = 0
    """Encoded by this run; and their frames."""
    frames: int = 0
    lost: int = 0
    """Clips that the source has no more."""
    kept: int = 0
    """Shards that were there already."""
    megabytes: float = 0.0
    """Of all shards."""


def encode(shards: Path, encoders: Encoders) -> Done:
    """Writes `shards`/STAGE. A clip that the source has lost is left out and named on stderr.

    InputError: no shards, changed ones, or the folder holds something else, is in use or cannot be written.
    """
    source = Source(str(shards))
    if not source.is_folder:
        raise InputError(f"{shards} is no folder: copy the shards into one")
    manifest = source.manifest(Patience())
    if any(not isinstance(shard.get("sha256"), str) for shard in manifest.record["shards"]):
        raise InputError(f"manifest.json in {named(shards)} lacks the SHA-256 of shards: prepare it again")
    with EncodedFolder(shards / encoders.stage.name, manifest, encoders) as folder:
        todo = folder.todo()
        done = Done(folder.path, kept=len(manifest.record["shards"]) - len(todo))
        with tqdm(total=sum(s["clips"] for s in todo), desc="encoding", unit="clip", file=sys.stderr) as bar:
            for shard in todo:
                _encode_shard(shards, shard, folder, encoders, done, bar)
        if not folder.finished:
            if sha256(shards / "manifest.json") != manifest.sha256:
                raise InputError(f"{named(shards)} was prepared anew meanwhile: delete {named(folder.path)} and "
                                 "encode again")  # fmt: skip
            folder.finish()
        done.megabytes = sum(s["bytes"] for s in folder.record["shards"]) / 1e6
    return done


def _encode_shard(
    shards: Path, shard: dict[str, Any], folder: EncodedFolder, encoders: Encoders, done: Done, bar: tqdm
) -> None:
    file, clips, lost = folder.path / shard["name"], 0, list[str]()

    def tell(line: str) -> None:
        lost.append(line)
        bar.write(line, file=sys.stderr)

    sound = sha256(shards / shard["name"]) == shard["sha256"]
    with atomic(file, "run again: what is finished stays") as temp:
        with temp.open("wb") as stream, ShardWriter(stream) as writer:
            for clip in read_shard(shards / shard["name"], tell):
                writer.add_files(clip["__key__"], _encoded(clip, encoders, bar))
                clips += 1
                done.frames += len(clip["frames"])
                bar.update()
        if not (sound or lost):
            raise InputError(f"{named(shards / shard['name'])} is not what its manifest says, though nothing in it is "
                             "damaged: prepare or copy it again")  # fmt: skip
        entry = {"name": file.name, "sha256": sha256(temp), "bytes": temp.stat().st_size, "clips": clips}
    folder.add(entry)
    done.clips += clips
    done.lost += shard["clips"] - clips
    bar.update(shard["clips"] - clips)


def _encoded(clip: dict[str, Any], encoders: Encoders, bar: tqdm) -> dict[str, bytes]:
    """The files of a clip. InputError: too little memory, or what comes out of the networks is not finite."""
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
        "json": json.dumps(clip["json"], indent=1, sort_keys=True).encode(),
        "latents.npy": _npy(np.concatenate(latents)),
        "tokens.npy": _npy(np.concatenate(tokens)),
        "sketches.npy": _npy(np.stack([fit(sketch, height, width) for sketch in clip["sketches"]])),
    }


def _npy(array: Array) -> bytes:
    data = io.BytesIO()
    np.save(data, np.ascontiguousarray(array), allow_pickle=False)
    return data.getvalue()


# ---------------------------------------------------------------------------------------------------------------------
# The folder


class EncodedFolder:
    """Where the encoded shards of a stage lie; use it in a `with`. One run at a time.

    `manifest.json` appears when all is done. Until then the same record is `.encode.json`, replaced after each shard.
    InputError: in use by another run, not writable, or it holds something else.
    """

    def __init__(self, path: Path, source: Manifest, encoders: Encoders):
        self.path, self._source = path, source.record["shards"]
        self.finished = False
        """Whether everything was there already."""
        self._manifest, self._progress = path / "manifest.json", path / ".encode.json"
        self.record: dict[str, Any] = {
            "format": ENCODED,
            "source_sha256": source.sha256,
            "stage": encoders.stage._asdict(),
            "encoders": encoders.describe(),
            "shards": [],
        }

    def __enter__(self) -> EncodedFolder:
        busy = f"another run is encoding {named(self.path)} right now: wait for it, or stop it"
        with writing(self.path):
            self.path.mkdir(exist_ok=True)
            self._lock = Lock(self.path / ".lock", busy)
        try:
            self._start()
        except BaseException:
            self._lock.release()
            raise
        return self

    def __exit__(self, *exception: object) -> None:
        self._lock.release()

    def todo(self) -> list[dict[str, Any]]:
        """Shards of the source, without those that are finished. One that has lost clips is never finished: what was
        damaged may be whole by now."""
        clips = {shard["name"]: shard["clips"] for shard in self.record["shards"]}
        return [shard for shard in self._source if clips.get(shard["name"]) != shard["clips"]]

    def add(self, entry: dict[str, Any]) -> None:
        """One more shard is finished."""
        entries = {shard["name"]: shard for shard in [*self.record["shards"], entry]}
        self.record["shards"] = [entries[s["name"]] for s in self._source if s["name"] in entries]
        self._write(self._progress)

    def finish(self) -> None:
        self._write(self._manifest)
        self._progress.unlink(missing_ok=True)

    def _start(self) -> None:
        for name in (self._manifest.name, self._progress.name, *(shard["name"] for shard in self._source)):
            for leftover in self.path.glob(f".{name}.*.tmp"):  # of a write that was killed
                leftover.unlink()
        file = next((file for file in (self._manifest, self._progress) if file.exists()), None)
        if file is not None:
            self._go_on(file)
        elif taken := next((s["name"] for s in self._source if (self.path / s["name"]).exists()), None):
            raise InputError(f"{named(self.path)} has {taken} but no manifest: move it away")
        self.finished = file == self._manifest and not self.todo()
        if not self.finished:  # the record is there before the first shard; the manifest comes when all is done
            self._write(self._progress)
        (self._progress if self.finished else self._manifest).unlink(missing_ok=True)

    def _go_on(self, file: Path) -> None:
        """Takes over what is finished and sound."""
        with reading("record", file, f"delete {named(self.path)} and encode again"):
            old = json.loads(file.read_bytes())
            if old["format"] != ENCODED:
                raise ValueError(f"it is no {ENCODED!r}")
            changed = [what for name, what in _JOB.items() if old[name] != self.record[name]]
            found = {shard["name"]: {k: shard[k] for k in _FIELDS} for shard in old["shards"]}
        if changed and found:
            raise InputError(
                f"{named(self.path)} was encoded from {' and '.join(changed)}: delete it, then encode again"
            )
        self.record["shards"] = [found[s["name"]] for s in self._source if self._is_sound(found.get(s["name"]))]

    def _is_sound(self, entry: dict[str, Any] | None) -> bool:
        if entry is None:
            return False
        file = self.path / entry["name"]
        return file.is_file() and sha256(file) == entry["sha256"]

    def _write(self, file: Path) -> None:
        with atomic(file, "run again") as temp:
            temp.write_text(json.dumps(self.record, indent=1) + "\n")


_JOB = {"source_sha256": "other shards", "stage": "frames of another size", "encoders": "another model"}
_FIELDS = ("name", "sha256", "bytes", "clips")
