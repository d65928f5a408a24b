"""What can go wrong while a run trains, and what it says then."""

from __future__ import annotations

import os
import shlex
import signal
import sys

import lightning
import pytest
import torch
from omegaconf import OmegaConf

from lvcd.data.batch import Batch
from lvcd.errors import InputError
from lvcd.training import AtomicCheckpointIO, FineTuneModule
from lvcd.training.callbacks import StopOnSignal
from lvcd.training.plan import plan_training
from lvcd.training.plan.fit_report import ways_to_save_memory
from lvcd.training.run_folder import CHECKPOINT_FOLDER, find_checkpoints, newest_checkpoint
from tests.helpers.configs import composed
from tests.helpers.fitting import fit
from tests.helpers.paths import ROOT
from tests.helpers.toys import toy_networks
from tests.helpers.train_program import TINY


@pytest.mark.slow
def test_a_loss_that_is_no_number_stops_and_names_its_batch(tmp_path, typed, capfd):
    run = tmp_path / "run"
    rate = ["module.optimization.lr=1e30", "module.optimization.warmup_steps=0", "trainer.max_steps=9"]
    code = typed("train.py", *TINY, f"run_dir={run}", "trainer.precision=32-true", *rate)
    err = capfd.readouterr().err
    (file,) = run.glob("nan-step*-rank0.pt")
    batch = Batch(**torch.load(file, weights_only=True))
    lines = [line for line in err.splitlines() if line.strip()]
    assert code == 2 and len(lines) == 1 and "Traceback" not in err
    assert str(file) in lines[0] and "nan" in lines[0]
    assert batch.frames.shape == (4, 4, 3, 32, 48) and all(key in lines[0] for key in batch.keys)
    assert not (run / "model").exists() and not list((run / CHECKPOINT_FOLDER).glob("*"))


@pytest.mark.slow
def test_a_step_that_does_not_fit_says_what_to_lower(tmp_path, monkeypatch):
    from lvcd.cli.train import train

    def step(*_):
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")

    monkeypatch.setattr(FineTuneModule, "training_step", step)
    monkeypatch.chdir(ROOT)
    config = composed("train", *TINY, f"run_dir={tmp_path}", "data.sampling.window=3")
    with pytest.raises(InputError) as raised:
        train(config)
    text = str(raised.value)
    assert "\n" not in text and "memory" in text and "GiB" in text
    assert "data.batch_size=1 trainer.accumulate_grad_batches=4" in text
    assert "module.gradient_checkpointing=true" in text
    for words, _ in ways_to_save_memory(plan_training(OmegaConf.to_container(config, resolve=True))):
        for experiment in ("mini", "lvcd_320p"):
            composed("train", f"experiment={experiment}", *shlex.split(words))


def test_a_checkpoint_that_is_torn_while_written_is_not_there(tmp_path):
    class Dies:
        def __reduce__(self):
            raise OSError("no space left")

    file = tmp_path / "last.ckpt"
    AtomicCheckpointIO().save_checkpoint({"step": 1}, file)
    with pytest.raises(InputError, match="no space"):
        AtomicCheckpointIO().save_checkpoint({"step": 2, "x": torch.zeros(10**6), "y": Dies()}, file)
    assert torch.load(file, weights_only=True) == {"step": 1}


class Counts(lightning.LightningModule):
    """One weight; counts its validations, which may take long."""

    def __init__(self):
        super().__init__()
        self.line, self.validated = torch.nn.Linear(1, 1), 0

    def training_step(self, batch, index):
        return self.line(batch).mean()

    def validation_step(self, batch, index):
        self.validated += 1

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.1)


def test_a_run_that_is_told_to_stop_does_not_validate_first(tmp_path):
    """Whoever sent the signal kills it soon: SLURM after half a minute."""

    class Told(lightning.Callback):
        def on_train_batch_start(self, trainer, module, batch, index):
            if index == 2:
                os.kill(os.getpid(), signal.SIGTERM)

    module, data = Counts(), torch.utils.data.DataLoader(torch.ones(20, 1))
    callbacks = [Told(), StopOnSignal(str(tmp_path))]
    trainer = lightning.Trainer(
        default_root_dir=tmp_path, accelerator="cpu", max_steps=10, val_check_interval=5, num_sanity_val_steps=0,
        callbacks=callbacks, logger=False, enable_checkpointing=False, enable_progress_bar=False,
    )  # fmt: skip
    trainer.fit(module, data, data)
    assert trainer.global_step == 3 and module.validated == 0
    assert torch.load(tmp_path / "last.ckpt", weights_only=True)["global_step"] == 3


