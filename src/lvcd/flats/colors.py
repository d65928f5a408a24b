"""Exact colors of a reference: of the regions between its lines, and of the lines themselves.

letters: r regions, H W pixels. Frames are RGB in [0, 1]; ink is in [0, 1], 1 on a line.
"""

from __future__ import annotations

import cv2
import numpy as np

from .exact_colors import color_codes, even_pixels
from .fills import LINE_MIN, PAPER_MAX, Array

MODE_FRACTION = 0.25
"""Of a region's pixels: a color that so many have is the region's; else it is the one nearest to the median."""
UNIFORM = 0.1
"""Distance of two colors, Euclidean over RGB in [0, 1], up to which they are one fill."""
FEW_PX = 20
"""Pixels without ink below which a region's color may be the noise of its surroundings."""
PURE = 0.9
"""Of a region's pixels: with so many of one color it is the region's, however small the region is."""
NEAR, FAR = 0.1, 0.3
"""Distance, of a small region's color, within which a frequent color of the frame is taken in its place; and of one
that shows through ink alone."""
FREQUENT = 2e-4
"""Of the frame's pixels, at least 8, that have a frequent color."""
SHOWN = 0.1
"""Difference, of a channel, from all fills nearby that shows a line, and not a mixture of those fills."""
SHOWN_FRACTION = 0.25
"""Of the pixels on lines: a frame where fewer differ from their surroundings was painted without outlines."""
EDGE = 8 / 255
"""Difference of a channel, within 3x3 pixels, from which fills meet there."""
FLAT_FRACTION = 0.8
"""Of the pixels of a flat frame: so many lie inside fills."""
ONE_LINE_COLOR = 0.12
"""Distance of two colors of lines up to which they are one."""
MAX_REACH_PX = 25


def fill_colors(frame: Array, ink: Array, regions: Array, line_color: Array) -> tuple[Array, Array]:
    """Find the color of each region of a frame (H W 3) => (r 3), which occur in the frame, and purity (r).

    ink      (H W) coverage by all that is drawn
    regions  (H W) numbers from 0, of the region that a pixel is in or nearest to
    purity   the fraction of a region's pixels, in [0, 1], that have this color or nearly so
    """
    count = int(regions.max()) + 1
    clear = ink <= PAPER_MAX
    least = np.full(count, np.inf, np.float32)  # of regions that ink covers wholly, the pixels with the least
    covered = np.bincount(regions[clear], minlength=count) == 0
    if covered.any():
        inside = covered[regions]
        np.minimum.at(least, regions[inside], ink[inside])
        counted = clear | (inside & (ink <= least[regions] + 0.1))
    else:
        counted = clear
    number, pixel = regions[counted], frame[counted]
    keys, first, times = np.unique(
        number.astype(np.int64) << 24 | color_codes(pixel), return_index=True, return_counts=True
    )
    of, exact = keys >> 24, pixel[first]  # unique colors of each region
    area = np.bincount(number, minlength=count)
    order = np.lexsort((-times, of))
    start = np.searchsorted(of[order], np.arange(count))
    best = order[start]
    share = times[best] / area
    colors = exact[best].astype(np.float32)
    mixed = np.flatnonzero(share < MODE_FRACTION)
    bounds = np.append(np.searchsorted(of, np.arange(count)), len(of))
    for region in mixed:
        here = slice(bounds[region], bounds[region + 1])
        middle = _weighted_median(exact[here], times[here])
        colors[region] = exact[here][np.square(exact[here] - middle).sum(1).argmin()]
    doubtful = np.flatnonzero((area < FEW_PX) & ((share < PURE) | covered) | covered)
    if len(doubtful) and clear.any():
        palette = frequent_colors(frame, clear)
        for region in doubtful if len(palette) else []:
            color, reach = colors[region], NEAR
            if covered[region]:
                cover, reach = min(float(least[region]), 0.95), FAR
                color = np.clip((color - cover * line_color) / (1 - cover), 0, 1)
            distance = np.square(palette - color).sum(1)
            if distance.min() <= reach**2:
                colors[region] = palette[distance.argmin()]
    _without_rims(colors, share < PURE, even_colors(frame))
    near = np.square(pixel - colors[number]).sum(1) <= UNIFORM**2
    purity = np.bincount(number[near], minlength=count) / np.maximum(area, 1)
    purity[covered] = 1
    return colors, purity.astype(np.float32)


def frequent_colors(frame: Array, counted: Array) -> Array:
    """Return the exact colors (n 3) that many of the counted pixels (H W) bool of a frame (H W 3) have."""
    pixel = frame[counted]
    _, first, times = np.unique(color_codes(pixel), return_index=True, return_counts=True)
    return pixel[first][times >= max(8, FREQUENT * frame[..., 0].size)].astype(np.float32)  # type: ignore[no-any-return]


