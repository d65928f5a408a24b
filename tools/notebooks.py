"""`python tools/notebooks.py`: run every notebook from top to bottom and keep its outputs (`make notebooks`)."""

from __future__ import annotations

import base64
import io
import os
from pathlib import Path
from typing import Any

import nbformat
from nbclient import NotebookClient
from PIL import Image

ROOT = Path(__file__).parents[1]
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))


def executed(path: Path) -> Any:
    """The notebook with new outputs, run in its own folder by a fresh kernel on one thread.

    nbclient.exceptions.CellExecutionError: a cell failed.
    """
    notebook = nbformat.read(path, as_version=4)
    quiet = {"OMP_NUM_THREADS": "1", "PYTHONWARNINGS": "ignore:IProgress not found", "HF_HUB_OFFLINE": "1"}
    resources = {"metadata": {"path": str(path.parent)}}
    client = NotebookClient(
        notebook, resources=resources, timeout=3600, kernel_name="python3", record_timing=False,
        store_widget_state=False, coalesce_streams=True,
    )  # fmt: skip
    client.execute(env={**os.environ, **quiet})
    for output in (o for cell in notebook.cells for o in cell.get("outputs", [])):
        if "image/png" in output.get("data", {}):
            output.data.pop("image/jpeg", None)  # the same picture again
            output.data["image/png"] = packed(output.data["image/png"])
    notebook.metadata.language_info = {"name": "python"}  # not the version that happened to run it
    return notebook


def packed(png: str) -> str:
    """The same picture in fewer bytes, both in base64."""
    small = io.BytesIO()
    Image.open(io.BytesIO(base64.b64decode(png))).save(small, "PNG", optimize=True)
    return base64.b64encode(small.getvalue()).decode()


if __name__ == "__main__":
    for path in NOTEBOOKS:
        notebook = executed(path)
        nbformat.write(notebook, path)
        print(f"{path.relative_to(ROOT)}: {path.stat().st_size // 1000} kB")
