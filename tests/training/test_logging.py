"""What a run tells of itself: read back from W&B's own file, from the CSV, from the pictures."""

from __future__ import annotations

import csv
import os
import struct
from contextlib import nullcontext, redirect_stderr, redirect_stdout
from pathlib import Path
from typing import NamedTuple

import lightning
import numpy as np
import pytest
import torch
from lightning.pytorch.callbacks import LearningRateMonitor, ModelCheckpoint
from PIL import Image
from torchmetrics.functional.image import peak_signal_noise_ratio

from lvcd.errors import InputError
from lvcd.io.reader import open_frames
from lvcd.loggers import REDACTED, Csv, Wandb, has_key, log_config, redact, tensorboard
from lvcd.training import FineTuneModule, Optimization
from lvcd.training.callbacks import Ema, GradientNorm, ProgressLine, Samples, SigmaLoss, Speed
from tests.helpers.configs import composed
from tests.helpers.fitting import clips
from tests.helpers.toys import toy_networks
from tests.helpers.wandb_file import config, finished_records, history

pytestmark = pytest.mark.slow

SECRET = "hunter2-of-all-things"
CONFIG = {
    "seed": 3,
    "module": {"unet": "none", "optimization": {"lr": 1e-3}},
    "data": {"shards": f"https://me:{SECRET}@host/clips?sig={SECRET}", "api_key": SECRET},
}


class Toys(lightning.LightningDataModule):
    def train_dataloader(self):
        return torch.utils.data.DataLoader(range(6), batch_size=1, collate_fn=lambda _: clips(1))

    def val_dataloader(self):
        return torch.utils.data.DataLoader(range(2), batch_size=1, collate_fn=lambda i: clips(1, first=i[0]))


def fit(run: Path, steps: int, loggers: list, callbacks: list = [], resume: Path | None = None, data=None):  # noqa: B006
    module = FineTuneModule(toy_networks(), "none", Optimization(1e-3, warmup_steps=2))
    trainer = lightning.Trainer(
        accelerator="cpu", max_steps=steps, callbacks=callbacks, logger=loggers, log_every_n_steps=1,
        val_check_interval=2, num_sanity_val_steps=0, enable_progress_bar=False, enable_model_summary=False,
        default_root_dir=run, enable_checkpointing=any(isinstance(c, ModelCheckpoint) for c in callbacks),
    )  # fmt: skip
    log_config(loggers, CONFIG)
    trainer.fit(module, data or Toys(), ckpt_path=resume, weights_only=True)
    return module, trainer


class Norms(lightning.Callback):
    """What PyTorch says of the gradients."""

    def __init__(self):
        self.seen: list[float] = []

    def on_before_optimizer_step(self, trainer, module, optimizer):
        gradients = [p.grad for p in module.parameters() if p.grad is not None]
        self.seen.append(float(torch.nn.utils.get_total_norm(gradients)))


def everything(run: Path, norms: Norms) -> list:
    return [
        ProgressLine(),
        Ema(0.9),
        SigmaLoss(),
        GradientNorm(),
        Speed(1e9, 1e12),
        Samples(str(run / "samples"), steps=2),
        LearningRateMonitor("step"),
        ModelCheckpoint(run / "checkpoints", filename="best", save_last=True, every_n_train_steps=2),
        norms,
    ]


class LoggedRun(NamedTuple):
    run: Path
    files: list[Path]
    """Of W&B, one for each start."""
    records: list[list]
    printed: str
    norms: list[float]


@pytest.fixture(scope="module")
def logged_run(tmp_path_factory) -> LoggedRun:
    """A run of two steps, which then goes on for two more, and again for two more."""
    run, norms = tmp_path_factory.mktemp("logged_run") / "run", Norms()
    printed = (run.parent / "printed").open("w+")
    with pytest.MonkeyPatch.context() as patch, redirect_stdout(printed), redirect_stderr(printed):
        patch.delenv("WANDB_API_KEY", raising=False)
        patch.delenv("WANDB_MODE", raising=False)
        patch.setenv("NETRC", str(run / "none"))
        last = run / "checkpoints" / "last.ckpt"
        fit(run, 2, [Csv(str(run), 1), Wandb(str(run))], everything(run, norms))
        for steps in (4, 6):
            fit(run, steps, [Csv(str(run), 1), Wandb(str(run), resume=True)], everything(run, norms), last)
    printed.seek(0)
    files = sorted(run.glob("wandb/offline-run-*/*.wandb"), key=lambda f: f.stat().st_ctime_ns)
    return LoggedRun(run, files, [finished_records(f) for f in files], printed.read(), norms.seen)


