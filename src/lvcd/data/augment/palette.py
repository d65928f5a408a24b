"""Recoloring: the same clip painted from another palette.

Every color is black, or a brightness s in (0, 1] (its strongest channel) times a pure color of brightness 1. Pure
colors fill a disc: hue is the angle, saturation the radius, white the center. A random palette is a smooth map of the
disc to itself that is one to one, a smooth brightness for each of its points, and one rising curve for s. So

* a color and its shade, or its mix with black ink, stay a color and its shade: no halo grows along a line,
* black stays black and ink stays dark, while white paper takes any color, light or dark,
* different colors stay different, and a flat region stays flat,
* that a color was light does not tell whether it will be. Luminance is what sketches with grey in them leak:
  `INVERSION` is set so that over many palettes old and new luminance of a cartoon's colors are not correlated.

The first has a price: shades of one color keep their order, so a ramp of greys stays a ramp, of another color.

letters: t frames, n colors, H W pixels
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor

from lvcd.pixel_values import signed_from_uint8, uint8_from_signed

Array = np.ndarray[Any, Any]
Rng = np.random.Generator

LUMA = np.array([0.299, 0.587, 0.114], np.float32)
"""Rec. 601."""
INK = 0.18
"""Up to this brightness a color is ink, and keeps its brightness or loses some."""
DIMMEST = 0.42
"""The least brightness that a pure color is given."""
INVERSION = 11.0
"""How much darker than dark colors light ones become on average; see above. Measured, not derived."""


def recolor(frames: Tensor, rng: Rng) -> Tensor:
    """Paint (t 3 H W) RGB in [-1, 1] in the colors of a random palette, one for all frames.

    Frames are rounded to 8 bits first, which changes nothing where they come from 8 bits.
    """
    return repaint(frames, random_palette(rng))


def repaint(frames: Tensor, palette: Callable[[Array], Array]) -> Tensor:
    """Replace every color of frames (t 3 H W) in [-1, 1].

    palette    maps the different colors, uint8 (n 3), to new ones, uint8 (n 3)
    A drawn clip has some thousand colors in its millions of pixels, which makes this cheap.
    """
    pixels = uint8_from_signed(frames).numpy()
    code = pixels[:, 0].astype(np.uint32)  # (t H W) 0xRRGGBB
    for channel in (1, 2):
        code <<= 8
        code |= pixels[:, channel]
    present = np.zeros(1 << 24, bool)
    present[code.ravel()] = True
    colors = np.flatnonzero(present).astype(np.uint32)
    new = palette(np.stack([colors >> 16, colors >> 8, colors], 1).astype(np.uint8))
    table = np.empty((1 << 24, 4), np.uint8)  # 64 MB of which only what is used is ever touched
    table[colors, :3] = new
    painted = table.view(np.uint32)[:, 0][code].view(np.uint8).reshape(*code.shape, 4)
    return signed_from_uint8(torch.from_numpy(painted)[..., :3].movedim(-1, 1))


def random_palette(rng: Rng) -> Callable[[Array], Array]:
    """Draw a random palette: a map of colors, uint8 (n 3) => uint8 (n 3)."""
    center = 0.65 * np.sqrt(rng.random()) * np.exp(2j * np.pi * rng.random())  # what becomes colorless
    mirrored = rng.random() < 0.5
    turn, spread, phase = 2 * np.pi * rng.random(), rng.uniform(0, 0.5), 2 * np.pi * rng.random()
    drift = rng.uniform(-1, 1)  # radians of hue from dark to light
    vivid = rng.uniform(0.4, 1)
    curve = rng.uniform(0.5, 3)
    inversion = INVERSION + rng.normal(0, 9)
    tilt = rng.normal(0, 1.5) + 1j * rng.normal(0, 1.5)
    bowl, level = rng.normal(0, 2), rng.normal(0.8, 0.7)

    def paint(colors: Array) -> Array:
        rgb = colors.astype(np.float32) / 255
        s = rgb.max(1)
        pure = rgb / np.maximum(s, 1e-6)[:, None]
        z = _to_disc(pure)
        u = inversion * (0.75 - pure @ LUMA) + (tilt.conjugate() * z).real + bowl * (np.abs(z) ** 2 - 0.3) + level
        brightness = DIMMEST + (1 - DIMMEST) / (1 + np.exp(-u))
        z = (z - center) / (1 - center.conjugate() * z)  # Moebius: the disc to itself, one to one
        z = z.conjugate() if mirrored else z
        hue = np.angle(z) + turn
        hue += spread * np.sin(hue + phase) + drift * s
        pure = _from_disc(vivid * np.abs(z), hue)
        t = ((s - INK) / (1 - INK)).clip(0)
        light = np.where(s < INK, s, INK + (1 - INK) * t * (1 + curve) / (1 + curve * t))
        return (255 * (light * brightness)[:, None] * pure + 0.5).astype(np.uint8)

    return paint


_CORNERS = np.exp(2j * np.pi * np.arange(3) / 3).astype(np.complex64)
"""Where red, green and blue lie on the rim of the disc."""


def _to_disc(pure: Array) -> Array:
    """Map colors (n 3) with strongest channel 1 into the disc: (n) complex, whose absolute value is saturation."""
    z = pure @ _CORNERS
    length = np.abs(z)
    return z * np.where(length > 1e-6, (1 - pure.min(1)) / np.maximum(length, 1e-6), 0)


def _from_disc(saturation: Array, hue: Array) -> Array:
    """Map saturation (n) and hue (n) in radians to colors (n 3) with strongest channel 1."""
    lean = (np.exp(1j * hue)[:, None] * _CORNERS.conjugate()).real
    high, low = lean.max(1, keepdims=True), lean.min(1, keepdims=True)
    return 1 + saturation[:, None] * (lean - high) / (high - low)
