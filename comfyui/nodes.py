"""The nodes. Each one hands its inputs to what `lvcd colorize`, `lvcd palette`, `lvcd review` and `lvcd recolor` call.

An IMAGE of ComfyUI is a float tensor (b H W 3) in [0, 1]; a MASK is (b H W), 1 where the picture is transparent.
Painted frames lie in a folder of ComfyUI's temporary files, which LVCD_FRAMES names.
"""

from __future__ import annotations

import re
import shutil
import tempfile
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from lvcd.errors import InputError
from lvcd.io.frame_folder import frame_files
from lvcd.io.images import read_image, write_png
from lvcd.io.output_path import is_movie
from lvcd.io.reader import digest, open_frames
from lvcd.lineart.reading import LINES, PAPERS, DrawingReader, DrawingSettings
from lvcd.palettes.of_picture import find_palette
from lvcd.palettes.palette_files import Palette, read_palette, write_palette
from lvcd.palettes.recolor import recolor
from lvcd.pipeline.load import DTYPES, OFFLOAD, STORAGE
from lvcd.pipeline.render import RenderCancelled, RenderProgress, render_clip
from lvcd.pipeline.render_settings import TRACE_LINES, RenderSettings
from lvcd.review import KINDS
from lvcd.review.findings import ReviewSettings, review_frames
from lvcd.system import choose_device

Inputs = dict[str, dict[str, tuple]]

CATEGORY = "LVCD"
BUNDLED = "mini (bundled)"
PALETTE_ENDINGS = (".gpl", ".aco", ".ase", ".act", ".json")


@dataclass(frozen=True)
class Model:
    """LVCD_MODEL: a model folder, and how its networks are loaded when something is painted."""

    folder: str | Path
    device: str
    dtype: str
    offload: str | None
    storage: str | None
    adapters: tuple[tuple[Path, float], ...] = ()
    """Folders or files of adapters, each with its weight."""


@dataclass(frozen=True)
class Drawings:
    """LVCD_DRAWINGS: a folder of drawings or a movie, and how its drawings are read."""

    path: Path
    settings: DrawingSettings


@dataclass(frozen=True)
class Colors:
    """LVCD_KEYS: colored drawings by their number, and model sheets."""

    keys: dict[int, Path] = field(default_factory=dict)
    sheets: tuple[Path, ...] = ()


@dataclass(frozen=True)
class Flats:
    """LVCD_FLATS: how regions between lines are filled."""

    settings: RenderSettings
    palette: Palette | None


class LoadModel:
    """Choose a model: the bundled one, or a folder in `models/lvcd`."""

    TITLE: ClassVar[str] = "Load model (LVCD)"
    CATEGORY, FUNCTION = CATEGORY, "load"
    RETURN_TYPES, RETURN_NAMES = ("LVCD_MODEL",), ("model",)

    @classmethod
    def INPUT_TYPES(cls) -> Inputs:
        models = [BUNDLED, *(folder.name for folder in _entries(_models()) if folder.is_dir())]
        return {
            "required": {
                "model": (models, {"tooltip": "A folder of lvcd convert or lvcd export in ComfyUI's models/lvcd"}),
                "device": (["auto", "cuda", "cpu"], {}),
                "dtype": (list(DTYPES), {}),
                "offload": (["none", *OFFLOAD], {"tooltip": "Keep weights off the GPU until they are used"}),
                "storage": (["as computed", *STORAGE], {"tooltip": "fp8: weights wait in 8 bits"}),
            }
        }

    def load(self, model: str, device: str, dtype: str, offload: str, storage: str) -> tuple[Model]:
        folder = "mini" if model == BUNDLED else _inside(_models(), model)
        choose_device(device)  # a device that is not there is told here
        weights = offload if offload in OFFLOAD else None, storage if storage in STORAGE else None
        return (Model(folder, device, dtype, *weights),)