def rows(run: Path, version: int) -> list[dict[str, float]]:
    with (run / "csv" / f"version_{version}" / "metrics.csv").open() as file:
        return [{k: float(v) for k, v in row.items() if v} for row in csv.DictReader(file)]


def test_wandb_has_what_the_csv_has(logged_run):
    run, runs = logged_run.run, logged_run.records
    for version, seen in enumerate(runs):
        theirs = [row for row in history(seen) if "train/loss" in row]
        mine = [row for row in rows(run, version) if "train/loss" in row]
        assert len(mine) == 2
        columns = {
            "train/loss", "gradient/norm", "speed/clips_per_s", "speed/frames_per_s", "speed/wait", "speed/memory_GiB",
            "speed/mfu",
        }  # fmt: skip
        for a, b in zip(theirs, mine, strict=True):
            assert columns <= a.keys() and columns <= b.keys()
            for name in columns:
                assert a[name] == pytest.approx(b[name], rel=1e-6)
        names = {name for row in history(seen) for name in row}
        assert {"val/loss", "lr-AdamW/controlnet", "samples/psnr"} <= names
        assert any(name.startswith("sigma/") for name in names)
    steps = [row["trainer/global_step"] for seen in runs for row in history(seen) if "train/loss" in row]
    assert steps == [0, 1, 2, 3, 4, 5]


def test_a_run_that_goes_on_is_the_same_run(logged_run):
    run, files, runs, printed, _ = logged_run
    identity = (run / "wandb_id.txt").read_text().split()[0]
    assert {r.run.run_id for seen in runs for r in seen if r.WhichOneof("record_type") == "run"} == {identity}
    assert len(files) == 3 and identity in printed


def test_entries_of_a_run_that_was_stopped_twice_are_one_curve(logged_run):
    """W&B's own numbers go on: a folder that is sent after another neither hides nor repeats its entries."""
    numbers = [[row["_step"] for row in history(seen)] for seen in logged_run.records]
    assert len(numbers) == 3 and all(numbers)
    joined = sum(numbers, [])
    assert joined == list(range(len(joined)))
    (_, noted) = (logged_run.run / "wandb_id.txt").read_text().split()
    assert int(noted) == len(joined)


def test_the_configuration_is_there_and_no_secret(logged_run):
    run, _, runs, printed, _ = logged_run
    for seen in runs:
        logged = config(seen)
        assert logged["seed"] == 3 and logged["module"] == CONFIG["module"]
        assert logged["data"] == {"shards": f"https://{REDACTED}@host/clips?{REDACTED}", "api_key": REDACTED}
    assert SECRET not in printed
    for file in run.rglob("*"):
        assert not file.is_file() or SECRET.encode() not in file.read_bytes(), file


def test_media_and_checkpoints_are_there(logged_run):
    for file, seen in zip(logged_run.files, logged_run.records):
        rows = {name: value for row in history(seen) for name, value in row.items() if name.startswith("samples/")}
        images, video = rows["samples/sheet"], rows["samples/video"]
        assert images["count"] == 2 and all((file.parent / "files" / p).is_file() for p in images["filenames"])
        videos = video.get("videos", [video])
        assert len(videos) == 2 and all((file.parent / "files" / v["path"]).is_file() for v in videos)
        artifacts = [r for r in seen if r.WhichOneof("record_type") == "artifact" or r.request.HasField("log_artifact")]
        text = b"".join(r.SerializeToString() for r in artifacts)
        assert artifacts and b"model.ckpt" in text


