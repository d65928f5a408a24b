"""What only a GPU can show. Skipped without one."""

from __future__ import annotations

import csv
import math
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.ndimage import distance_transform_edt

from lvcd.data.batch import Batch
from lvcd.errors import InputError
from lvcd.metrics import EDMD, FVD, I3D, PSNR, SSIM, TC, SegmentAccuracy, ShiftTolerantLPIPS, Suite
from lvcd.metrics.base import Reported
from lvcd.metrics.distance import distance_map
from lvcd.metrics.edmd import edmd_from_lines
from lvcd.training.muon import MuonAdamW
from tests.helpers.configs import composed
from tests.helpers.paths import ROOT
from tests.helpers.processes import CEILING
from tests.helpers.toys import toy_pipeline

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device"),
]


def paint(pipeline):
    torch.manual_seed(0)
    reference, sketches = torch.rand(3, 32, 48), torch.rand(9, 1, 32, 48).round()
    generator = torch.Generator().manual_seed(1)  # noise is drawn on the CPU, whatever the device
    return pipeline(reference, sketches, overlap=2, reference_frame=0, generator=generator, output_type="pt").frames


@pytest.fixture
def exact():
    before = torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    yield
    torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32 = before


# --- painting ---------------------------------------------------------------------------------------------------------


def test_the_gpu_paints_what_the_cpu_does(exact):
    torch.testing.assert_close(paint(toy_pipeline().to("cuda")), paint(toy_pipeline()), atol=2e-3, rtol=0)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_stays_close(dtype):
    full, half = paint(toy_pipeline().to("cuda")), paint(toy_pipeline().to("cuda", dtype))
    assert half.isfinite().all() and (half - full).abs().mean() < 0.05


def test_the_model_in_the_box_paints_the_same_clip_in_half_precision():
    """As eval.py does it: float16 on a GPU, float32 on a CPU. A level of 8 bits is 0.004, and files round to it; on a
    CPU float16 is off by 0.0001 in the mean."""
    from lvcd.evaluation.methods.ours import Ours
    from lvcd.evaluation.testset import Protocol, TestSet
    from lvcd.weights import MINI

    where = ROOT / "data" / "cartoons" / "test_style"
    (clip,) = TestSet(Protocol("test", where, clips=1, frames=9, height=80, width=144))
    full, half = (
        Ours(MINI, device=device).paint(clip.reference, clip.reference_sketch, clip.sketches, seed=0)
        for device in ("cpu", "cuda")
    )
    assert half.shape == clip.original.shape
    apart = (half - full).abs()
    assert apart.mean() < 0.001 and apart.flatten().kthvalue(int(0.99 * apart.numel())).values < 0.004
    assert (full - clip.original).abs().mean() > 10 * apart.mean()  # it is as good a painting as the other


# --- metrics ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [(1, 1), (64, 96), (256, 256), (333, 517)])
def test_distance_maps_are_exact(size):
    """Against scipy, from one line pixel to a frame full of them; the largest frames go in several parts."""
    rng = np.random.default_rng(0)
    lines = np.stack([rng.random(size) < share for share in (1e-4, 1e-3, 0.01, 0.3, 1.0)])
    lines[:, rng.integers(size[0]), rng.integers(size[1])] = True
    want = np.stack([distance_transform_edt(~frame) for frame in lines])
    got = distance_map(torch.from_numpy(lines).to("cuda"))
    assert got.is_cuda and torch.equal(got.cpu(), torch.from_numpy(want))


def test_a_frame_without_a_line_is_as_far_as_its_diagonal_is_long():
    lines = torch.zeros(2, 6, 8, dtype=torch.bool, device="cuda")
    lines[1, 2, 3] = True
    got = distance_map(lines).cpu()
    assert torch.equal(got[0], torch.full((6, 8), 10.0, dtype=torch.float64)) and got[1].max() < 10


def test_edmd_of_the_same_lines_is_the_same():
    rng = torch.Generator().manual_seed(0)
    masks = [torch.rand(2, 3, 1, 90, 130, generator=rng) < 0.01 for _ in range(2)]
    ours = edmd_from_lines(*(mask.to("cuda") for mask in masks))
    torch.testing.assert_close(ours.cpu(), edmd_from_lines(*masks), rtol=1e-12, atol=0)