class LoadAdapter:
    """Add an adapter of the model, a folder or file in `models/loras`. Several can be added one after the other."""

    TITLE: ClassVar[str] = "Load adapter (LVCD)"
    CATEGORY, FUNCTION = CATEGORY, "load"
    RETURN_TYPES, RETURN_NAMES = ("LVCD_MODEL",), ("model",)

    @classmethod
    def INPUT_TYPES(cls) -> Inputs:
        known = [e.name for e in _entries(_adapters()) if e.is_dir() or e.suffix == ".safetensors"]
        weight = {"default": 1.0, "min": -10.0, "max": 10.0, "step": 0.05, "tooltip": "What it adds is times this"}
        return {
            "required": {
                "model": ("LVCD_MODEL",),
                "adapter": (known, {"tooltip": "Of lvcd export --adapter or lvcd adapt, in ComfyUI's models/loras"}),
                "weight": ("FLOAT", weight),
            }
        }

    def load(self, model: Model, adapter: str, weight: float) -> tuple[Model]:
        return (replace(model, adapters=(*model.adapters, (_inside(_adapters(), adapter), weight))),)


class LoadDrawings:
    """Read a folder of drawings, or a movie, from ComfyUI's input folder. Names and numbers of the files are kept."""

    TITLE: ClassVar[str] = "Load drawings (LVCD)"
    CATEGORY, FUNCTION = CATEGORY, "read"
    RETURN_TYPES, RETURN_NAMES = ("LVCD_DRAWINGS", "IMAGE", "IMAGE", "STRING"), ("drawings", "lines", "traces", "notes")

    @classmethod
    def INPUT_TYPES(cls) -> Inputs:
        known = [path.name for path in _entries(_input()) if path.is_dir() or is_movie(path)]
        return {
            "required": {"folder": (known, {"tooltip": "A folder or movie in ComfyUI's input folder"}), **_reading()}
        }

    @classmethod
    def IS_CHANGED(cls, folder: str, **_: Any) -> str:
        return digest(_inside(_input(), folder))

    def read(self, folder: str, **settings: Any) -> tuple[Drawings, Tensor, Tensor, str]:
        return _read(Drawings(_inside(_input(), folder), DrawingSettings(**settings)))


class ReadDrawings:
    """Read a batch of pictures as drawings. They are numbered from 1."""

    TITLE: ClassVar[str] = "Read drawings (LVCD)"
    CATEGORY, FUNCTION = CATEGORY, "read"
    RETURN_TYPES, RETURN_NAMES = LoadDrawings.RETURN_TYPES, LoadDrawings.RETURN_NAMES

    @classmethod
    def INPUT_TYPES(cls) -> Inputs:
        mask = {"tooltip": "Transparency of drawings without paper, as Load Image gives it"}
        return {"required": {"images": ("IMAGE",), **_reading()}, "optional": {"mask": ("MASK", mask)}}

    def read(self, images: Tensor, mask: Tensor | None = None, **settings: Any) -> tuple[Drawings, Tensor, Tensor, str]:
        folder = _temporary("drawings")
        for number, picture in enumerate(_pixels(images, mask), 1):
            write_png(folder / f"{number:04d}.png", picture)
        return _read(Drawings(folder, DrawingSettings(**settings)))


class Key:
    """Add a drawing in color. It comes out as it went in, and the drawings beside it follow it."""

    TITLE: ClassVar[str] = "Key (LVCD)"
    CATEGORY, FUNCTION = CATEGORY, "add"
    RETURN_TYPES, RETURN_NAMES = ("LVCD_KEYS",), ("keys",)

    @classmethod
    def INPUT_TYPES(cls) -> Inputs:
        number = {"default": 1, "min": 0, "max": 999999, "tooltip": "The drawing's own number"}
        more = {"tooltip": "More keys and sheets"}
        return {"required": {"image": ("IMAGE",), "number": ("INT", number)}, "optional": {"keys": ("LVCD_KEYS", more)}}

    def add(self, image: Tensor, number: int, keys: Colors | None = None) -> tuple[Colors]:
        keys = keys or Colors()
        if number in keys.keys:
            raise InputError(f"two keys have the number {number}: give one")
        return (replace(keys, keys={**keys.keys, number: _colored(image, f"key{number}")}),)


