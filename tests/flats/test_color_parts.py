"""Regions whose lines are open, parted by color; stains that no line bounds part nothing."""

from __future__ import annotations

import numpy as np
import pytest

from lvcd.flats import PaintBucket
from lvcd.flats.color_parts import part_by_color
from lvcd.flats.regions import Regions, between_lines

BLUE, RED, GREEN = (np.array(c, np.float32) for c in ((0.2, 0.3, 0.9), (0.9, 0.2, 0.1), (0.2, 0.8, 0.3)))


def disk(center: tuple[int, int], radius: float) -> tuple[np.ndarray, np.ndarray]:
    """=> the distance to its center (72 128), and a ring of 2 px around it"""
    y, x = np.mgrid[:72, :128]
    away = np.hypot(y - center[0], x - center[1])
    return away < radius, np.abs(away - radius) < 1.2


def broken(gap: int) -> tuple[np.ndarray, np.ndarray]:
    """A red disk with a gap in its line on blue ground => lines (72 128) bool, frame (72 128 3)."""
    inside, ring = disk((36, 50), 18)
    lines = ring.copy()
    lines[36 - gap // 2 : 36 + gap // 2, 50:] = False
    return lines, np.where(inside[..., None], RED, BLUE).astype(np.float32)


def test_a_disk_that_a_wide_gap_leaves_open_is_parted():
    lines, frame = broken(16)
    whole = between_lines(lines)
    assert len(np.unique(whole[~lines])) == 1
    parted = part_by_color(whole, frame, lines.astype(np.float32))
    inside = frame[..., 0] > 0.5
    numbers = [set(parted[mask & ~lines].tolist()) for mask in (inside, ~inside)]
    assert [len(n) for n in numbers] == [1, 1] and numbers[0] != numbers[1] and (parted[lines] == 0).all()


@pytest.mark.parametrize("softly", [False, True])
def test_a_stain_that_no_line_bounds_is_no_part(softly):
    lines, _ = broken(0)
    inside, _ = disk((36, 50), 18)
    stain, _ = disk((36, 100), 12)
    half = inside & (np.mgrid[:72, :128][1] < 50)
    frame = np.where((stain | half)[..., None], GREEN, np.where(inside[..., None], RED, BLUE)).astype(np.float32)
    if softly:
        frame = frame + np.random.default_rng(0).normal(0, 0.03, frame.shape).astype(np.float32)
    regions = between_lines(lines)
    assert part_by_color(regions, frame, lines.astype(np.float32)) is regions


def test_one_color_is_one_region():
    lines, frame = broken(16)
    regions = between_lines(lines)
    assert part_by_color(regions, np.full_like(frame, 0.5), lines.astype(np.float32)) is regions
    nothing = np.zeros((72, 128), bool)
    assert part_by_color(between_lines(nothing), frame, nothing.astype(np.float32)).max() == 1


def test_an_open_disk_is_filled_by_its_own_color_and_goes_on():
    """The bucket parts what a model painted, finds the disk in the reference, and resumes with the same regions."""
    before, frame = broken(16)
    lines, painted = (np.roll(picture, 6, 1) for picture in broken(16))
    reference = np.where(before[..., None], 0, frame).astype(np.float32)
    bucket = PaintBucket(reference, before.astype(np.float32))
    filled = bucket(lines.astype(np.float32), 0.9 * painted + 0.05)
    off = ~lines & (np.abs(np.roll(painted, 1, 1) - painted).max(-1) == 0)
    assert np.abs(filled - painted).max(-1)[off].max() < 1e-5
    again = PaintBucket(reference, before.astype(np.float32))
    again.resume_after(lines.astype(np.float32), bucket.matched, bucket.before.parts)
    assert np.array_equal(again.before.map, bucket.before.map)
    assert np.allclose(again.before.borders, bucket.before.borders)


def test_what_is_painted_parts_nothing_where_the_reference_has_closed_lines():
    closed, frame = broken(0)
    bucket = PaintBucket(np.where(closed[..., None], 0, frame).astype(np.float32), closed.astype(np.float32))
    lines, painted = broken(16)
    bucket(lines.astype(np.float32), painted)
    assert len(bucket.before.area) == 1


def test_regions_of_a_closed_drawing_are_those_of_its_lines():
    lines, frame = broken(0)
    drawn = lines.astype(np.float32)
    assert np.array_equal(Regions.from_lines(drawn, "auto", frame).map, Regions.from_lines(drawn, 0.0).map)