def even_colors(frame: Array) -> Array:
    """Return the exact colors (n 3) of a frame (H W 3) that some pixel has in common with all its neighbors."""
    even = frame[even_pixels(frame)]
    return even[np.unique(color_codes(even), return_index=True)[1]].astype(np.float32)  # type: ignore[no-any-return]


def _without_rims(colors: Array, mixed: Array, even: Array) -> None:
    """Replace colors (r 3) of mixed regions (r) bool that are nowhere even, such as the rim that resizing a frame
    leaves around its lines, by a near color (n 3) that is."""
    if not len(even):
        return
    for region in np.flatnonzero(mixed):
        distance = np.square(even - colors[region]).sum(1)
        if distance.min() <= NEAR**2:
            colors[region] = even[distance.argmin()]


def _weighted_median(values: Array, times: Array) -> Array:
    """Return the median (3), channel by channel, of values (n 3) that occur several times (n)."""
    found = []
    for channel in values.T:
        order = channel.argsort(kind="stable")
        found.append(channel[order][np.searchsorted(times[order].cumsum(), times.sum() / 2)])
    return np.array(found)


def line_colors(frame: Array, ink: Array, regions: Array, area: Array) -> tuple[Array | None, Array | None]:
    """Find the color of the lines of a frame (H W 3) => (3), and of those that belong to each region (r 3).

    None, twice, for a frame without outlines: where lines are drawn it shows what its fills show.
    """
    core = ink > LINE_MIN
    clear = ink <= PAPER_MAX
    if not core.any() or not clear.any():
        return None, None
    reach = reach_of(~clear)
    kernel = np.ones((2 * reach + 1, 2 * reach + 1), np.uint8)
    fills = np.where(clear[..., None], frame, np.inf).astype(np.float32)
    low = cv2.erode(fills, kernel)
    high = cv2.dilate(np.where(clear[..., None], frame, -np.inf).astype(np.float32), kernel)
    shown = core & ((frame < low - SHOWN) | (frame > high + SHOWN)).any(-1) & np.isfinite(low[..., 0])
    if shown.sum() < SHOWN_FRACTION * core.sum():
        return None, None
    common = _most_frequent(frame[shown])
    colors = np.tile(common, (len(area), 1))
    owner = owners(regions, ~clear, area, reach)[shown]
    order = owner.argsort(kind="stable")
    for members in np.split(order, np.flatnonzero(np.diff(owner[order])) + 1):
        own = _most_frequent(frame[shown][members])
        if len(members) >= 4 and np.square(own - common).sum() > ONE_LINE_COLOR**2:
            colors[owner[members[0]]] = own
    return common, colors


def color_edges(frame: Array) -> Array | None:
    """Return where the fills of a flat frame (H W 3) meet, bool (H W); None if it is not flat."""
    around = np.ones((3, 3), np.uint8)
    edges = (cv2.dilate(frame, around) - cv2.erode(frame, around)).max(-1) > EDGE
    return edges if edges.mean() <= 1 - FLAT_FRACTION else None


def _most_frequent(pixels: Array) -> Array:
    """Return the most frequent of pixels (n 3), exactly; where most differ, the one nearest to their median."""
    _, first, times = np.unique(color_codes(pixels), return_index=True, return_counts=True)
    if times.max() >= 0.1 * len(pixels):
        return pixels[first[times.argmax()]].astype(np.float32)  # type: ignore[no-any-return]
    values = pixels[first]
    return values[np.square(values - _weighted_median(values, times)).sum(1).argmin()].astype(np.float32)  # type: ignore[no-any-return]


def reach_of(drawn: Array) -> int:
    """Return a distance, px, from the middle of the widest lines (H W) bool to the fills beside them."""
    half = cv2.distanceTransform(drawn.astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_5)
    return int(min(MAX_REACH_PX, np.ceil(np.quantile(half[drawn], 0.98)) + 1)) if drawn.any() else 1


def owners(regions: Array, drawn: Array, first: Array, reach: int, through: Array | None = None) -> Array:
    """Choose, for each drawn pixel, one of the regions beside it => (H W) regions, changed where `drawn` (H W) bool is.

    first    (r) the region with the least value is chosen: for areas, the smallest, as lines belong to what is in front
    reach    px, to the regions beside
    through  (H W) bool, the drawn pixels in question; the others are walls. None = all
    """
    order = np.argsort(first, kind="stable")
    rank = np.empty(len(first), np.float32)
    rank[order] = np.arange(len(first))
    least = np.where(drawn, np.float32(np.inf), rank[regions])
    at = drawn if through is None else drawn & through
    cross = cv2.getStructuringElement(cv2.MORPH_CROSS, (3, 3))
    for _ in range(reach):
        least[at] = cv2.erode(least, cross)[at]
    known = at & (least < len(first))  # what lies beyond the border of the frame is larger
    found = regions.copy()
    found[known] = order[least[known].astype(np.int64)]
    return found