class Sheet:
    """Add a colored picture that is no drawing of the clip, as a model sheet, of any size."""

    TITLE: ClassVar[str] = "Model sheet (LVCD)"
    CATEGORY, FUNCTION = CATEGORY, "add"
    RETURN_TYPES, RETURN_NAMES = ("LVCD_KEYS",), ("keys",)

    @classmethod
    def INPUT_TYPES(cls) -> Inputs:
        return {"required": {"image": ("IMAGE",)}, "optional": {"keys": ("LVCD_KEYS", {"tooltip": "More of them"})}}

    def add(self, image: Tensor, keys: Colors | None = None) -> tuple[Colors]:
        keys = keys or Colors()
        return (replace(keys, sheets=(*keys.sheets, _colored(image, "sheet"))),)


class PaletteNode:
    """Take the flat colors of a picture as a palette, or read one from a file in ComfyUI's input folder."""

    TITLE: ClassVar[str] = "Palette (LVCD)"
    CATEGORY, FUNCTION = CATEGORY, "find"
    RETURN_TYPES, RETURN_NAMES = ("LVCD_PALETTE", "IMAGE"), ("palette", "swatches")

    @classmethod
    def INPUT_TYPES(cls) -> Inputs:
        files = [path.name for path in _entries(_input()) if path.suffix.lower() in PALETTE_ENDINGS]
        return {"required": {"file": (["from the image", *files], {})}, "optional": {"image": ("IMAGE",)}}

    def find(self, file: str, image: Tensor | None = None) -> tuple[Palette, Tensor]:
        if file != "from the image":
            palette = read_palette(_inside(_input(), file))
        elif image is None:
            raise InputError("there is no palette: connect an image, or choose a file")
        else:
            palette = find_palette(_pixels(image)[0])
        swatches = np.repeat(np.repeat(palette.colors[None], 48, 0), 48, 1)
        return palette, _tensor([swatches])


class FlatsNode:
    """Fill each region between lines with one color of the references, or of a palette."""

    TITLE: ClassVar[str] = "Flats (LVCD)"
    CATEGORY, FUNCTION = CATEGORY, "make"
    RETURN_TYPES, RETURN_NAMES = ("LVCD_FLATS",), ("flats",)

    @classmethod
    def INPUT_TYPES(cls) -> Inputs:
        gap = {"default": -1.0, "min": -1.0, "max": 1000.0, "step": 0.5, "tooltip": "Gaps in lines, px; -1 finds them"}
        return {
            "required": {
                "gap": ("FLOAT", gap),
                "trace": (list(TRACE_LINES), {"tooltip": "What trace lines become"}),
                "alpha": ("BOOLEAN", {"default": False, "tooltip": "The ground of the reference becomes transparent"}),
                "aliased": ("BOOLEAN", {"default": False, "tooltip": "Lines without anti-aliasing"}),
            },
            "optional": {"palette": ("LVCD_PALETTE", {"tooltip": "Only its colors come out"})},
        }

    def make(self, gap: float, trace: str, alpha: bool, aliased: bool, palette: Palette | None = None) -> tuple[Flats]:
        width: Any = "auto" if gap < 0 else gap
        return (Flats(RenderSettings(flat=True, gap=width, trace=trace, alpha=alpha, aliased=aliased), palette),)


