"""Learning a shot from a few of its drawings in color: adapters of a model, trained for minutes.

Every step makes a clip of two of the keys: one is the reference, the other moves through a window by a slow random
motion and a small warp, and both are drawn and colored anew, as lvcd.data.augment does. So what is learned is how to
carry colors within this shot, and not the pictures themselves.

letters: t frames, the reference at 0; H W pixels
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from torch import Tensor

from lvcd.data.augment import Augment
from lvcd.data.batch import Batch
from lvcd.errors import InputError, on_out_of_memory
from lvcd.io.frame_folder import FrameSelection
from lvcd.io.reader import open_frames
from lvcd.pipeline.inputs import color, resize
from lvcd.pipeline.render_files import RenderFiles
from lvcd.pipeline.render_inputs import RenderInputs
from lvcd.pipeline.render_settings import RenderSettings
from lvcd.system import choose_device

from .finetune import FineTuneModule, derive_seed
from .networks import Networks, networks_from_folder

AUGMENT = Augment(crop=0.7, flip=0.5, recolor=0.5, thicken=0.2, thin=0.1, wobble=0.3, breaks=0.1, binarize=0.3)
"""Changes of a training clip, the same for its frames but for what each drawing has of its own."""
CHECK_SECONDS = 10.0
"""Least time between two looks at the held-out key."""
HELD_OUT_FROM = 3
"""Number of keys from which one is held out: the one in the middle."""
CPU_WINDOW = 4
"""Frames of a training clip on a CPU, where a step of the model's own window takes many seconds."""
NO_MEMORY = "there is too little memory to learn at this size: give a smaller size, or a GPU"


@dataclass(frozen=True)
class AdaptSettings:
    """The settings of learning a shot. InputError: a setting out of its range."""

    minutes: float = 2.0
    """Time for learning, without loading and writing."""
    size: tuple[int, int] | None = None
    """(height, width) at which it learns, px, rounded to what the networks take; None = the drawings'."""
    rank: int = 8
    lr: float = 5e-4
    """Learning rate, which rises in ten steps and falls to zero with the time that is left."""
    seed: int = 0

    def __post_init__(self) -> None:
        if not 0 < self.minutes <= 24 * 60:
            raise InputError(f"minutes {self.minutes:g}: give more than 0, up to a day")
        if not 0 < self.lr < 1:
            raise InputError(f"a learning rate of {self.lr:g}: give a number above 0, below 1")


@dataclass(frozen=True)
class AdaptProgress:
    """The progress says how far learning has come."""

    steps: int
    seconds_left: float
    loss: float
    """Of the last step."""
    held_out: float | None
    """Loss of the held-out key at the last look at it; None without one."""
    first: float | None
    """The same before the first step."""


@dataclass(frozen=True)
class AdaptResult:
    """The result says what was learned."""

    steps: int
    """Steps that were made."""
    best_step: int
    """Step after which the adapter that is kept was as it is; 0 = the held-out key never got better, nothing was
    written."""
    first: float | None
    """Loss of the held-out key before the first step; None without one."""
    best: float | None
    """The same with the adapter that is kept."""
    interrupted: bool


@dataclass(frozen=True)
class Key:
    """A key is a drawing of the shot, with its color."""

    frame: Tensor
    """The drawing in color (3 H W) in [-1, 1]."""
    sketch: Tensor
    """Its line art (1 H W) in [0, 1], 1 on a line."""


def adapt(
    shot: Path,  # folder of drawings, or a movie
    keys: Mapping[int, Path],  # number of a drawing, as its file has it -> it in color
    out: Path,  # folder of the adapter
    model: str | Path,  # the model folder that is adapted, or "mini"
    settings: AdaptSettings | None = None,
    device: str = "auto",
    on_progress: Callable[[AdaptProgress], object] | None = None,
) -> AdaptResult:
    """Learn a shot from two or more keys, and write the adapter that was best.

    With three keys or more the one in the middle is held out, and the adapter with which it was learned best is kept.
    Ctrl-C ends learning, and keeps what is best so far.
    InputError: what is wrong with the drawings, the keys, the model or the output.
    """
    settings = settings or AdaptSettings()
    if out.exists():
        raise InputError(f"{out} exists: choose another output")
    if len(keys) < 2:
        raise InputError("one drawing in color shows nothing to learn: give at least two keys (--key N=FILE)")
    where = choose_device(device)
    networks = networks_from_folder(model)
    multiple = networks.pipeline().size_multiple
    found = read_keys(shot, keys, settings.size, multiple)
    module = _module(networks, settings, where)
    with on_out_of_memory(NO_MEMORY):
        learner = _Learner(module, found, settings, where)
        result = learner.run(on_progress)
    if result.best_step:
        module.export_adapter(out, {"weights": "best", "step": result.best_step})
    return result


