"""The words of `lvcd train` and `lvcd eval`: read, checked, handed to Hydra, and given to other processes."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import lvcd.conf
import pytest
from hydra.errors import HydraException

from lvcd.cli import main
from lvcd.cli.hydra_entry import Program, compose_config, conf_folder
from lvcd.cli.hydra_words import HydraWords
from lvcd.cli.sweep import override_lists
from lvcd.errors import InputError
from tests.helpers.paths import CONF, ROOT
from tests.helpers.processes import CEILING

MINE = "# @package _global_\ndefaults: [mini_cpu]\nname: mine\ntrainer: {max_steps: 7}\n"


@pytest.fixture
def config_dir(tmp_path) -> Path:
    """A folder with an experiment and a protocol of somebody's own, and a space in its name."""
    folder = tmp_path / "my conf"
    for group, name, text in (
        ("experiment", "mine", MINE),
        ("protocol", "mine", "defaults: [smoke]\nname: mine\nclips: 1\n"),
    ):
        (folder / group).mkdir(parents=True)
        (folder / group / f"{name}.yaml").write_text(text)
    return folder


def test_the_configuration_is_the_installed_one(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    assert Path(lvcd.conf.__file__).parent == CONF == conf_folder("train").parent
    data = compose_config("train", ["experiment=mini_cpu"]).data
    assert Path(data.shards, "manifest.json").is_file() and Path(data.val_shards, "manifest.json").is_file()
    assert Path(compose_config("eval").protocol.shards, "manifest.json").is_file()


# --- words ------------------------------------------------------------------------------------------------------------


def test_words_of_single_runs():
    words = ["a=1", "b=x,y,z", "c=range(0,2)", "d=interval(0,1)", "+e=[1,2]"]
    expected = [["a=1", "+e=[1,2]", f"b={b}", f"c={c}"] for b, c in (("x", 0), ("y", 1), ("z", 1))]
    assert override_lists(words) == expected
    assert override_lists(["a=1"]) == [["a=1"]]
    with pytest.raises(HydraException):
        override_lists(["a=[1"])


def test_what_jobs_have_in_common_names_no_folder():
    words = HydraWords.parse(["experiment=mini_cpu", "data.shards='a b'", "-m", "seed=1,2"]).for_hydra()
    assert words == [
        "--multirun",
        "hydra.job.config.override_dirname.exclude_keys=[experiment,stage,ablation,data.shards]",
        *["experiment=mini_cpu", "data.shards='a b'", "seed=1,2"],
    ]


def test_flags_may_stand_anywhere(config_dir):
    given = HydraWords.parse(["a=1", "-c", "job", "~b", "-cd", str(config_dir), "+c=2", "--config-name=mine"])
    assert given == HydraWords(["--cfg", "job"], ["a=1", "~b", "+c=2"], [f"file://{config_dir}"], "mine")
    assert HydraWords.parse(["--info", "a=1"]).flags == ["--info"]
    assert HydraWords.parse(["--info", "searchpath"]).flags == ["--info", "searchpath"]


def test_a_program_is_started_again_by_its_own_name():
    words = ["experiment=mini_cpu", "data.shards=my shards"]
    assert Program("train").command(words) == "lvcd train experiment=mini_cpu 'data.shards=my shards'"
    assert Program("train", "train.py").command(words[:1]) == "python train.py experiment=mini_cpu"
    assert Program("train").argv(words) == ["train", *words] and Program("train", "train.py").argv(words) == words


# --- configuration of one's own ---------------------------------------------------------------------------------------


def test_an_experiment_of_ones_own(config_dir, monkeypatch):
    monkeypatch.chdir(config_dir.parent)
    ways = (
        ["--config-dir", str(config_dir)],
        [f"--config-dir={config_dir.name}"],
        [f"hydra.searchpath=['file://{config_dir}']"],
        ["hydra.searchpath=['my conf']"],
    )
    for way in ways:
        config = compose_config("train", [*way, "experiment=mine", "seed=3"])
        assert (config.name, config.trainer.max_steps, config.seed) == ("mine", 7, 3)
    with pytest.raises(InputError, match="did you mean experiment=mine?"):
        compose_config("train", [*ways[0], "experiment=mien"])


@pytest.mark.parametrize("start", [["train.py"], ["-m", "lvcd.cli", "train"]])
def test_hydra_finds_it_too(start, config_dir):
    words = ["experiment=mine", "--config-dir", str(config_dir), "--cfg", "job"]
    done = subprocess.run([sys.executable, *start, *words], cwd=ROOT, capture_output=True, text=True, timeout=CEILING)
    assert done.returncode == 0 and "max_steps: 7" in done.stdout, done.stderr


@pytest.mark.slow
def test_a_plan_of_ones_own_experiment(config_dir, monkeypatch, tmp_path, capsys):
    monkeypatch.chdir(tmp_path)
    small = ["data.height=32", "data.width=48"]
    assert main(["plan", "--config-dir", str(config_dir), "experiment=mine", *small]) == 0
    assert "48x32" in capsys.readouterr().out.replace(" ", "")


# --- what is wrong ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("program", "words", "message"),
    [
        ("train", ["experiment=lvcd_320"], "did you mean experiment=lvcd_320p?"),
        ("train", ["trainer.max_step=3"], "did you mean trainer.max_steps?"),
        ("train", ["trainer.overfit_batches=1"], "+trainer.overfit_batches=1 adds one"),
        ("train", ["mini"], "mini sets nothing: write NAME=VALUE"),
        ("train", ["data.height=1,2"], "add -m"),
        ("train", ["data=null"], "there are cartoons, shards"),
        ("train", ["seed=[1"], "seed=[1"),
        ("train", ["~dat"], "~dat"),
        ("train", ["sweep=overlap"], "it is one of lvcd eval"),
        ("train", ["-m", "sweep=overlap"], "it is one of lvcd eval"),
        ("train", ["-m", "sweep=lr,lines"], "sweep=lr,lines cannot be swept"),
        ("train", ["-m", "experiment=mini_cpu", "stage=80p,144"], "did you mean stage=144p?"),
        ("train", ["--config-dr", "x"], "did you mean --config-dir?"),
        ("train", ["--config-dir", "/nowhere"], "/nowhere is no folder"),
        ("train", ["--config-dir"], "--config-dir needs a value"),
        ("train", ["--config-path", "x"], "--config-dir"),
        ("train", ["hydra.searchpath=x"], "hydra.searchpath=[file:///home/me/conf]"),
        ("eval", ["protocol=smokes"], "did you mean protocol=smoke?"),
        ("eval", ["experiment=mini_cpu"], "experiment"),
    ],
)
def test_a_wrong_word_is_one_line(program, words, message, monkeypatch, tmp_path, capfd):
    monkeypatch.chdir(tmp_path)
    assert main([program, *words]) == 2
    (line,) = capfd.readouterr().err.splitlines()
    assert line.startswith(f"lvcd {program}: ") and message in line
    assert not list(tmp_path.iterdir())