def test_it_is_quiet_and_says_where(logged_run):
    run, printed = logged_run.run, logged_run.printed
    lines = printed.splitlines()
    assert sum("W&B" in line or "wandb" in line for line in lines) == 3, printed
    assert f"{run / 'wandb'}" in printed and "no key" in printed
    assert any("FineTuneModule: steps 0 to 2 of 1 clip, 4 frames of 48x32 px as pixels, on 1 x cpu" in s for s in lines)
    assert f"writes to {run}" in printed and "clips/s" in printed
    assert not any("gradient/" in line or "speed/" in line for line in lines)


# --- samples ----------------------------------------------------------------------------------------------------------


def test_sheets_and_movies_are_for_everybody(logged_run):
    run = logged_run.run
    names = sorted(p.name for p in (run / "samples").iterdir())
    assert names == sorted(f"step-{step:08d}-{i}.{end}" for step in (2, 4, 6) for i in (0, 1) for end in ("png", "mp4"))
    sheet = np.asarray(Image.open(run / "samples" / "step-00000002-0.png"))
    reference = ((clips(1).frames[0, 0] / 2 + 0.5) * 255).round().byte().permute(1, 2, 0).numpy()
    large = reference.repeat(5, 0).repeat(5, 1)
    assert np.array_equal(sheet[22 : 22 + 160, 6 : 6 + 240], large)
    assert sheet.shape[1] == 6 + 3 * (240 + 6)  # all of the three frames
    with open_frames(run / "samples" / "step-00000002-0.mp4") as movie:
        assert len(movie) == 3 and movie[0].shape == (32, 4 * 48 + 3 * 4, 3)


def test_the_average_paints_and_leaves_no_trace(tmp_path):
    """With an average that is not the weights, the samples are those of a pipeline that has the average."""
    seen = {}

    class Watch(Samples):
        def on_validation_epoch_end(self, trainer, module):
            before = torch.get_rng_state(), np.random.get_state()[1].tolist(), [m.training for m in module.modules()]
            types = {n: (p.dtype, p.device, p.requires_grad) for n, p in module.named_parameters()}
            super().on_validation_epoch_end(trainer, module)
            assert torch.equal(before[0], torch.get_rng_state()) and before[1] == np.random.get_state()[1].tolist()
            assert before[2] == [m.training for m in module.modules()]
            assert types == {n: (p.dtype, p.device, p.requires_grad) for n, p in module.named_parameters()}

        def _show(self, trainer, painted, psnr):
            seen["painted"], seen["average"] = painted, {k: v.clone() for k, v in ema.average.items()}
            seen["psnr"] = psnr[0]

    ema = Ema(0.9)
    samples = Watch(str(tmp_path), clips=1, steps=2, seed=5)
    fit(tmp_path, 2, [], [samples, ema])
    unpainted = FineTuneModule(toy_networks(), "none")
    clip = clips(1)
    unpainted.load_state_dict(seen["average"], strict=False)
    expected = unpainted.networks.pipeline()(
        clip.frames[0, 0] / 2 + 0.5, clip.sketches[0, 1:], reference_sketch=clip.sketches[0, 0],
        num_inference_steps=2, overlap=2, generator=torch.Generator().manual_seed(5), output_type="pt",
    ).frames[0]  # fmt: skip
    torch.testing.assert_close(seen["painted"][0], expected, rtol=0, atol=1e-5)
    theirs = peak_signal_noise_ratio(expected, clip.frames[0, 1:] / 2 + 0.5, data_range=1.0)
    assert seen["psnr"] == pytest.approx(float(theirs), abs=1e-3)


def test_a_validation_with_fewer_clips_than_samples_paints_each_once(tmp_path, monkeypatch):
    class One(Toys):
        def val_dataloader(self):
            return torch.utils.data.DataLoader(range(1), batch_size=1, collate_fn=lambda i: clips(1))

    painted = []
    samples = Samples(str(tmp_path), clips=3)
    monkeypatch.setattr(samples, "paint", lambda *_: painted.append([c.key for c in samples.clips]) or [])
    monkeypatch.setattr(samples, "_show", lambda *_: None)
    fit(tmp_path, 4, [], [samples], data=One())
    assert len(painted) == 2 and [len(keys) for keys in painted] == [1, 1]