def read_keys(shot: Path, keys: Mapping[int, Path], size: tuple[int, int] | None, multiple: int) -> list[Key]:
    """Read drawings and their colors at a size that is rounded to a multiple. InputError: what is wrong with them."""
    with open_frames(shot, FrameSelection(leave_out=tuple(keys.values()))) as clip:
        inputs = RenderInputs.read(clip, RenderFiles(shot, keys=keys), RenderSettings(size=size))
        height, width = (max(multiple, round(n / multiple) * multiple) for n in inputs.size)
        return [
            Key(resize(color(pixels, inputs.size, str(of.path)), (height, width)).clamp(-1, 1),
                resize(inputs.reader(clip[of.index]).sketch, (height, width)).clamp(0, 1))
            for of, pixels in inputs.pictures if of.index is not None
        ]  # fmt: skip


def moving_clip(reference: Key, target: Key, window: int, rng: np.random.Generator) -> tuple[Tensor, Tensor]:
    """Make a clip of two keys: frames (t 3 H W) in [-1, 1] and sketches (t 1 H W), t = 1 + window.

    The target moves from one place, size and angle to another, and is warped a little.
    """
    start, end = _random_motion(rng), _random_motion(rng)
    rows = [_warped(reference, _random_motion(rng), rng)]
    bend = rng.integers(2**63)
    for t in np.linspace(0, 1, window):
        rows.append(_warped(target, start + (end - start) * t, np.random.default_rng(bend)))
    frames, sketches = zip(*rows)
    return torch.stack(frames), torch.stack(sketches)


def _random_motion(rng: np.random.Generator) -> np.ndarray[Any, Any]:
    """Draw angle (radians), ln size, and the shift in x and y in heights of the frame."""
    return rng.normal(0, (0.06, 0.06, 0.05, 0.04))


def _warped(key: Key, motion: np.ndarray[Any, Any], rng: np.random.Generator) -> tuple[Tensor, Tensor]:
    height, width = key.sketch.shape[-2:]
    angle, size, shift_x, shift_y = motion
    y, x = np.mgrid[:height, :width].astype(np.float32)
    dx, dy = (
        cv2.resize(rng.standard_normal((4, 5), np.float32), (width, height), interpolation=cv2.INTER_CUBIC)
        for _ in range(2)
    )
    u, v = x - width / 2 + 0.008 * height * dx, y - height / 2 + 0.008 * height * dy
    cos, sin = math.cos(angle) * math.exp(size), math.sin(angle) * math.exp(size)
    from_x = (cos * u - sin * v + width / 2 + shift_x * height).astype(np.float32)
    from_y = (sin * u + cos * v + height / 2 + shift_y * height).astype(np.float32)

    def warp(picture: Tensor, border: int) -> Tensor:
        moved = cv2.remap(picture.movedim(0, -1).numpy(), from_x, from_y, cv2.INTER_LINEAR, borderMode=border)
        return torch.from_numpy(moved.reshape(height, width, -1)).movedim(-1, 0)

    return warp(key.frame, cv2.BORDER_REPLICATE), warp(key.sketch, cv2.BORDER_CONSTANT)


def _module(networks: Networks, settings: AdaptSettings, device: str) -> FineTuneModule:
    """Build the module; a model that paints in one step is trained at the noise of that step."""
    sampling = networks.settings
    single = sampling.get("steps") == 1
    noise: dict[str, Any] = (
        {"sigma_mean": math.log(sampling.get("sigma_max", 80.0)), "sigma_std": 0.4} if single else {}
    )
    module = FineTuneModule(
        networks, "lora", lora={"rank": settings.rank}, reference_only_prob=0.5 if single else 0.0,
        correspondence_weight=0.0, gradient_checkpointing=device != "cpu", seed=settings.seed, **noise,
    )  # fmt: skip
    for part in (module, *networks.encoders):
        part.to(device)
    return module