class Colorize:
    """Paint the drawings from a colored reference, keys and sheets. Every drawing gets one frame."""

    TITLE: ClassVar[str] = "Colorize (LVCD)"
    CATEGORY, FUNCTION = CATEGORY, "paint"
    RETURN_TYPES, RETURN_NAMES = ("IMAGE", "MASK", "LVCD_FRAMES", "STRING"), ("images", "mask", "frames", "notes")

    @classmethod
    def INPUT_TYPES(cls) -> Inputs:
        return {
            "required": {
                "model": ("LVCD_MODEL",),
                "drawings": ("LVCD_DRAWINGS",),
                "steps": ("INT", {"default": 0, "min": 0, "max": 1000, "tooltip": "Denoising steps; 0 = the model's"}),
                "overlap": ("INT", {"default": 4, "min": 0, "max": 64, "tooltip": "Frames that segments share"}),
                "seed": ("INT", {"default": 0, "min": 0, "max": 2**64 - 1}),
                "width": ("INT", {"default": 0, "min": 0, "max": 8192, "tooltip": "To paint at; 0 = the drawings'"}),
                "height": ("INT", {"default": 0, "min": 0, "max": 8192}),
                "steady": ("BOOLEAN", {"default": False, "tooltip": "Keep the reference where lines stand still"}),
            },
            "optional": {
                "reference": ("IMAGE", {"tooltip": "A colored frame of the same shape"}),
                "keys": ("LVCD_KEYS", {}),
                "flats": ("LVCD_FLATS", {}),
            },
        }

    def paint(
        self, model: Model, drawings: Drawings, steps: int, overlap: int, seed: int, width: int, height: int,
        steady: bool, reference: Tensor | None = None, keys: Colors | None = None, flats: Flats | None = None,
    ) -> tuple[Tensor, Tensor, Path, str]:  # fmt: skip
        if bool(width) != bool(height):
            raise InputError("give both width and height, or 0 for both")
        keys, read = keys or Colors(), drawings.settings
        settings = replace(
            flats.settings if flats else RenderSettings(), lines=read.lines, paper=read.paper, traces=read.traces,
            steps=steps or None, overlap=overlap, seed=seed, size=(height, width) if width else None, steady=steady,
            dtype=model.dtype, offload=model.offload, storage=model.storage,
        )  # fmt: skip
        palette = None
        if flats and flats.palette:
            palette = _temporary("palette") / "palette.json"
            write_palette(palette, flats.palette)
        colored = None if reference is None else _colored(reference, "reference")
        notes: list[str] = []
        _free_memory()
        out = _temporary("frames") / "frames"
        try:
            render_clip(
                drawings.path, colored, out, model.folder, settings=settings, device=model.device, palette=palette,
                keys=keys.keys, sheets=keys.sheets, on_warning=notes.append, on_progress=_Progress(),
                is_cancelled=_interrupted, adapters=model.adapters,
            )  # fmt: skip
        except RenderCancelled:
            _stop()
            raise
        return (*_frames(out), out, "\n".join(notes))


class Review:
    """Find what a person should look at in flat frames: colors in doubt, specks, open regions, colors that change."""

    TITLE: ClassVar[str] = "Review flats (LVCD)"
    CATEGORY, FUNCTION = CATEGORY, "review"
    RETURN_TYPES, RETURN_NAMES = ("STRING", "INT", "IMAGE"), ("report", "findings", "marked")

    @classmethod
    def INPUT_TYPES(cls) -> Inputs:
        doubt = {"default": 0.9, "min": 0.0, "max": 2.0, "step": 0.01, "tooltip": "Second match over the best"}
        speck = {"default": 12, "min": 0, "max": 100000, "tooltip": "Area of the largest speck, px"}
        return {"required": {"frames": ("LVCD_FRAMES",), "doubt": ("FLOAT", doubt), "speck": ("INT", speck)}}

    def review(self, frames: Path, doubt: float, speck: int) -> tuple[str, int, Tensor]:
        report = review_frames(frames, ReviewSettings(doubt, speck))
        lines = [f"{kind}: {count}" for kind, count in report.counts().items()]
        lines += [f"{f.frame} {f.kind} {f.box} {f.color} {KINDS[f.kind]}" for f in report.findings]
        pictures = [read_image(file)[..., :3].copy() for file in report.frames]
        for finding in report.findings:
            top, left, bottom, right = finding.box
            box = pictures[finding.number][max(0, top - 1) : bottom + 1, max(0, left - 1) : right + 1]
            box[[0, -1]] = box[:, [0, -1]] = 255, 0, 0
        return "\n".join(lines), len(report.findings), _tensor(pictures)


