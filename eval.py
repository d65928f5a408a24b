"""Evaluate a model on held-out cartoon clips: `python eval.py model=outputs/mini/model`. See conf/eval.yaml."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import hydra
import numpy as np
import torch
from omegaconf import DictConfig
from torch import Tensor
from torchmetrics.functional.image import peak_signal_noise_ratio, structural_similarity_index_measure
from tqdm import tqdm

from lvcd.data.cartoons import Cartoon, draw
from lvcd.data.datamodule import TEST_SEED
from lvcd.errors import InputError
from lvcd.nn.convert import verify
from lvcd.pipeline import LineartVideoPipeline, quiet
from lvcd.sheets import contact_sheet, pick


def scores(painted: Tensor, clip: Cartoon) -> dict[str, float]:
    """painted: (n 3 H W) in [0, 1], frames 1 .. n of the clip => PSNR and PSNR on moving pixels in dB, SSIM."""
    painted = painted.double()  # SSIM of flat areas subtracts nearly equal numbers
    target = torch.from_numpy(clip.frames[1:]).movedim(-1, 1).double() / 255
    error = (painted - target).square().mean(dim=1)
    moving = torch.from_numpy(clip.moving)  # pixel of a frame whose color is another in the frame before
    return {
        "PSNR": float(peak_signal_noise_ratio(painted, target, data_range=1.0)),
        "PSNR, moving": float(-10 * error[moving].mean().log10()) if moving.any() else float("nan"),
        "SSIM": float(torch.as_tensor(structural_similarity_index_measure(painted, target, data_range=1.0))),
    }


def evaluate(config: DictConfig) -> dict[str, dict[str, list[float]]]:
    """Colorize every clip from its first frame; => {method: {metric: one value a clip}}."""
    quiet()
    verify(Path(config.model))
    pipeline = LineartVideoPipeline.from_pretrained(config.model, torch_dtype=torch.float32)
    pipeline.set_progress_bar_config(disable=True)
    table: dict[str, dict[str, list[float]]] = {}
    out = Path(config.out)
    out.mkdir(parents=True, exist_ok=True)
    for i in tqdm(range(config.clips), desc="colorizing clips", unit="clip"):
        clip = draw(TEST_SEED + i, config.frames + 1, config.height, config.width, config.style)
        sketches = torch.from_numpy(clip.lines)[:, None] / 255
        reference = torch.from_numpy(clip.frames[0]).movedim(-1, 0) / 255
        ours = pipeline(
            reference,
            sketches,
            num_inference_steps=config.steps,
            overlap=config.overlap,
            generator=torch.Generator().manual_seed(i),
            reference_frame=0,
            output_type="pt",
        ).frames[0, 1:]
        for method, painted in (("ours", ours), ("copy the reference", reference.expand_as(ours))):
            for metric, value in scores(painted, clip).items():
                table.setdefault(method, {}).setdefault(metric, []).append(value)
        if i < config.sheets:
            _sheet(clip, ours).save(out / f"clip_{i:02d}.png")
    return table


def _sheet(clip: Cartoon, ours: Tensor):
    columns = [1 + n for n in pick(len(ours), 6)]
    painted = (ours * 255).round().byte().movedim(1, -1).numpy()
    return contact_sheet(
        {
            "reference": [clip.frames[0]],
            "line art": [255 - clip.lines[n] for n in columns],
            "ours": [painted[n - 1] for n in columns],
            "original": [clip.frames[n] for n in columns],
        },
        scale=2,
    )


def render(table: dict[str, dict[str, list[float]]]) -> str:
    """A markdown table: mean and 95 % interval of the mean over clips."""
    metrics = list(next(iter(table.values())))
    lines = ["| method | " + " | ".join(metrics) + " |", "|---" * (len(metrics) + 1) + "|"]
    for method, values in table.items():
        cells = []
        for metric in metrics:
            v = np.array(values[metric])
            v = v[~np.isnan(v)]
            cells.append(f"{v.mean():.3f} ± {1.96 * v.std(ddof=1) / len(v) ** 0.5 if len(v) > 1 else float('nan'):.3f}")
        lines.append(f"| {method} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


@hydra.main(config_path="conf", config_name="eval", version_base="1.3")
def main(config: DictConfig) -> None:
    try:
        table = evaluate(config)
    except InputError as error:
        print(f"eval.py: {error}", file=sys.stderr)
        sys.exit(2)
    text = (
        f"{config.clips} held-out cartoon clips ({config.style}, {config.frames} frames of {config.width}x"
        f"{config.height}), each from its first frame; mean and 95 % interval over clips\n\n{render(table)}\n"
    )
    print(text)
    (Path(config.out) / "table.md").write_text(text)
    (Path(config.out) / "scores.json").write_text(json.dumps(table, indent=1))


if __name__ == "__main__":
    main()