class _Learner:
    """Trains a module on clips made of keys, as long as there is time."""

    def __init__(self, module: FineTuneModule, keys: list[Key], settings: AdaptSettings, device: str):
        self.module, self.settings, self.device = module, settings, device
        middle = len(keys) // 2
        self.held_out = keys[middle] if len(keys) >= HELD_OUT_FROM else None
        self.keys = [key for i, key in enumerate(keys) if self.held_out is None or i != middle]
        window = int(module.networks.settings.get("window", 14))
        self.window = min(window, CPU_WINDOW) if device == "cpu" else window
        parameters = {name: p for name, p in module.named_parameters() if p.requires_grad}
        self.weights = parameters
        self.optimizer = torch.optim.AdamW(parameters.values(), lr=settings.lr, weight_decay=0.0)

    def run(self, on_progress: Callable[[AdaptProgress], object] | None) -> AdaptResult:
        first = self._held_out_loss()
        best, best_step, best_weights = first, 0, self._copy()
        seconds, began = 60 * self.settings.minutes, time.monotonic()
        steps, held_out, checked, interrupted = 0, first, began, False
        try:
            while (left := began + seconds - time.monotonic()) > 0 or steps == 0:
                loss = self._step(steps, max(left, 0.0) / seconds)
                steps += 1
                now = time.monotonic()
                if self.held_out is not None and (now - checked > CHECK_SECONDS or now - began > seconds):
                    held_out, checked = self._held_out_loss(), time.monotonic()
                    if held_out is not None and best is not None and held_out < best:
                        best, best_step, best_weights = held_out, steps, self._copy()
                if on_progress is not None:
                    on_progress(AdaptProgress(steps, max(began + seconds - now, 0.0), loss, held_out, first))
        except KeyboardInterrupt:
            interrupted = True
        if self.held_out is None:
            best_step = steps
        else:
            with torch.no_grad():
                for name, p in self.weights.items():
                    p.copy_(best_weights[name])
        return AdaptResult(steps, best_step, first, best, interrupted)

    def _copy(self) -> dict[str, Tensor]:
        return {name: p.detach().clone() for name, p in self.weights.items()}

    def _step(self, step: int, left: float) -> float:
        """Make one step; `left` is the share of the time that is left."""
        rng = np.random.default_rng([self.settings.seed, step])
        i, j = rng.permutation(len(self.keys))[:2]
        frames, sketches = AUGMENT(*moving_clip(self.keys[i], self.keys[j], self.window, rng), rng)
        assert frames is not None
        for group in self.optimizer.param_groups:
            group["lr"] = self.settings.lr * min((step + 1) / 10, left)
        self.module.train()
        self.optimizer.zero_grad()
        with self._precision():
            loss = self._loss(frames, sketches, derive_seed(self.settings.seed, step), self.module.reference_only_prob)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.weights.values(), 1.0)
        self.optimizer.step()
        return float(loss.detach())

    @torch.no_grad()
    def _held_out_loss(self) -> float | None:
        """Return the loss of the held-out key from each of the others, with the same noise every time."""
        if self.held_out is None:
            return None
        self.module.eval()
        losses = []
        for seed, key in enumerate(self.keys):
            frames, sketches = (
                torch.stack([first, *[second] * self.window])
                for first, second in ((key.frame, self.held_out.frame), (key.sketch, self.held_out.sketch))
            )
            with self._precision():
                losses.append(float(self._loss(frames, sketches, seed, 0.0)))
        return sum(losses) / len(losses)

    def _loss(self, frames: Tensor, sketches: Tensor, seed: int, reference_only_prob: float) -> Tensor:
        batch = Batch(sketches[None], torch.full((1,), 6.0), frames=frames[None]).to(self.device)
        return self.module.losses(batch, [seed], reference_only_prob=reference_only_prob)[0].mean()

    def _precision(self) -> Any:
        is_cuda = self.device.startswith("cuda")
        return torch.autocast("cuda" if is_cuda else "cpu", torch.bfloat16, enabled=is_cuda)