def clips(b: int = 3, t: int = 10, side: int = 96) -> tuple[torch.Tensor, ...]:
    """preds, target, sketches of bars that walk over a ground, in flat colors of 8 bits with dark edges; preds are
    paler, all but those of the first clip too pale, and a pixel beside the lines in every third frame."""
    rng = torch.Generator().manual_seed(0)
    target = torch.rand(b, 1, 3, 1, 1, generator=rng).expand(b, t, 3, side, side).clone()
    sketches = torch.zeros(b, t, 1, side, side)
    for i in range(b):
        color = torch.rand(3, 1, 1, generator=rng)
        for k in range(t):
            x = 4 + 2 * k + 3 * i
            target[i, k, :, 12:70, x : x + 16] = color
            for edge in (x, x + 15):
                target[i, k, :, 12:70, edge] = 0
                sketches[i, k, :, 12:70, edge] = 1
    preds = target.lerp(torch.ones(()), torch.linspace(0.05, 0.3, b).view(b, 1, 1, 1, 1))
    preds[:, ::3] = preds[:, ::3].roll(1, -1)
    return *((x * 255).round() / 255 for x in (preds, target)), sketches


def darkness(frames: torch.Tensor) -> torch.Tensor:
    return (frames.amax(1, keepdim=True) < 0.2).float()


METRICS: dict[str, tuple[Callable[[], Reported], float]] = {
    # All sum in float64; what is left is the rounding of float32 where frames are resized or seen by a network.
    "PSNR": (lambda: PSNR(), 1e-5),
    "PSNR[moving]": (lambda: PSNR(moving=True), 1e-3),  # pixels that move by the threshold after resizing may turn
    "SSIM": (lambda: SSIM(), 1e-5),
    "SegmentAccuracy": (lambda: SegmentAccuracy(), 1e-12),  # counts
    "SegmentAccuracy[moving]": (lambda: SegmentAccuracy(moving=True), 1e-12),
    "TC": (lambda: TC(size=None), 1e-4),  # the flow comes from the same 8-bit levels, and is warped in float32
    "EDMD[darkness]": (lambda: EDMD(darkness, size=None), 1e-12),
    "EDMD": (lambda: EDMD(), 0.02),  # XDoG by kornia and by OpenCV: one pixel of a thousand differs, by a level
    "FVD": (lambda: FVD(), 2e-3),  # of logits that agree to 1e-5, from few clips, whose covariances nearly cancel
    "ShiftTolerantLPIPS": (lambda: ShiftTolerantLPIPS(), 1e-3),
}


@pytest.mark.filterwarnings("ignore:.*too few")
@pytest.mark.parametrize("column", METRICS)
def test_a_metric_has_the_value_of_the_cpu(column):
    """Without `exact`: metrics keep TF32 out by themselves."""
    make, tolerance = METRICS[column]
    found = {}
    for device in ("cpu", "cuda"):
        try:
            suite = Suite([make()]).to(device)
        except InputError as error:  # a package of weights
            pytest.skip(str(error))
        suite.update(*(x.to(device) for x in clips()), torch.arange(3))
        [found[device]] = suite.reports().values()
    cpu, gpu = found["cpu"], found["cuda"]
    assert math.isfinite(cpu["value"]) and cpu["value"] > 0
    assert gpu["value"] == pytest.approx(cpu["value"], rel=tolerance)
    assert gpu["n"] == cpu["n"] == 3 and gpu["notes"] == cpu["notes"]
    assert [gpu["interval"][end] for end in ("low", "high")] == pytest.approx(
        [cpu["interval"][end] for end in ("low", "high")], rel=10 * tolerance, abs=1e-9
    )


@pytest.mark.parametrize(("t", "published", "within"), [(16, 152.9, 0.3), (10, 569.8, 0.7)])
def test_zeros_against_ones_as_published(t, published, within):
    """As tests/metrics/test_i3d.py has it."""
    try:
        fvd = FVD(I3D(), size=None).to("cuda")
    except InputError as error:
        pytest.skip(str(error))
    fvd.update(torch.zeros(2, t, 3, 64, 64, device="cuda"), real=True)
    fvd.update(torch.ones(2, t, 3, 64, 64, device="cuda"), real=False)
    assert fvd.compute().item() == pytest.approx(published, abs=within)