class Recolor:
    """Paint flat frames that were filled from a palette in the colors of another one, exactly and without a model."""

    TITLE: ClassVar[str] = "Recolor (LVCD)"
    CATEGORY, FUNCTION = CATEGORY, "recolor"
    RETURN_TYPES, RETURN_NAMES = ("IMAGE", "MASK", "LVCD_FRAMES"), ("images", "mask", "frames")

    @classmethod
    def INPUT_TYPES(cls) -> Inputs:
        return {"required": {"frames": ("LVCD_FRAMES",), "palette": ("LVCD_PALETTE",)}}

    def recolor(self, frames: Path, palette: Palette) -> tuple[Tensor, Tensor, Path]:
        folder = _temporary("recolored")
        write_palette(folder / "palette.json", palette)
        recolor(frames, folder / "palette.json", folder / "frames")
        return (*_frames(folder / "frames"), folder / "frames")


class SaveFrames:
    """Copy painted frames, with their tables and index maps, into ComfyUI's output folder."""

    TITLE: ClassVar[str] = "Save frames (LVCD)"
    CATEGORY, FUNCTION, OUTPUT_NODE = CATEGORY, "save", True
    RETURN_TYPES: ClassVar[tuple[str, ...]] = ()

    @classmethod
    def INPUT_TYPES(cls) -> Inputs:
        return {"required": {"frames": ("LVCD_FRAMES",), "name": ("STRING", {"default": "shot"})}}

    def save(self, frames: Path, name: str) -> dict[str, Any]:
        import folder_paths

        if not re.fullmatch(r"[\w][\w .-]{0,99}", name):
            raise InputError(f"{name!r} is no name of a folder: give letters, digits, spaces, dots, - and _")
        output = Path(folder_paths.get_output_directory())
        taken = {
            int(m[1]) for path in _entries(output) if (m := re.fullmatch(re.escape(name) + r"_(\d{5})", path.name))
        }
        folder = output / f"{name}_{max(taken, default=0) + 1:05d}"
        shutil.copytree(frames, folder)
        shown = [{"filename": f.name, "subfolder": folder.name, "type": "output"} for f in frame_files(folder)]
        return {"ui": {"images": shown}, "result": ()}


NODES = (
    LoadModel, LoadAdapter, LoadDrawings, ReadDrawings, Key, Sheet, PaletteNode, FlatsNode, Colorize, Review, Recolor,
    SaveFrames,
)  # fmt: skip
"""All nodes, in the order of the menu."""


class _Progress:
    """Moves ComfyUI's progress bar."""

    def __init__(self) -> None:
        self.bar: Any = None

    def __call__(self, progress: RenderProgress) -> None:
        if self.bar is None and progress.total_steps:
            from comfy.utils import ProgressBar

            self.bar = ProgressBar(progress.total_steps)
        if self.bar is not None:
            self.bar.update_absolute(progress.steps, progress.total_steps)


def _interrupted() -> bool:
    from comfy.model_management import processing_interrupted

    return processing_interrupted()


def _stop() -> None:
    """End the workflow as ComfyUI ends an interrupted one."""
    from comfy.model_management import throw_exception_if_processing_interrupted

    throw_exception_if_processing_interrupted()


def _free_memory() -> None:
    """Make room on the GPU: ComfyUI does not know how much our networks need."""
    from comfy.model_management import soft_empty_cache, unload_all_models

    unload_all_models()
    soft_empty_cache()


def _models() -> Path:
    import folder_paths

    return Path(folder_paths.models_dir) / "lvcd"


def _adapters() -> Path:
    import folder_paths

    return Path(folder_paths.models_dir) / "loras"


def _input() -> Path:
    import folder_paths

    return Path(folder_paths.get_input_directory())


