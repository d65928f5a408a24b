"""A walk cycle to try everything with: eight drawings and one key, which this project did not draw (Kenney, CC0).

The pictures are those of `data/walk` in a frame of the bundled model's size; the lines are what `lvcd.lineart.xdog`
draws of them, as in the demo of `make demo`.
"""

from __future__ import annotations

from pathlib import Path

from lvcd.pipeline.render_settings import RenderSettings

from .shot_folder import Shot, make_shot
from .uploads import take_over

EXAMPLE = Path(__file__).parent / "walk_cycle"
"""Folder of the drawings, walk0001.png to walk0008.png, and of the first in color, key0001.png."""
GAP_PX = 7.0
"""The lines of the walk cycle have wide gaps."""


def make_example_shot(folder: Path) -> Shot:
    """Make a shot of the walk cycle, with its key in its place. InputError: the disk."""
    drawings = {file.name: file for file in sorted(EXAMPLE.glob("walk*.png"))}
    shot = make_shot(folder, drawings, settings=RenderSettings(flat=True, gap=GAP_PX))
    shot.record.keys[1] = f"colors/{take_over(EXAMPLE / 'key0001.png', shot.folder / 'colors')}"
    shot.save()
    return shot