# --- training ---------------------------------------------------------------------------------------------------------


def batch(height: int = 32, width: int = 48, window: int = 3) -> Batch:
    rng = torch.Generator().manual_seed(0)
    t = window + 1
    frames = torch.rand(2, t, 3, height // 8, width // 8, generator=rng).repeat_interleave(8, 3).repeat_interleave(8, 4)
    sketches = (torch.rand(2, t, 1, height, width, generator=rng) < 0.1).float()
    return Batch(sketches, torch.full((2,), 6.0), 2 * frames - 1)


def module(words: list[str]):
    """FineTuneModule of conf/module/mini.yaml, all of whose branches say something."""
    from hydra.utils import instantiate

    vae = "module.networks.vae=mini_vae"
    config = composed("train", "experiment=mini_cpu", vae, *words)
    torch.manual_seed(0)
    made = instantiate(config.module, _convert_="all")
    rng = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for p in made.parameters():
            p.add_(0.02 * torch.randn(p.shape, generator=rng))
    return made


def step(made, device: str, half: torch.dtype | None) -> tuple[float, dict[str, torch.Tensor]]:
    """Loss and gradients of a training step, brought to the CPU."""
    made = made.to(device)
    made.zero_grad()
    for encoder in made.networks.encoders:
        encoder.to(device)
    with torch.autocast(device, half, enabled=half is not None):
        loss = made.training_step(batch().to(device), 0)["loss"]
    loss.backward()
    return loss.item(), {name: p.grad.float().cpu() for name, p in made.named_parameters() if p.grad is not None}


def apart(ours: dict[str, torch.Tensor], theirs: dict[str, torch.Tensor]) -> float:
    """Norm of the difference of all gradients, as a share of theirs."""
    assert ours.keys() == theirs.keys()
    difference = sum((ours[name] - theirs[name]).square().sum() for name in theirs)
    return float((difference / sum(g.square().sum() for g in theirs.values())).sqrt())


@pytest.fixture(scope="module")
def stepped() -> tuple:
    """The mini module, and its step on the CPU in float32."""
    with pytest.MonkeyPatch.context() as patch:
        same_noise(patch)
        made = module([])
        return made, *step(made, "cpu", None)


def same_noise(patch: pytest.MonkeyPatch) -> None:
    """A GPU's own noise is another: here that of the CPU."""
    name = "lvcd.training.finetune.draw_noise"
    patch.setattr(name, lambda like, generator, seed: torch.randn(like.shape, generator=generator))


# A bfloat16 has 8 bits. On a CPU the loss is then off by 5e-5 of itself, the gradients by 0.012: a few times that.
@pytest.mark.parametrize(
    ("half", "loss_within", "gradients_within"), [(None, 1e-4, 1e-3), (torch.bfloat16, 2e-3, 0.05)]
)
def test_a_training_step_is_that_of_the_cpu(exact, stepped, monkeypatch, half, loss_within, gradients_within):
    same_noise(monkeypatch)
    made, loss, gradients = stepped
    ours, theirs = step(made, "cuda", half)
    assert ours == pytest.approx(loss, rel=loss_within)
    assert all(g.isfinite().all() for g in theirs.values())
    assert apart(theirs, gradients) < gradients_within


def test_a_seed_has_its_noise():
    """Drawn on the GPU: the same for a clip whatever the batch, and normal."""
    from lvcd.training import finetune

    like = torch.empty(15, 8, 64, 64, device="cuda")

    def drawn(seed: int) -> torch.Tensor:
        return finetune.draw_noise(like, torch.Generator().manual_seed(seed), seed)

    one, again, other = drawn(1), drawn(1), drawn(2)
    assert torch.equal(one, again) and not torch.equal(one, other)
    assert abs(one.mean()) < 0.01 and abs(one.std() - 1) < 0.01 and abs((one * other).mean()) < 0.01
    assert drawn(2**63 - 1).isfinite().all()  # seeds have up to 63 bits


@pytest.mark.parametrize(("half", "within"), [(None, 1e-4), (torch.bfloat16, 0.02)])
def test_checkpointing_changes_no_gradient(exact, half, within):
    """But for the order in which a GPU adds."""
    plain, saving = (
        module(["module.correspondence_weight=0"]),
        module(["module.correspondence_weight=0", "module.gradient_checkpointing=true"]),
    )
    (loss, gradients), (again, same) = step(plain, "cuda", half), step(saving, "cuda", half)
    assert again == pytest.approx(loss, rel=within) and apart(same, gradients) < within


def test_muon_steps_as_on_the_cpu():
    """A GPU makes its matrices orthogonal in bfloat16, which puts them 1.7 % off."""
    rng = torch.Generator().manual_seed(0)
    shapes = [(48, 32), (32, 48), (48, 32), (16, 8, 3, 3), (64, 64), (24, 24, 3, 1, 1), (48,), (7,)]
    start = [torch.randn(shape, generator=rng) for shape in shapes]
    gradients = [[torch.randn(shape, generator=rng) for shape in shapes] for _ in range(4)]
    found = {}
    for device in ("cpu", "cuda"):
        weights = [torch.nn.Parameter(x.clone().to(device)) for x in start]
        matrices, vectors = ([p for p in weights if (p.ndim >= 2) is kind] for kind in (True, False))
        groups = [{"params": matrices, "matrices": True, "lr": 0.02}, {"params": vectors}]
        optimizer = MuonAdamW(groups, lr=0.01, weight_decay=0.1)
        for each in gradients:
            for p, g in zip(weights, each):
                p.grad = g.to(device)
            optimizer.step()
        found[device] = [p.detach().cpu() for p in weights]
    for first, cpu, gpu in zip(start, found["cpu"], found["cuda"]):
        within = 0.05 if first.ndim >= 2 else 1e-5
        assert (gpu - cpu).norm() < within * (cpu - first).norm()


# --- a run ------------------------------------------------------------------------------------------------------------


def train(run: Path, *words: str) -> str:
    """train.py as it is started, with what conf/ says but for size and length; => what it printed."""
    small = [
        "data.height=32", "data.width=48", "data.batch_size=4", "data.sampling.window=3", "trainer.limit_val_batches=1",
        "trainer.val_check_interval=4", "trainer.log_every_n_steps=2",
    ]  # fmt: skip
    command = [sys.executable, "train.py", "experiment=mini_cpu", "trainer=gpu", f"run_dir={run}", *small, *words]
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "WANDB_MODE": "offline"}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=CEILING)
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