def test_a_gpu_without_memory_for_samples_trains_on(tmp_path, monkeypatch, capsys):
    def paint(*_):
        raise torch.cuda.OutOfMemoryError("no memory")

    samples = Samples(str(tmp_path / "samples"))
    monkeypatch.setattr(samples, "paint", paint)
    _, trainer = fit(tmp_path, 2, [], [samples])
    assert trainer.global_step == 2 and "no samples" in capsys.readouterr().out
    assert not (tmp_path / "samples").exists()


def test_samples_under_mixed_precision_with_frozen_halves():
    from lightning.pytorch.plugins import MixedPrecision

    from lvcd.training.finetune import cast_frozen_weights

    module = FineTuneModule(toy_networks(), "none").eval()
    samples = Samples("nowhere", clips=1, steps=2)
    samples.on_validation_batch_end(type("T", (), {"is_global_zero": True}), module, None, clips(1), 0)
    full = samples.paint(module, nullcontext)[0]
    cast_frozen_weights(module, torch.bfloat16)
    half = samples.paint(module, MixedPrecision("bf16-mixed", "cpu").forward_context)[0]
    assert half.dtype == torch.float32 and float((half - full).abs().mean()) < 0.02


# --- numbers ----------------------------------------------------------------------------------------------------------


def test_the_gradient_norm_is_that_of_all_gradients(logged_run):
    logged = [
        row["gradient/norm"] for version in (0, 1, 2) for row in rows(logged_run.run, version) if "gradient/norm" in row
    ]
    assert logged == pytest.approx(logged_run.norms, rel=1e-5) and len(logged) == 6


def test_groups_have_norms_of_their_own():
    from lvcd.training.callbacks.gradient import sum_of_squares

    parameters = [torch.nn.Parameter(torch.zeros(n)) for n in (3, 2, 1)]
    parameters[0].grad, parameters[1].grad = torch.tensor([1.0, 2.0, 3.0]), torch.full((2,), -2.0)
    optimizer = torch.optim.SGD([{"params": parameters[:1], "name": "a"}, {"params": parameters[1:], "name": "b"}])
    callback, seen = GradientNorm(), []
    module = type("M", (), {"log_dict": staticmethod(seen.append)})
    trainer = type("T", (), {"global_step": 9, "log_every_n_steps": 10, "strategy": None})
    callback.on_before_optimizer_step(trainer, module, optimizer)
    assert {k: float(v) ** 2 for k, v in seen[0].items()} == pytest.approx(
        {"gradient/norm": 22, "gradient/a": 14, "gradient/b": 8}
    )
    assert float(sum_of_squares(parameters[2:])) == 0
    trainer.global_step = 10
    callback.on_before_optimizer_step(trainer, module, optimizer)
    assert len(seen) == 1


def test_speed_counts_clips_and_leaves_validation_out(monkeypatch):
    now = [0.0]
    monkeypatch.setattr("lvcd.training.callbacks.speed.time.perf_counter", lambda: now[0])
    trainer = type("T", (), {"world_size": 4, "accumulate_grad_batches": 2, "log_every_n_steps": 1, "global_step": 0})()
    speed, seen = Speed(flops_per_clip=3e12, peak_flops=1e13), []
    module = type("M", (), {"log_dict": staticmethod(seen.append)})

    def passes(seconds):
        now[0] += seconds

    speed.on_train_start(trainer, None)
    for index in range(2):
        passes(1)  # for the batch
        speed.on_train_batch_start(trainer, None, clips(2), index)
        passes(3)
        trainer.global_step = (index + 1) // 2
        speed.on_train_batch_end(trainer, module, None, clips(2), index)
    speed.on_validation_start(trainer, None)
    passes(100)
    speed.on_validation_end(trainer, None)
    (numbers,) = seen
    # 2 batches x 2 clips x 4 ranks in 8 s; 4 frames a clip; 2 clips/s x 3e12 of 4 x 1e13
    assert numbers["speed/clips_per_s"] == pytest.approx(2) and numbers["speed/frames_per_s"] == pytest.approx(8)
    assert numbers["speed/wait"] == pytest.approx(0.25) and numbers["speed/mfu"] == pytest.approx(0.15)
    assert 0 < numbers["speed/memory_GiB"] < 1000
    passes(2)
    speed.on_train_batch_start(trainer, None, clips(1), 2)
    trainer.accumulate_grad_batches = 1
    speed.on_train_batch_end(trainer, module, None, clips(1), 2)
    assert seen[1]["speed/clips_per_s"] == pytest.approx(2)  # 4 clips in 2 s, and not in 102


