"""The model in the box, and its autoencoder."""

from pathlib import Path

MINI = Path(__file__).parent / "mini"
"""Folder of a small model, trained on drawn cartoons: see MODEL_CARD.md in it."""