def _temporary(what: str) -> Path:
    """Make a folder among ComfyUI's temporary files, which it deletes when it starts."""
    import folder_paths

    parent = Path(folder_paths.get_temp_directory())
    parent.mkdir(parents=True, exist_ok=True)
    return Path(tempfile.mkdtemp(prefix=f"lvcd_{what}_", dir=parent))


def _entries(folder: Path) -> list[Path]:
    return sorted(p for p in folder.iterdir() if not p.name.startswith(".")) if folder.is_dir() else []


def _inside(folder: Path, name: str) -> Path:
    """Return the entry of a folder. InputError: it has none of this name, or the name leads out of it."""
    if name not in {path.name for path in _entries(folder)}:
        raise InputError(f"{folder} has no {name!r}: put it there, and reload the page")
    return folder / name


def _reading() -> dict[str, tuple]:
    """The inputs that say how drawings are read."""
    return {
        "lines": (list(LINES), {"tooltip": "How lines are shown; extract: these are colored frames"}),
        "paper": (list(PAPERS), {"tooltip": "white: all that is not white is drawn"}),
        "traces": ("BOOLEAN", {"default": True, "tooltip": "Tell colored trace lines from ink"}),
    }


def _read(drawings: Drawings) -> tuple[Drawings, Tensor, Tensor, str]:
    """Read drawings, and show what was read: ink, and trace lines, as dark lines on white."""
    with open_frames(drawings.path) as clip:
        reader = DrawingReader(clip, drawings.settings)
        read = [reader(clip[number]) for number in range(len(clip))]
        notes = [*clip.notes, *reader.notes]
    lines, traces = (torch.from_numpy(1 - np.stack(maps)) for maps in zip(*((d.ink, d.trace) for d in read)))
    return drawings, _grey(lines), _grey(traces), "\n".join(notes)


def _grey(values: Tensor) -> Tensor:
    """Convert grey values (b H W) to an IMAGE."""
    return values[..., None].repeat(1, 1, 1, 3)


def _pixels(images: Tensor, mask: Tensor | None = None) -> list[np.ndarray]:
    """Convert an IMAGE, and a MASK if there is one, to pictures, uint8 (H W 3) or (H W 4)."""
    if images.ndim != 4 or images.shape[-1] not in (1, 3, 4):
        raise InputError(f"an IMAGE has the shape {tuple(images.shape)}: give (b H W 3)")
    pixels = (images.detach().float().cpu().clamp(0, 1) * 255).round().byte().numpy()
    if pixels.shape[-1] == 1:
        pixels = pixels.repeat(3, -1)
    if mask is None:
        return list(pixels)
    if mask.shape[-2:] != images.shape[1:3]:
        return list(pixels)  # Load Image gives a small empty mask for a picture without transparency
    alpha = ((1 - mask.detach().float().cpu().clamp(0, 1)) * 255).round().byte().numpy()
    return [np.dstack([p[..., :3], a]) for p, a in zip(pixels, np.broadcast_to(alpha, pixels.shape[:3]))]


def _colored(images: Tensor, what: str) -> Path:
    """Write one picture of an IMAGE to a file."""
    pictures = _pixels(images)
    if len(pictures) != 1:
        raise InputError(f"the {what} is a batch of {len(pictures)} images: give one")
    file = _temporary(what) / f"{what}.png"
    write_png(file, pictures[0])
    return file


def _tensor(pictures: list[np.ndarray]) -> Tensor:
    """Convert pictures, uint8 (H W 3), to an IMAGE."""
    return torch.from_numpy(np.stack(pictures)).float() / 255


def _frames(folder: Path) -> tuple[Tensor, Tensor]:
    """Read the frames of a folder => an IMAGE, and a MASK that is 1 where they are transparent."""
    pictures = [read_image(file) for file in frame_files(folder)]
    clear = [1 - p[..., 3].astype(np.float32) / 255 if p.shape[-1] == 4 else np.zeros(p.shape[:2]) for p in pictures]
    return _tensor([p[..., :3] for p in pictures]), torch.from_numpy(np.stack(clear)).float()