def test_samples_of_no_clip_are_refused():
    with pytest.raises(InputError, match="at least one"):
        Samples("x", clips=0)


# --- loggers ----------------------------------------------------------------------------------------------------------


def test_a_run_that_never_started_leaves_nothing(tmp_path, monkeypatch):
    monkeypatch.setenv("WANDB_MODE", "offline")

    class Broken(Toys):
        def setup(self, stage):
            raise InputError("there are no shards")

    run = tmp_path / "run"
    with pytest.raises(InputError, match="no shards"):
        fit(run, 2, [Csv(str(run)), Wandb(str(run))], data=Broken())
    assert list(run.iterdir()) == []


def test_tensorboard_has_the_sheet(tmp_path):
    pytest.importorskip("tensorboardX")
    from tensorboardX.proto.event_pb2 import Event

    fit(tmp_path, 2, [tensorboard(str(tmp_path))], [Samples(str(tmp_path / "samples"), clips=1, steps=2)])
    (file,) = tmp_path.rglob("events.out.*")
    data, at, tags = file.read_bytes(), 0, set()
    while at < len(data):  # a TFRecord: length (8), CRC (4), data, CRC (4)
        (length,) = struct.unpack_from("<Q", data, at)
        tags |= {v.tag for v in Event.FromString(data[at + 12 : at + 12 + length]).summary.value}
        at += 16 + length
    assert {"train/loss", "val/loss", "samples/psnr", "samples/0"} <= tags


def test_keys_are_looked_for_where_wandb_does(tmp_path, monkeypatch):
    for name in ("WANDB_API_KEY", "WANDB_BASE_URL", "WANDB_IDENTITY_TOKEN_FILE"):
        monkeypatch.delenv(name, raising=False)
    file = tmp_path / "netrc"
    monkeypatch.setenv("NETRC", str(file))
    assert not has_key()
    file.write_text("machine api.wandb.ai\n  login user\n  password " + "0" * 40)
    file.chmod(0o600)
    assert has_key()
    monkeypatch.setenv("WANDB_BASE_URL", "https://wandb.lab.example")
    assert not has_key()
    monkeypatch.setenv("WANDB_API_KEY", "0" * 40)
    assert has_key()


@pytest.mark.parametrize(
    ("name", "value", "seen"),
    [
        ("shards", "pipe:aws --secret x s3 cp s3://b/{} -", f"pipe:aws {REDACTED}"),
        ("shards", "s3://user:pw@bucket/a b", f"s3://{REDACTED}@bucket/a b"),
        ("shards", "https://h/x?X-Amz-Signature=1&b=2", f"https://h/x?{REDACTED}"),
        ("hf_token", "x", REDACTED),
        ("keys", "x", "x"),
        ("folder", "plain/path", "plain/path"),
        ("lr", 1e-3, 1e-3),
    ],
)
def test_what_is_hidden(name, value, seen):
    assert redact({"a": [{name: value}]}) == {"a": [{name: seen}]}


def test_configs_make_loggers(tmp_path):
    from hydra.utils import instantiate

    expected = {"csv": ["Csv"], "wandb": ["Csv", "Wandb"], "tensorboard": ["Csv", "TensorBoardLogger"]}
    for name, classes in {**expected, "all": ["Csv", "Wandb", "TensorBoardLogger"]}.items():
        config = composed("train", f"logger={name}", f"run_dir={tmp_path / 'run'}")
        assert [type(instantiate(one)).__name__ for one in config.logger.values()] == classes
    assert os.listdir(tmp_path) == []  # nothing is written before a run starts
