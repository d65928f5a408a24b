"""The diffusers pipeline: it takes a reference and a clip of line art, and paints the clip."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import PIL.Image
import torch
from diffusers import AutoencoderKLTemporalDecoder, DiffusionPipeline
from diffusers.utils import BaseOutput, logging
from torch import Tensor
from transformers import CLIPVisionModelWithProjection

from lvcd.diffusion.precondition import precondition
from lvcd.errors import InputError
from lvcd.flats import Gap
from lvcd.frames import FrameLayout
from lvcd.lineart.reading import DrawingSettings
from lvcd.lineart.xdog import xdog
from lvcd.nn.condition import Condition, LatentEncoder, added_time_ids, clip_token, encode_mode
from lvcd.nn.controlnet import SketchControlNet
from lvcd.nn.network import conditioned_network
from lvcd.nn.unet import ColorUNet
from lvcd.nn.vae import ColorVAE
from lvcd.palettes.palette_files import Palette
from lvcd.sampling.config import SamplingConfig
from lvcd.sampling.decode import ChunkDecoder
from lvcd.sampling.segments import plan_segments
from lvcd.sampling.sequential import (
    REFERENCE,
    SlotDenoise,
    nearest_reference,
    nearest_references,
    sample_segments,
)

from .call_noise import Generators, initial_noise, noise_levels_of
from .image_flats import fill_images, palette_colors
from .image_forms import Image
from .inputs import Padding, batch_of_clips, color, keys_of_clips, sheet, sheets_of_clips, single_drawings, sketch
from .lora_loader import LoraLoader
from .steady import SteadyFrames
from .streaming import FramePlacement, PaintingInterruptedError, StepReporter, chunk_of, pack_state, unpack_state

logger = logging.get_logger(__name__)

Keys = Mapping[int, Image]
"""Number of a sketch, from 0 -> its colored version, which is its result."""


@dataclass
class LineartVideoOutput(BaseOutput):
    """The pipeline returns the painted clips in this object."""

    frames: Any
    """One clip after the other, each N frames: lists of PIL images, (b N H W 3) numpy or (b N 3 H W) tensor in [0, 1],
    or latents (b N c h w) times the scale factor."""


class PaintedChunk(NamedTuple):
    """Consecutive frames of the painted clips, as `LineartVideoPipeline.stream` yields them."""

    frames: Tensor
    """(b n 3 H W) in [-1, 1], or latents (b n c h w)."""
    state: dict[str, Tensor] | None
    """Give it to `stream` to go on after this chunk; None with the last one."""


class LineartVideoPipeline(DiffusionPipeline, LoraLoader):
    """Reference-based colorization of line-art video (LVCD, arXiv 2409.12960).

    `from_pretrained`, `save_pretrained` and `to` are those of every diffusers pipeline, and so are the LoRA methods.
    """

    _optional_components = ["condition_encoder"]
    _callback_tensor_inputs = ["latents"]
    model_cpu_offload_seq = "image_encoder->condition_encoder->unet->vae"
    _exclude_from_cpu_offload = ["controlnet"]  # it runs with the U-Net in every step

    def __init__(
        self,
        unet: ColorUNet,
        controlnet: SketchControlNet,
        vae: AutoencoderKLTemporalDecoder | ColorVAE,
        image_encoder: CLIPVisionModelWithProjection,
        condition_encoder: LatentEncoder | None = None,  # encodes the reference latent; None = the VAE does
        window: int = 14,  # frames of the video path that the networks were trained with
        schedule: str = "karras",
        solver: str = "euler",
        steps: int = 25,  # when a call does not say
        sigma_min: float = 0.002,
        sigma_max: float = 700.0,
        reference_attention: bool = True,  # False: the networks were trained without
        isolation: bool = True,  # False: their temporal layers were trained to see the reference
    ):
        super().__init__()
        self._interrupt = False
        self.network_context: Callable[[], AbstractContextManager] = nullcontext
        """Every call of U-Net and ControlNet runs inside such a context; training sets its mixed precision here."""
        self.register_modules(
            unet=unet,
            controlnet=controlnet,
            vae=vae,
            image_encoder=image_encoder,
            condition_encoder=condition_encoder,
        )
        self.register_to_config(
            window=window,
            schedule=schedule,
            solver=solver,
            steps=steps,
            sigma_min=sigma_min,
            sigma_max=sigma_max,
            reference_attention=reference_attention,
            isolation=isolation,
        )

    @property
    def size_multiple(self) -> int:
        """Frames are padded to a multiple of this many pixels: the VAE's factor times the U-Net's."""
        return self._vae_factor * 2 ** (len(self.unet.config.block_out_channels) - 1)

    @property
    def interrupt(self) -> bool:
        """Whether painting ends before its next step. A callback sets `pipe._interrupt = True`, as in diffusers.

        The frames of finished segments are returned, and there may be none.
        """
        return self._interrupt

    @property
    def _vae_factor(self) -> int:
        return 2 ** (len(self.vae.config.block_out_channels) - 1)

    def sampling_config(
        self, num_inference_steps: int | None = None, overlap: int = 4, **changes: Any
    ) -> SamplingConfig:
        """Return how this model samples, complete, with the changes given (fields of SamplingConfig)."""
        return SamplingConfig(steps=num_inference_steps, overlap=overlap, **changes).complete(self.config)

    @torch.no_grad()
    def __call__(
        self,
        reference: Image | Sequence[Image] | None = None,  # a colored frame; one for each clip
        sketches: Any = (),  # line art of one clip: see SketchClip; or a list of clips
        num_inference_steps: int | None = None,  # None = the model's own
        overlap: int = 4,  # frames that segments share, 0 .. window - 1
        generator: Generators = None,  # one for each clip makes a clip's result independent of its batch
        output_type: str = "pil",  # pil, np, pt or latent
        reference_sketch: Image | Sequence[Image] | None = None,  # the reference's line art, one for each clip
        reference_frame: int | None = None,  # the reference is the colored version of this sketch, and its result
        keys: Keys | Sequence[Keys] | None = None,  # more colored frames; one mapping for each clip
        sheets: Sequence[Image] | Sequence[Sequence[Image]] = (),  # colored pictures of any size and of no sketch
        lines: str = "auto",  # dark, light, alpha or extract: how images show lines
        height: int | None = None,  # paint at this size, px; None = the sketches'
        width: int | None = None,
        guidance_scale: float | tuple[float, float] = 1.0,  # 1 = none; a pair runs from the first slot to the last
        sampling: SamplingConfig | None = None,  # all of sampling, in place of steps, overlap and guidance_scale
        sigmas: Sequence[float] | None = None,  # falling noise levels of the steps, in place of the schedule's
        timesteps: Sequence[float] | None = None,  # the same as what the networks are told: ln(sigma) / 4
        num_videos_per_prompt: int = 1,  # paint each clip so often, with other noise
        latents: Tensor | None = None,  # unit noise (b slots c h w) to begin with, in place of the generator's
        steady: bool = False,  # where lines stand still keep the reference's pixels, and calibrate colors there
        flat: bool = False,  # fill each region with one color of the references, at the sketches' own size
        gap: Gap = "auto",  # with flat: gaps in lines that fills do not run through, px; auto = they are found
        palette: Palette | str | os.PathLike | None = None,  # with flat: only its colors come out
        decode_chunk_size: int | None = None,  # frames decoded at once; None = 10, as the original
        callback_on_step_end: Callable[[Any, int, Tensor, dict], dict] | None = None,
        callback_on_step_end_tensor_inputs: Sequence[str] = ("latents",),
        return_dict: bool = True,
    ) -> LineartVideoOutput | tuple:
        """Paint one clip, or a batch of clips of equal length and size.

        References and sketches may be PIL images, arrays, tensors or paths: `Image` says what each means.
        Colors come from `reference`, the keys and the sheets: at least one of them. Each frame reads all that its
        segment holds; it is conditioned on its nearest key. A key comes out as it went in. With neither
        reference_sketch nor reference_frame, the reference's lines are extracted from it, as a sheet's are.
        `callback_on_step_end(pipeline, step, sigma, {"latents": estimate})` sees each estimate of the clean latents
        (b slots c h w) and may return another. Raises InputError for input that cannot be used.
        """
        if output_type not in ("pil", "np", "pt", "latent"):
            raise InputError(f"output_type {output_type!r} is none of pil, np, pt and latent")
        if (height is None) != (width is None):
            raise InputError("give both height and width, or neither")
        if unknown := set(callback_on_step_end_tensor_inputs) - set(self._callback_tensor_inputs):
            raise InputError(f"callback_on_step_end_tensor_inputs has {sorted(unknown)}: only latents can be had")
        if type(num_videos_per_prompt) is not int or num_videos_per_prompt < 1:
            raise InputError(f"num_videos_per_prompt={num_videos_per_prompt}: give a whole number from 1")
        if (palette is not None or gap != "auto") and not flat:
            raise InputError("palette and gap are of flats: give flat=True with them")
        if flat and output_type == "latent":
            raise InputError("flats are pictures, and output_type latent has none: choose pil, np or pt")
        colors = palette_colors(palette)
        levels = noise_levels_of(sigmas, timesteps)
        if levels is not None and (sampling is not None or num_inference_steps not in (None, len(levels) - 1)):
            raise InputError("sigmas or timesteps stand for num_inference_steps, and sampling has its own: give one")

        # 1. One clip is a batch of one, images are in one form.
        nested = len(sheets) > 0 and isinstance(sheets[0], Sequence) and not isinstance(sheets[0], str)
        references, clips = batch_of_clips(reference, sketches, nested or isinstance(keys, Sequence))
        key_frames, sheet_lists = keys_of_clips(keys, len(clips)), sheets_of_clips(sheets, len(clips))
        own = [None] * len(clips) if reference_sketch is None else single_drawings(reference_sketch, len(clips))
        again = [n for n in range(len(clips)) for _ in range(num_videos_per_prompt)]

        # 2. Images to tensors, at one size.
        settings = DrawingSettings(lines)
        readers = [clip.reader(settings) for clip in clips]
        for note in sorted({note for reader in readers if reader for note in reader.notes}):
            logger.warning(note)
        size = (height, width) if height is not None and width is not None else clips[0].size
        own_lines = [sketch(one[0], one.reader(settings), size) for one in own if one is not None]

        def sketch_of(frame: int) -> Tensor:
            read = [sketch(clip[frame], reader, size) for clip, reader in zip(clips, readers)]
            return torch.stack([read[n] for n in again])

        # 3. Paint, decode, and put the pieces together.
        chunks = self.stream(
            None if references is None else torch.stack([color(references[n], size) for n in again]),
            sketch_of,
            len(clips[0]),
            sampling
            or self.sampling_config(
                num_inference_steps, overlap, guidance=guidance_scale, sigmas=levels, steady=steady
            ),
            generator=generator,
            latents=latents,
            decode_chunk_size=decode_chunk_size,
            reference_sketch=torch.stack([own_lines[n] for n in again]) if own_lines else None,
            reference_frame=reference_frame,
            keys={
                frame: torch.stack([color(key_frames[n][frame], size, f"key {frame}") for n in again])
                for frame in key_frames[0]
            },
            sheets=[torch.stack([sheet(sheet_lists[n][i], size) for n in again]) for i in range(len(sheet_lists[0]))],
            decode=output_type != "latent",
            callback_on_step_end=callback_on_step_end,
        )
        pieces = [chunk.frames.float().cpu() for chunk in chunks] or [torch.zeros(len(again), 0, 3, *size)]
        frames: Any = torch.cat(pieces, dim=1)

        # 4. In the form asked for.
        if output_type != "latent":
            frames = frames / 2 + 0.5
        if flat and frames.shape[1]:
            frames = torch.stack(
                [
                    fill_images(
                        clips[n], readers[n], painted, None if references is None else references[n], reference_frame,
                        own[n], key_frames[n], sheet_lists[n], settings, gap, colors,
                    )
                    for n, painted in zip(again, frames)
                ]
            )  # fmt: skip
        if output_type in ("pil", "np"):
            array = frames.permute(0, 1, 3, 4, 2).numpy()
            bytes_ = (array * 255).round().astype(np.uint8)
            frames = array if output_type == "np" else [[PIL.Image.fromarray(f) for f in clip] for clip in bytes_]
        return LineartVideoOutput(frames=frames) if return_dict else (frames,)

    @torch.no_grad()
    def stream(
        self,
        reference: Tensor | None,  # (b 3 H W) in [-1, 1]
        sketch: Callable[[int], Tensor],  # frame number -> (b 1 H W) in [0, 1], line = 1; asked for when needed
        num_frames: int,
        sampling: SamplingConfig,
        generator: Generators = None,
        latents: Tensor | None = None,
        decode_chunk_size: int | None = None,
        reference_sketch: Tensor | None = None,  # (b 1 H W)
        reference_frame: int | None = None,
        keys: Mapping[int, Tensor] | None = None,  # number of a sketch -> it in color (b 3 H W) in [-1, 1]
        sheets: Sequence[Tensor] = (),  # references of no sketch (b 3 H W) in [-1, 1]
        decode: bool = True,  # False = yield latents
        callback_on_step_end: Callable | None = None,
        on_step: Callable[[int, int], object] | None = None,  # gets the denoising steps done, and all of them
        state: dict[str, Tensor] | None = None,  # of the last chunk of an earlier, interrupted stream
        frames: range | None = None,  # paint these of the sketches alone; None = all
    ) -> Iterator[PaintedChunk]:
        """Paint clips of any length, yielding frames as they are finished; memory does not grow with the length.

        Every frame 0 .. num_frames - 1 comes exactly once, in order. The arguments are those of `__call__`, as
        tensors. Of a part of a clip (`frames`) each frame comes; keys outside it are references all the same. A stream
        that goes on from a state yields what one that was never interrupted would have.
        """
        sampling = sampling.complete(self.config)
        levels = sampling.noise_levels

        # 1. Check.
        if num_frames < 1:
            raise InputError("there are no sketches to colorize: give at least one")
        if reference_frame is not None and not 0 <= reference_frame < num_frames:
            raise InputError(f"reference frame {reference_frame} is none of the sketches 0 to {num_frames - 1}")
        if reference_frame is not None and reference_sketch is not None:
            raise InputError("the reference has a sketch of its own or is a frame of the clip, not both")
        own = dict(keys or {})
        if outside := [frame for frame in own if not 0 <= frame < num_frames]:
            raise InputError(f"key {outside[0]} is none of the sketches 0 to {num_frames - 1}")
        if reference_frame is not None and reference is not None:
            if reference_frame in own:
                raise InputError(f"sketch {reference_frame} has two colored versions: give one")
            own[reference_frame] = reference
        own = dict(sorted(own.items()))
        unplaced = [reference] if reference is not None and reference_frame is None else []
        free = [*unplaced, *sheets]
        pictures = [*own.values(), *free]
        if not pictures:
            raise InputError("there is nothing to take colors from: give a reference, a key or a sheet")

        self._interrupt = False

        # 2. Encode the references: tokens, latents, and their sketches.
        padding = Padding(pictures[0].shape[-2], pictures[0].shape[-1], self.size_multiple)
        encoded = [self._encode_reference(picture, padding) for picture in pictures]
        tokens, modes = (torch.stack(each, dim=1) for each in zip(*encoded))  # (b n 1 d), (b n c h w)
        scale = self.vae.config.scaling_factor
        drawn = [*(sketch(frame) for frame in own), *(xdog(picture.float()) for picture in free)]
        if reference_sketch is not None:
            drawn[len(own)] = reference_sketch

        # 3. Plan segments over all frames but those that are given, if they are the first or the last.
        begin, end = (0, num_frames) if frames is None else (frames.start, frames.stop)
        first = begin + 1 if begin in own else begin
        last = end - 1 if end - 1 in own and end - begin > 1 else end
        segments = plan_segments(last - first, sampling.slots - 1 - sampling.overlap, sampling.overlap)
        places = [*(frame - first for frame in own), *[None] * len(free)]
        refs = len(nearest_references(places, (0,), sampling.max_keys))

        def prepare(frames: Sequence[int], concat: Tensor) -> SlotDenoise:
            read = {f: drawn[REFERENCE - f] if f < 0 else sketch(first + f) for f in set(frames)}
            lines = torch.stack([read[f].to(modes) for f in frames], dim=1)
            # Attention to one token never trains queries and keys: those of several are read alike.
            token = tokens[:, [REFERENCE - f for f in frames[:refs]]].mean(dim=1)
            return self._denoiser(token, concat, padding.pad(lines, "constant"), sampling.guidance)

        # 4. Draw noise from each clip's own generator, or take what the last segment before an interruption left.
        decoder = self._decode if decode else lambda z: z
        leading = modes[:, nearest_reference(places, 0, range(len(places)))]
        chunks = ChunkDecoder(decoder, leading.float() * scale, **chunk_of(decode_chunk_size))
        if state is None:
            shape = (len(leading), sampling.slots - 1 + refs, *leading.shape[1:])
            noise = initial_noise(generator, latents, shape).to(leading.device)
            before, done = None, 0
        else:
            before, done = unpack_state(state, chunks)
            noise = before.noise

        # 5. Sample segment after segment, and decode what is complete.
        given = own if decode else {frame: modes[:, i].float() * scale for i, frame in enumerate(own)}
        empty = (pictures[0] if decode else leading.float())[:, None][:, :0]
        finish = None
        if sampling.steady and decode:
            places_shown = [*own, *[None] * len(unplaced)]  # a sheet shows no drawing of the clip
            finish = SteadyFrames(places_shown, pictures[: len(places_shown)], drawn[: len(places_shown)], sketch)
        place = FramePlacement(padding.crop, given, first, empty, finish, begin)
        total = len(segments) * (len(levels) - 1)
        with self.progress_bar(total=total) as bar:
            steps = StepReporter(self, levels, total, bar.update, on_step, callback_on_step_end)
            steps.advance(done * (len(levels) - 1))
            try:
                for _, finished, after in sample_segments(
                    prepare, segments[done:], noise, modes, scale, sampling, before, on_denoised=steps,
                    places=places,
                ):  # fmt: skip
                    steps.start_segment()
                    done += 1
                    yield PaintedChunk(place(chunks.push(finished), chunks.decoded), pack_state(after, chunks, done))
            except PaintingInterruptedError:
                last = end  # what is finished is returned, without a last frame that is the reference
            rest = place(chunks.flush(), chunks.decoded)
        if last < end:
            rest = torch.cat([rest, given[last][:, None].to(rest)], dim=1)
        yield PaintedChunk(rest, None)

    def _encode_reference(self, reference: Tensor, padding: Padding) -> tuple[Tensor, Tensor]:
        """Encode references (b 3 H W) in [-1, 1] => CLIP token (b 1 d) and latent (b c h w), unscaled."""
        device, dtype = self._execution_device, self.unet.dtype
        encoder = self.condition_encoder or self.vae
        kept = encoder.dtype
        upcast = kept == torch.float16 and self.vae.config.force_upcast  # SVD's encoder overflows; its decoder does not
        if upcast:
            encoder.to(torch.float32)
        latent = encode_mode(encoder, padding.pad(reference.to(device, encoder.dtype), "replicate"))
        if upcast:
            encoder.to(kept)
        token = clip_token(self.image_encoder, reference.to(device, self.image_encoder.dtype))
        return token.to(dtype), latent.to(dtype)

    def _denoiser(self, token: Tensor, concat: Tensor, sketches: Tensor, guidance) -> SlotDenoise:
        """Return a segment's denoiser under its conditions (b t ...), with guidance if that is not 1."""
        condition = Condition(token, concat.to(token.dtype), added_time_ids(token.shape[0], token.device))
        low, high = guidance if isinstance(guidance, Sequence) else (guidance, guidance)
        conditions = [condition] if low == high == 1 else [condition, condition.unconditional()]
        with self.network_context():
            nets = [conditioned_network(self.unet, self.controlnet, c, sketches, embed_once=True) for c in conditions]
        strength = torch.linspace(low, high, concat.shape[1], device=token.device).view(1, -1, 1, 1, 1)

        def denoise(x: Tensor, sigma: Tensor, layout: FrameLayout) -> Tensor:
            with self.network_context():
                conditional, *unconditional = (precondition(partial(net, layout=layout))(x, sigma) for net in nets)
                if not unconditional:
                    return conditional
                return unconditional[0] + strength * (conditional - unconditional[0])

        return denoise

    def _decode(self, latents: Tensor) -> Tensor:
        """Decode latents (b t c h w), times the scale factor => frames (b t 3 H W), clamped to [-1, 1]."""
        b, t = latents.shape[:2]
        z = (latents / self.vae.config.scaling_factor).to(self.vae.dtype).flatten(0, 1)
        return self.vae.decode(z, num_frames=t).sample.float().clamp(-1, 1).unflatten(0, (b, t))
