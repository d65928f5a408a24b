"""Rendering of a scene: an index canvas for each frame, read as colors, line art and segments; and the flow between."""

from __future__ import annotations

from collections.abc import Iterator

import cv2
import numpy as np

from .art import Array, margin
from .parts import INK
from .scene import Scene

_SHIFT = 5  # fractional bits of a coordinate given to OpenCV


def _supersampling(height: int) -> int:
    return 4 if height < 100 else 3


def _index_frames(scene: Scene, num: int, height: int, width: int) -> Iterator[Array]:
    """Yield (H*k W*k) uint8 index canvases, one for each frame: 2i the fill of part i, 2i + 1 its ink."""
    k = _supersampling(height)
    thick = max(1, round(scene.thickness * k))
    reach = thick + 1
    drawn = []
    arts: dict[int, tuple[int, dict[int, Array], Array, Array]] = {}
    for i, part in enumerate(scene.parts, 1):
        if part.art:
            nominal = part.art.size * height * k
            size = int(np.clip(nominal, 48, 640))
            maps = {}
            for mood in np.unique(part.art.shown).tolist():
                art = part.art.index_map(mood, size, max(2, round(thick * size / nominal)))
                maps[mood] = np.where(art > 0, art + 2 * (i - 1), 0).astype(np.uint8)
            arts[i] = size, maps, part.art.shown, part.pose
        if not len(part.points):
            drawn.append((np.zeros(num, bool), np.zeros((num, 0, 2), np.int32), True))
            continue
        linear, move = part.pose[:, :2, :2], part.pose[:, :2, 2]
        outline = (part.points @ linear.transpose(0, 2, 1) + move[:, None]) * k - 0.5  # (t n 2); 0 = center of a pixel
        low, high = outline.min(1) - reach, outline.max(1) + reach
        seen = (high[:, 0] > 0) & (high[:, 1] > 0) & (low[:, 0] < width * k) & (low[:, 1] < height * k)
        drawn.append((seen, np.rint(outline * (1 << _SHIFT)).astype(np.int32), part.closed))
    for t in range(num):
        canvas = np.zeros((height * k, width * k), np.uint8)
        for i, (seen, points, closed) in enumerate(drawn, 1):
            if i in arts:
                size, maps, shown, pose = arts[i]
                _paste(canvas, maps[shown[t]], size, pose[t], k)
            if not seen[t]:
                continue
            if closed:
                cv2.fillPoly(canvas, [points[t]], 2 * i, cv2.LINE_8, _SHIFT)
            cv2.polylines(canvas, [points[t]], closed, 2 * i + 1, thick, cv2.LINE_8, _SHIFT)
        yield canvas


def _paste(canvas: Array, art: Array, size: int, pose: Array, k: int) -> None:
    """Paste an index map of a given size into a canvas at k times the size. pose: (3 3) of its unit square, in px."""
    first = (0.5 - margin(size)) / size - 0.5
    unit = np.array([[1 / size, 0, first], [0, 1 / size, first], [0, 0, 1]])
    matrix = (np.diag([k, k, 1.0]) @ pose @ unit)[:2] - [[0, 0, 0.5], [0, 0, 0.5]]
    moved = cv2.warpAffine(art, matrix, canvas.shape[::-1], flags=cv2.INTER_NEAREST)
    np.copyto(canvas, moved, where=moved > 0)


def _flow(segments: Array, poses: Array) -> Array:
    """Compute flow from segments (t H W) int32 and poses (t p 3 3) of each label in px => (t-1 H W 2) float32."""
    num, height, width = segments.shape
    step = poses[1:] @ np.linalg.inv(poses[:-1]) - np.eye(3)  # (t-1 p 3 3): where to, less where from
    y, x = np.mgrid[:height, :width] + 0.5
    flow = np.empty((num - 1, height, width, 2), np.float32)
    for t in range(num - 1):
        a = step[t][segments[t]]  # (H W 3 3)
        flow[t, ..., 0] = a[..., 0, 0] * x + a[..., 0, 1] * y + a[..., 0, 2]
        flow[t, ..., 1] = a[..., 1, 0] * x + a[..., 1, 1] * y + a[..., 1, 2]
    return flow


def render(
    scene: Scene, num: int, height: int, width: int, labels: bool
) -> tuple[Array, Array, Array | None, Array | None]:
    """Render frames, lines, segments and flow as a `Cartoon` has them, from one index canvas for each frame."""
    table = np.zeros((256, 1, 3), np.uint8)
    ink = np.zeros(256, np.uint8)
    ink[1::2] = 255
    table[0] = scene.colors[0]
    table[1::2] = scene.colors[INK]
    for i, part in enumerate(scene.parts, 1):
        table[2 * i] = scene.colors[part.slot]
        ink[2 * i] = 255 * (part.slot == INK)
    table = table.reshape(1, 256, 3)
    k = _supersampling(height)
    frames = np.empty((num, height, width, 3), np.uint8)
    lines = np.empty((num, height, width), np.uint8)
    segments = np.empty((num, height, width), np.int32) if labels else None
    for t, canvas in enumerate(_index_frames(scene, num, height, width)):
        color = cv2.LUT(cv2.merge([canvas, canvas, canvas]), table)
        cv2.resize(color, (width, height), frames[t], interpolation=cv2.INTER_AREA)
        cv2.resize(cv2.LUT(canvas, ink), (width, height), lines[t], interpolation=cv2.INTER_AREA)
        if segments is not None:
            segments[t] = canvas[k // 2 :: k, k // 2 :: k] >> 1
    flow = None
    if segments is not None:
        flow = _flow(segments, np.stack([scene.camera] + [part.pose for part in scene.parts], 1))
    return frames, lines, segments, flow