def rows(run: Path, version: int) -> Iterator[dict[str, float]]:
    with (run / "csv" / f"version_{version}" / "metrics.csv").open() as file:
        for row in csv.DictReader(file):
            yield {name: float(value) for name, value in row.items() if value}


def test_a_run_ends_with_a_model_and_goes_on(tmp_path):
    """Eight steps and their two validations; then four more from the checkpoint of the last."""
    pytest.importorskip("av")
    from lvcd.io.movies import write_movie
    from lvcd.pipeline import LineartVideoPipeline

    run, words = tmp_path / "run", []
    try:
        write_movie(tmp_path / "try.mp4", [np.zeros((32, 48, 3), np.uint8)] * 2, 12.0)
    except Exception:  # a PyAV without encoders
        words.append("callbacks.samples=null")
    out = train(run, *words, "trainer.max_steps=8")
    assert f"steps 0 to 8 of 4 clips, 4 frames of 48x32 px as pixels, on 1 x {torch.cuda.get_device_name()}" in out
    assert "in bf16-mixed" in out and "the trained model is in" in out
    first = [*rows(run, 0)]
    losses = [row[name] for row in first for name in ("train/loss", "val/loss", "gradient/norm") if name in row]
    assert len(losses) >= 10 and all(math.isfinite(x) for x in losses)
    assert 0 < max(row.get("speed/memory_GiB", 0) for row in first) < 8
    assert (run / "model" / "model_index.json").is_file()
    checkpoint = torch.load(run / "checkpoints" / "last.ckpt", weights_only=True, map_location="cpu")
    assert checkpoint["global_step"] == 8
    out = train(run, *words, "trainer.max_steps=12", "resume=true")
    assert "steps 8 to 12 of 4 clips" in out and "the trained model is in" in out
    assert min(row["step"] for row in rows(run, 1)) >= 8
    pipeline = LineartVideoPipeline.from_pretrained(run / "model", torch_dtype=torch.float16).to("cuda")
    pipeline.set_progress_bar_config(disable=True)
    assert paint(pipeline).isfinite().all()