@pytest.mark.slow
@pytest.mark.parametrize(("first", "number"), [(True, signal.SIGTERM), (False, signal.SIGHUP)])
def test_interrupted_is_uninterrupted_wherever_the_callback_is(first, number, tmp_path):
    """What is saved has seen the step as a whole: the average of weights too, which another callback updates."""

    class Interrupts(lightning.Callback):
        def on_before_optimizer_step(self, trainer, module, optimizer):
            if trainer.global_step == 2:
                os.kill(os.getpid(), number)

    stop = StopOnSignal(str(tmp_path / CHECKPOINT_FOLDER))
    places = {"first": [stop], "more": [Interrupts()]} if first else {"more": [Interrupts(), stop]}
    fit(tmp_path / "stopped", toy_networks(), 6, **places)
    saved = torch.load(stop.saved, weights_only=True)
    (average,) = [state for name, state in saved["callbacks"].items() if name.startswith("Ema")]
    assert saved["global_step"] == average["steps"] == 3
    uninterrupted, rest = (
        fit(tmp_path / "whole", toy_networks(), 6),
        fit(tmp_path / "rest", toy_networks(), 6, resume=stop.saved),
    )
    a, b = dict(uninterrupted.named_parameters()), dict(rest.named_parameters())  # the averages, at the end of a run
    assert all(torch.equal(a[name], b[name]) for name in a)


def test_slurm_is_asked_to_start_the_job_again_and_it_goes_on(tmp_path, monkeypatch):
    """Lightning's way, with a scontrol that only notes what it was asked."""
    requests = tmp_path / "requests"
    (tmp_path / "scontrol").write_text(f'#!/bin/sh\necho "$@" > {requests}\n')
    (tmp_path / "scontrol").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    monkeypatch.chdir(tmp_path)  # where Lightning saves unless it is given another folder
    for name, value in {"NTASKS": 1, "JOB_ID": 7, "JOB_NAME": "train", "PROCID": 0, "LOCALID": 0, "NODEID": 0}.items():
        monkeypatch.setenv(f"SLURM_{name}", str(value))

    class Warned(lightning.Callback):
        def on_train_batch_end(self, trainer, module, outputs, batch, index):
            if trainer.global_step == 1:
                os.kill(os.getpid(), signal.SIGUSR1)

    fit(tmp_path / "elsewhere", toy_networks(), 2, more=[Warned()])
    assert requests.read_text() == "requeue 7\n"
    assert newest_checkpoint(tmp_path).name == "hpc_ckpt_1.ckpt"
    assert torch.load(newest_checkpoint(tmp_path), weights_only=True)["global_step"] == 1


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGUSR1, signal.SIGUSR2])
def test_what_slurm_sends_in_the_middle_of_a_step_waits_for_its_end(number, tmp_path, monkeypatch):
    """Lightning answers the first, submitit the second, and leaves; who goes on has the weights of one unstopped."""
    requests = tmp_path / "requests"
    (tmp_path / "scontrol").write_text(f'#!/bin/sh\necho "$@" > {requests}\n')
    (tmp_path / "scontrol").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    monkeypatch.chdir(tmp_path)

    class Warned(lightning.Callback):
        def on_before_optimizer_step(self, trainer, module, optimizer):
            if trainer.global_step == 1:
                os.kill(os.getpid(), number)

    def requeue(number, frame):
        requests.write_text("requeue 7\n")
        sys.exit(255)

    def stopped() -> None:
        fit(tmp_path / "elsewhere", toy_networks(), 5, more=[Warned(), StopOnSignal(str(tmp_path / CHECKPOINT_FOLDER))])

    if number == signal.SIGUSR1:
        for name, value in {"NTASKS": 1, "JOB_ID": 7, "JOB_NAME": "train", "PROCID": 0, "LOCALID": 0}.items():
            monkeypatch.setenv(f"SLURM_{name}", str(value))
        monkeypatch.setenv("SLURM_NODEID", "0")
        stopped()
    else:
        before = signal.signal(number, requeue)
        with pytest.raises(SystemExit):
            stopped()
        assert signal.signal(number, before) is requeue
    monkeypatch.delenv("SLURM_NTASKS", raising=False)
    assert requests.read_text() == "requeue 7\n"
    assert [f.name for f in find_checkpoints(tmp_path)] == ["last.ckpt"]
    assert torch.load(newest_checkpoint(tmp_path), weights_only=True)["global_step"] == 2
    uninterrupted, rest = (
        fit(tmp_path / "whole", toy_networks(), 5),
        fit(tmp_path / "rest", toy_networks(), 5, resume=newest_checkpoint(tmp_path)),
    )
    a, b = dict(uninterrupted.named_parameters()), dict(rest.named_parameters())
    assert all(torch.equal(a[name], b[name]) for name in a)


@pytest.mark.parametrize("content", [{"state_dict": print}, {"state_dict": {}}, [1]], ids=str)
def test_what_is_no_checkpoint_of_a_run_is_one_line(tmp_path, content):
    """Code in it is refused; weights alone are not where a run stopped."""
    torch.save(content, tmp_path / "a.ckpt")
    with pytest.raises(InputError) as raised:
        AtomicCheckpointIO().load_checkpoint(tmp_path / "a.ckpt", weights_only=True)
    assert "\n" not in str(raised.value) and str(tmp_path / "a.ckpt") in str(raised.value)
