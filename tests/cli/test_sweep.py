"""Sweeps: of stages, one after the other, and of everything else; by every launcher that a machine alone can try."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest
from omegaconf import OmegaConf

from lvcd.cli.sweep import override_lists
from tests.helpers.configs import composed
from tests.helpers.paths import CONF, ROOT
from tests.helpers.processes import CEILING

APP = ROOT / "tests" / "helpers" / "sweep_app.py"
TINY = ["experiment=mini_cpu", "data.height=32", "data.width=48", "data.workers=0", "data.sampling.window=2",
        "callbacks.samples=null", "callbacks.scores=null", "trainer.precision=32-true", "trainer.max_steps=1",
        "trainer.val_check_interval=1", "trainer.limit_val_batches=1"]  # fmt: skip


def run(program: Path, *words: str) -> subprocess.CompletedProcess:
    environment = {**os.environ, "WANDB_MODE": "offline"}
    command, pipes = [sys.executable, str(program), *words], {"capture_output": True, "text": True}
    done = subprocess.run(command, cwd=ROOT, env=environment, timeout=CEILING, **pipes)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    return done


def reported(root: Path) -> dict[str, dict]:
    """Folder of a job, from `root` -> what it reported."""
    return {str(f.parent.relative_to(root)): json.loads(f.read_text()) for f in root.rglob("job.json")}


# --- stages -----------------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_stages_are_a_chain_of_real_trainings(tmp_path, typed, capfd):
    assert typed("train.py", "-m", *TINY, f"root={tmp_path}", "stage=80p,144p") == 0
    out = capfd.readouterr().out
    first = tmp_path / "mini_80p" / "checkpoints" / "best.ckpt"
    assert out.count("the trained model is in") == 2
    assert str(first) in out
    assert all((tmp_path / f"mini_{stage}" / "model" / "model_index.json").is_file() for stage in ("80p", "144p"))


def test_a_stage_whose_stage_before_is_not_there_is_told_in_one_line(tmp_path, typed, capfd):
    assert typed("train.py", *TINY, f"root={tmp_path}", "stage=144p") == 2
    err = capfd.readouterr().err
    assert err.count("\n") == 1 and f"{tmp_path}/mini_80p" in err
    assert not (tmp_path / "mini_144p").exists()


@pytest.mark.slow
def test_every_job_of_stages_and_ablations_has_a_folder_and_its_own_stage_before(tmp_path):
    run(
        APP,
        "-m",
        "experiment=lvcd_320p",
        "stage=320p,576p",
        "ablation=full,no_isolation",
        f"root={tmp_path}",
        "seed=1,2",
    )
    found = reported(tmp_path)
    assert set(found) == {
        f"lvcd{a}_{s}/seed={n}" for a in ("", "_no_isolation") for s in ("320p", "576p") for n in (1, 2)
    }
    for folder, job in found.items():
        where = Path(os.path.normpath(ROOT / job["run_dir"]))
        assert where == tmp_path / folder
        before = folder.replace("576p", "320p")
        assert job["after"] is None if "320p" in folder else Path(ROOT, job["after"]).resolve() == tmp_path / before
        config = composed("train", *job["words"])  # as other ranks are started
        assert (config.run_dir, config.stage.after) == (job["run_dir"], job["after"])


# --- launchers and searches -------------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("launcher", ["joblib", "submitit", "slurm", "ray"])
def test_jobs_side_by_side(launcher, tmp_path):
    words = ["experiment=mini_cpu", f"root={tmp_path}", f"launcher={launcher}", "module.optimization.lr=1e-4,1e-5"]
    if launcher == "slurm":
        if not shutil.which("sinfo") or subprocess.run(["sinfo"], capture_output=True).returncode:
            pytest.skip("no SLURM answers sinfo")
        words += [f"hydra.launcher.{name}" for name in ("gpus_per_node=null", "tasks_per_node=1", "cpus_per_task=1")]
    if launcher == "ray":
        pytest.importorskip("hydra_plugins.hydra_ray_launcher", reason="hydra-ray-launcher is not installed")
    run(APP, "-m", *words)
    assert {folder: job["lr"] for folder, job in reported(tmp_path).items()} == {
        "mini_80p/module.optimization.lr=0.0001": 1e-4,
        "mini_80p/module.optimization.lr=1e-05": 1e-5,
    }


@pytest.mark.slow
def test_a_search_by_optuna_goes_on_where_a_trial_fails(tmp_path):
    """Rates of 1e-3 and more fail: of 1e-5 to 1e-1, half."""
    words = [
        "experiment=mini_cpu",
        f"root={tmp_path}",
        "sweep=optuna",
        "module.optimization.lr=tag(log,interval(1e-5,1e-1))",
    ]
    study = f"hydra.sweeper.storage=sqlite:///{tmp_path}/study.db"
    run(APP, "-m", *words, study, "hydra.sweeper.n_trials=4", "hydra.sweeper.sampler.seed=0")
    rates = sorted(job["lr"] for job in reported(tmp_path).values())
    assert len(rates) == 4 and rates[0] < 1e-3 < rates[-1]
    best = OmegaConf.load(tmp_path / "mini_80p" / "optimization_results.yaml")
    assert best.best_value == pytest.approx(rates[0]) and set(best.best_params) == {
        "module.optimization.lr",
        "module.sigma_mean",
    }


@pytest.mark.parametrize(
    ("word", "there", "message"),
    [
        ("launcher=slurm", shutil.which("srun"), "srun"),
        (
            "launcher=ray",
            find_spec("hydra_plugins.hydra_ray_launcher"),
            "pip install hydra-ray-launcher",
        ),
    ],
)
def test_what_is_not_here_is_told_in_one_line(word, there, message, tmp_path, typed, capfd):
    if there:
        pytest.skip(f"{word} is possible here")
    assert typed("train.py", "-m", *TINY, f"root={tmp_path / 'runs'}", word) == 2
    err = capfd.readouterr().err
    assert err.count("\n") == 1 and message in err
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize("name", [f.stem for f in (CONF / "train" / "launcher").glob("*.yaml")])
def test_every_launcher_is_made(name):
    from hydra.core.plugins import Plugins
    from hydra.types import HydraContext

    if name == "ray":
        pytest.importorskip("hydra_plugins.hydra_ray_launcher")
    config = composed("train", "experiment=mini_cpu", f"launcher={name}", hydra=True)
    made = Plugins.instance().instantiate_launcher(
        config=config, hydra_context=HydraContext(config_loader=None, callbacks=None), task_function=lambda _: None
    )
    assert type(made).__name__.lower() == {
        "local": "basiclauncher", "joblib": "jobliblauncher", "slurm": "slurmlauncher", "submitit": "locallauncher",
        "ray": "raylauncher",
    }[name]  # fmt: skip


@pytest.mark.parametrize(("program", "name"), [(f.parts[-3], f.stem) for f in CONF.glob("*/sweep/*.yaml")])
def test_what_a_sweep_varies_is_there(program, name):
    common = {"eval": "protocol=smoke", "train": "experiment=lvcd_320p"}[program]
    config = composed(program, common, f"sweep={name}", hydra=True)
    words = [f"{key}={values}" for key, values in config.hydra.sweeper.params.items()]
    assert words
    for job in override_lists([common, *words]):
        composed(program, *job)