def test_what_a_sweep_of_ones_own_varies_is_checked(config_dir, monkeypatch, tmp_path, capfd):
    (config_dir / "sweep").mkdir()
    text = "# @package _global_\nhydra: {sweeper: {params: {module.optimization.lrr: '1e-4,1e-5'}}}\n"
    (config_dir / "sweep" / "mine.yaml").write_text(text)
    monkeypatch.chdir(tmp_path)
    assert main(["train", "-m", "--config-dir", str(config_dir), "sweep=mine"]) == 2
    (line,) = capfd.readouterr().err.splitlines()
    assert "did you mean module.optimization.lr?" in line


@pytest.mark.parametrize(
    ("start", "word", "message"),
    [
        (["train.py"], "experiment=lvcd_320", "train.py: there is no experiment=lvcd_320"),
        (["eval.py"], "protocol=smokes", "eval.py: there is no protocol=smokes"),
        (["-m", "lvcd.cli", "train"], "experiment=lvcd_320", "lvcd train: there is no experiment=lvcd_320"),
        (["-m", "lvcd.cli", "eval"], "protocol=smokes", "lvcd eval: there is no protocol=smokes"),
        (["-m", "lvcd.cli", "plan"], "experiment=lvcd_320", "lvcd plan: there is no experiment=lvcd_320"),
    ],
)
def test_a_wrong_word_ends_before_torch_is_imported(start, word, message):
    command = [sys.executable, "-X", "importtime", *start, word]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=CEILING)
    imports, lines = [], []
    for line in done.stderr.splitlines():
        (imports if line.startswith("import time:") else lines).append(line)
    assert done.returncode == 2 and len(lines) == 1 and lines[0].startswith(message), lines
    modules = {line.rsplit("|", 1)[1].strip() for line in imports}
    assert "hydra" in modules and not modules & {"torch", "lightning", "diffusers"}


@pytest.mark.parametrize(
    ("program", "words", "message"),
    [
        ("train", ["experiment=lvcd_320p", "trainer=cpu", "logger=csv"], "data.shards is missing"),
        ("train", ["experiment=mini_cpu", "data._target_=nowhere.Data"], "data names nowhere.Data"),
        ("train", ["experiment=mini_cpu", "data.batch_size=abc"], "data has a value of the wrong kind"),
        ("train", ["experiment=mini_cpu", "name=${nowhere}"], "nowhere"),
        ("eval", ["method._target_=lvcd.evaluation.methods.Nothing"], "method names lvcd.evaluation.methods.Nothing"),
        ("eval", ["protocol=base"], "protocol.name is missing"),
        ("eval", ["model=nowhere"], "nowhere"),
        ("eval", [], "model=mini"),
    ],
)
def test_a_wrong_value_is_one_line(program, words, message, monkeypatch, tmp_path, capfd):
    monkeypatch.chdir(tmp_path)
    assert main([program, *words]) == 2
    (line,) = capfd.readouterr().err.splitlines()
    assert line.startswith(f"lvcd {program}: ") and message in line
    assert not list(tmp_path.rglob("*.yaml"))


def test_an_evaluation_is_interrupted(monkeypatch, tmp_path, capfd):
    def interrupted(config):
        raise KeyboardInterrupt

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("lvcd.cli.eval.run_evaluation", interrupted)
    assert main(["eval", "method=copy_reference"]) == 130
    assert capfd.readouterr().err == "stopped; the same command goes on\n"
