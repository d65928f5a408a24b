"""What training logs of the paper's metrics: the numbers of the clips it paints, on any number of ranks, in time."""

from __future__ import annotations

import csv
import subprocess
import sys

import lightning
import pytest
import torch
from omegaconf import OmegaConf

from lvcd.data.datamodule import VALIDATION_SEED, CartoonClips, CartoonDataModule, pack
from lvcd.errors import InputError
from lvcd.metrics import EDMD, PSNR, SSIM
from lvcd.training import FineTuneModule
from lvcd.training.callbacks import Scores
from lvcd.training.plan import plan_training
from tests.helpers.configs import composed
from tests.helpers.paths import ROOT
from tests.helpers.processes import CEILING
from tests.helpers.scores_ranks import scored
from tests.helpers.toys import toy_networks
from tests.helpers.wandb_file import finished_records, history

pytestmark = pytest.mark.slow

COLUMNS = {
    f"val/{name}"
    for name in (
        "FrechetDistance[shift-tolerant-alex]", "FVD", "ShiftTolerantLPIPS", "PSNR", "PSNR[moving]", "SSIM", "EDMD",
        "TC", "SegmentAccuracy", "SegmentAccuracy[moving]",
    )
}  # fmt: skip


@pytest.fixture(scope="module")
def one() -> tuple:
    return scored(1)


def test_the_numbers_are_those_of_the_clips_that_the_networks_paint(one):
    module, logged = one
    assert COLUMNS - {"val/FVD"} | {"val/loss", "scores/seconds"} == logged.keys()  # four frames are too few for it
    pipeline = module.networks.pipeline()
    pipeline.set_progress_bar_config(disable=True)
    metrics = {"EDMD": EDMD(size=None), "PSNR": PSNR(size=None), "SSIM": SSIM(size=None)}
    for i in range(3):
        clip = pack(CartoonClips(4, VALIDATION_SEED, 4, 32, 48, ["shapes"], 24), [i]).to("cpu")
        frames, sketches = clip.frames / 2 + 0.5, clip.sketches
        painted = pipeline(
            frames[0, 0], sketches[0, 1:], reference_sketch=sketches[0, 0], num_inference_steps=1, overlap=1,
            generator=torch.Generator().manual_seed(i), output_type="pt",
        ).frames  # fmt: skip
        metrics["EDMD"].update(painted, sketches[:, 1:])
        metrics["PSNR"].update(painted, frames[:, 1:])
        metrics["SSIM"].update(painted, frames[:, 1:])
    for name, metric in metrics.items():
        assert logged[f"val/{name}"] == pytest.approx(metric.compute().item(), rel=1e-4)


def test_two_ranks_log_what_one_logs(one, tmp_path):
    """Two clips on one rank, one on the other."""
    command = [sys.executable, "-m", "tests.helpers.scores_ranks", "2", str(tmp_path / "2.pt")]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=CEILING)
    assert done.returncode == 0, done.stderr[-2000:]
    two = torch.load(tmp_path / "2.pt", weights_only=True)
    for name in COLUMNS - {"val/FVD"}:
        assert two[name] == pytest.approx(one[1][name], rel=1e-5), name


def test_train_py_logs_them_to_csv_and_wandb(tmp_path, monkeypatch, capsys):
    from lvcd.cli.train import train

    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.chdir(ROOT)
    words = [
        "experiment=mini_cpu", "logger=wandb", f"run_dir={tmp_path}",
        "data.height=32", "data.width=48", "data.workers=0",
        "trainer.max_steps=3", "trainer.val_check_interval=1", "trainer.limit_val_batches=1",
        "callbacks.scores.clips=2",
        "module.networks.settings.steps=1", "trainer.log_every_n_steps=1",
        "callbacks.speed.peak_flops=1e12",
    ]  # fmt: skip
    config = composed("train", *words)
    train(config)
    with (tmp_path / "csv" / "version_0" / "metrics.csv").open() as file:
        rows = [{k: float(v) for k, v in row.items() if v} for row in csv.DictReader(file)]
    mine = [row for row in rows if "val/FVD" in row]
    assert len(mine) == 1 and mine[0].keys() >= COLUMNS  # the first of three: the others did not fit in a tenth
    assert max(row.get("scores/skipped", 0) for row in rows) == 2
    output = capsys.readouterr().out
    assert output.count("no scores this time") == 2
    assert output.count("val/FVD: ") == 1 and "400 features" in output
    clip = plan_training(OmegaConf.to_container(config, resolve=True)).flops_per_clip
    speeds = [row for row in rows if "speed/mfu" in row]
    assert len(speeds) == 3
    assert all(row["speed/mfu"] == pytest.approx(row["speed/clips_per_s"] * clip / 1e12, rel=1e-4) for row in speeds)
    (file,) = tmp_path.glob("wandb/offline-run-*/*.wandb")
    theirs = [row for row in history(finished_records(file)) if "val/FVD" in row]
    assert len(theirs) == 1 and all(theirs[0][name] == pytest.approx(mine[0][name], rel=1e-6) for name in COLUMNS)


class Clock:
    """A module whose steps and scores take as long as they are set to."""

    def __init__(self, monkeypatch):
        self.now = 0.0
        monkeypatch.setattr("lvcd.training.callbacks.scores.time.perf_counter", lambda: self.now)


def test_the_share_of_the_time_is_kept(monkeypatch):
    clock = Clock(monkeypatch)
    trainer = lightning.Trainer(logger=False, enable_checkpointing=False, enable_progress_bar=False)
    module = FineTuneModule(toy_networks(), "none")
    trainer.strategy.connect(module)
    logged: list[dict] = []
    module.log_dict = lambda values, **_: logged.append(values)
    module.log = lambda name, value, **_: logged.append({name: value})
    scores = Scores(clips=1, max_time_fraction=0.1)
    scores.suite = type("Empty", (), {"to": lambda *_: None})()
    trainer.datamodule = CartoonDataModule(3, 32, 48, 1)

    def ten_seconds(*_):
        clock.now += 10
        return {"val/FVD": 1.0}

    monkeypatch.setattr(scores, "_scores", ten_seconds)
    scores.on_train_start(trainer, module)
    began, taken = clock.now, []
    for _ in range(40):
        clock.now += 25
        before = clock.now
        scores.on_validation_epoch_end(trainer, module)
        taken.append(clock.now > before)
    assert taken[0] and sum(taken) > 5 and 10 * sum(taken) <= 0.1 * (clock.now - began) + 1e-6
    assert scores.skipped == 40 - sum(taken) == sum("scores/skipped" in values for values in logged)


def test_what_cannot_be_scored_is_left_alone_and_bad_settings_are_refused(tmp_path):
    trainer = lightning.Trainer(logger=False, enable_checkpointing=False, enable_progress_bar=False)
    module = FineTuneModule(toy_networks(), "none")
    for data in (None, lightning.LightningDataModule()):
        trainer.datamodule = data
        scores = Scores()
        scores.setup(trainer, module, "fit")
        scores.on_validation_epoch_end(trainer, module)
        assert scores.suite is None
    trainer.datamodule = CartoonDataModule(3, 32, 48, 1)
    with pytest.raises(InputError, match="check the path"):
        Scores(raft=tmp_path / "none.pth").setup(trainer, module, "fit")
    for wrong in ({"frames": 0}, {"max_time_fraction": 0.0}, {"max_time_fraction": 1.1}, {"steps": 0}, {"clips": -1}):
        with pytest.raises(InputError, match="give at least"):
            Scores(**wrong)
