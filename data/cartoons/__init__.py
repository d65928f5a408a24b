"""A few drawn cartoons as shards, small enough to be shipped: data/cartoons, installed as `lvcd.toy_shards`."""

from pathlib import Path

PARTS = ("train", "val", "test_seen", "test_style")


def folder(part: str) -> Path:
    """Return the folder of shards of one of `PARTS`."""
    if part not in PARTS:
        raise ValueError(f"there are no toy shards {part!r}, but {', '.join(PARTS)}")
    return Path(__file__).parent / part
