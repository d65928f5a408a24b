"""The bundled model, its autoencoder, and the short names by which both can be given where a model is asked for."""

from pathlib import Path

MINI = Path(__file__).parent / "mini"
"""Folder of a small model, trained on drawn cartoons: see MODEL_CARD.md in it."""
MINI_VAE = Path(__file__).parent / "mini_vae"
"""Folder of the autoencoder that it was built around."""
BUNDLED = {"mini": MINI, "mini_vae": MINI_VAE}


def model_folder(model: str | Path) -> Path:
    """Return the folder of a model: of a bundled one by its name, like "mini", else the path as it is.

    A folder of one's own that is named so is "./mini", or a `Path`.
    """
    return BUNDLED[model] if isinstance(model, str) and model in BUNDLED else Path(model)
