"""Shards under a real Trainer: stopped and gone on, by two processes, with losses, with latents."""

from __future__ import annotations

import json
import logging
import multiprocessing
import os
import signal
import subprocess
import sys
import warnings
from pathlib import Path

import lightning
import pytest
import torch
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.loggers import CSVLogger

from lvcd.data.augment import Augment
from lvcd.data.datamodule import CartoonDataModule, ShardDataModule
from lvcd.errors import InputError
from tests.helpers.paths import ROOT
from tests.helpers.processes import CEILING
from tests.helpers.recording import Recorder, data
from tests.helpers.shards import ENCODERS, SIZE, key_of, write_encoded, write_shards

CLIPS = (3, 2, 4)
ALL = {key_of(number) for number in range(sum(CLIPS))}


@pytest.fixture(scope="module")
def shards(tmp_path_factory):
    folder = tmp_path_factory.mktemp("shards")
    write_shards(folder, CLIPS)
    return folder


@pytest.fixture(autouse=True)
def quiet():
    logging.getLogger("lightning.pytorch.utilities.rank_zero").setLevel(logging.ERROR)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", module="(lightning|torch).*")
        yield


def trainer(folder, **settings):
    given = {"max_epochs": 3, "callbacks": [], "logger": False, "num_sanity_val_steps": 0}
    return lightning.Trainer(
        accelerator="cpu", devices=1, enable_progress_bar=False, enable_model_summary=False,
        default_root_dir=folder, **{**given, **settings},
    )  # fmt: skip


def keep_all(folder, every=1, **settings):
    return ModelCheckpoint(folder, filename="{step}", every_n_train_steps=every, save_top_k=-1, **settings)


def go_on(folder, checkpoint, module=None, **settings):
    """=> batches that come after the checkpoint."""
    fit, module = settings.pop("fit", {}), module or Recorder()
    trainer(folder, **fit).fit(module, data(**settings), ckpt_path=checkpoint)
    return module.seen


def test_every_epoch_shows_every_clip(shards, tmp_path):
    module = Recorder()
    trainer(tmp_path).fit(module, data(shards))
    assert len(module.seen) == 15
    epochs = [module.seen[at : at + 5] for at in range(0, 15, 5)]
    for batches in epochs:
        keys = [key for batch in batches for key in batch]
        assert set(keys) == ALL
        assert len(keys) == len(ALL) + 1  # one is padding
    assert len({str(batches) for batches in epochs}) == 3


@pytest.mark.slow
@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize(
    "fit",
    [
        {},
        {"max_steps": 13, "max_epochs": -1},
        {"accumulate_grad_batches": 2, "limit_train_batches": 4},
        {"reload_dataloaders_every_n_epochs": 1},
    ],
    ids=str,
)  # fmt: skip
def test_stopped_after_any_batch_it_goes_on_with_the_next(shards, tmp_path, workers, fit):
    settings = {"shards": shards, "workers": workers, "val_shards": str(shards)}
    module, folder = Recorder(), tmp_path / "kept"
    trainer(tmp_path, callbacks=[keep_all(folder)], **fit).fit(module, data(**settings))
    accumulated = fit.get("accumulate_grad_batches", 1)
    checkpoints = sorted(folder.glob("*.ckpt"), key=lambda path: int(path.stem.split("=")[1]))
    assert len(checkpoints) == len(module.seen) // accumulated
    for step, checkpoint in list(enumerate(checkpoints, 1))[:: 4 if workers else 1]:
        assert go_on(tmp_path, checkpoint, **settings, fit=fit) == module.seen[step * accumulated :]


@pytest.mark.parametrize("when", [{"save_on_train_epoch_end": True}, {"save_on_train_epoch_end": False}], ids=str)
def test_stopped_at_the_end_of_an_epoch_it_goes_on_with_the_next(shards, tmp_path, when):
    settings, module, folder = {"shards": shards, "val_shards": str(shards)}, Recorder(), tmp_path / "kept"
    keep = ModelCheckpoint(folder, filename="{epoch}", every_n_epochs=1, save_top_k=-1, **when)
    trainer(tmp_path, callbacks=[keep]).fit(module, data(**settings))
    for epoch in range(3):
        checkpoint = folder / f"epoch={epoch}.ckpt"
        assert go_on(tmp_path, checkpoint, **settings) == module.seen[5 * (epoch + 1) :]


def test_validation_in_the_middle_of_an_epoch(shards, tmp_path):
    settings, module, folder = {"shards": shards, "val_shards": str(shards)}, Recorder(), tmp_path / "kept"
    keep = ModelCheckpoint(folder, filename="{step}", every_n_epochs=1, save_top_k=-1, save_on_train_epoch_end=False)
    fit = {"val_check_interval": 2}
    trainer(tmp_path, callbacks=[keep], **fit).fit(module, data(**settings))
    assert len(list(folder.glob("*"))) == 6
    for checkpoint in folder.glob("*"):
        step = int(checkpoint.stem.split("=")[1])
        assert go_on(tmp_path, checkpoint, **settings, fit=fit) == module.seen[step:]
    keys = [key for batch in module.checked for key in batch]
    assert all(keys.count(key) == 6 for key in ALL)


def test_interrupted_in_the_middle_of_a_step_that_batch_comes_again(shards, tmp_path):
    whole, broken = Recorder(), Recorder(stop=7)
    trainer(tmp_path).fit(whole, data(shards))
    fit = trainer(tmp_path)
    with pytest.raises((KeyboardInterrupt, SystemExit)):
        fit.fit(broken, module_data := data(shards))
    state = module_data.state_dict()
    assert (state["epoch"], state["done"]) == (1, 2)
    assert broken.seen == whole.seen[:7]


@pytest.mark.parametrize("workers", [0, 2])
def test_drawn_clips_go_on_with_the_next_batch(tmp_path, workers):
    def drawn():
        return CartoonDataModule(2, 16, 24, batch_size=2, train_clips=5, val_clips=1, reach=4, workers=workers)

    whole, folder = Recorder(), tmp_path / "kept"
    trainer(tmp_path, max_epochs=2, callbacks=[keep_all(folder)]).fit(whole, drawn())
    assert [whole.seen[i] for i in (0, 2, 3)] == [("drawn-0", "drawn-1"), ("drawn-4", "drawn-0"), whole.seen[0]]
    for step in (1, 3, 4):
        rest = Recorder()
        trainer(tmp_path, max_epochs=2).fit(rest, drawn(), ckpt_path=folder / f"step={step}.ckpt")
        assert rest.seen == whole.seen[step:]
        assert torch.equal(rest.weight, whole.weight)
        for a, b in zip(rest.batches, whole.batches[step:]):
            assert torch.equal(a.frames, b.frames) and torch.equal(a.sketches, b.sketches)


def test_resumed_twice(shards, tmp_path):
    whole, folder = Recorder(), tmp_path / "kept"
    trainer(tmp_path).fit(whole, data(shards))
    seen = []
    for part, steps in enumerate((3, 4, 5, 11)):
        module, last = Recorder(), folder / "last.ckpt"
        keep = ModelCheckpoint(folder, save_last=True, every_n_train_steps=1)
        fit = trainer(tmp_path, max_epochs=-1, max_steps=steps, callbacks=[keep])
        fit.fit(module, data(shards, workers=part % 2), ckpt_path=last if part else None)
        seen += module.seen
    assert seen == whole.seen[:11]


@pytest.mark.parametrize("change", [{"workers": 2}, {"batch_size": 1}, {"seed": 5}, {"buffer": 4}], ids=str)
def test_another_stream_begins_its_epoch_again_and_says_so(shards, tmp_path, change):
    keep, module = keep_all(tmp_path / "kept"), Recorder()
    trainer(tmp_path, callbacks=[keep]).fit(module, data(shards))
    module = Recorder()
    with pytest.warns(UserWarning, match=f"other {next(iter(change)).replace('_', ' ')}.*epoch 1"):
        go_on(tmp_path, tmp_path / "kept" / "step=7.ckpt", module, shards=shards, **change)
    fresh = data(shards, **change)
    fresh.setup("fit")
    loader = fresh.train_dataloader()
    loader.epoch = 1
    assert [batch.keys for batch in loader][:3] == module.seen[:3]
    fresh.teardown("fit")


def test_other_clips_begin_the_epoch_again(shards, tmp_path):
    keep = keep_all(tmp_path / "kept")
    trainer(tmp_path, callbacks=[keep]).fit(Recorder(), data(shards))
    write_shards(tmp_path / "other", (3, 3))
    with pytest.warns(UserWarning, match="other data"):
        go_on(tmp_path, tmp_path / "kept" / "step=3.ckpt", shards=tmp_path / "other")


def test_validation_and_test_show_every_clip_once(shards, tmp_path):
    write_shards(tmp_path / "train", (1,))
    for fit in (lightning.Trainer.validate, lightning.Trainer.test):
        module = Recorder()
        fit(trainer(tmp_path), module, data(tmp_path / "train", val_shards=str(shards), test_shards=str(shards), workers=2))  # fmt: skip # noqa: E501
        assert sorted(key for batch in module.checked for key in batch) == sorted(ALL)


@pytest.mark.slow
def test_two_processes_share_the_clips(shards, tmp_path):
    command = [sys.executable, "-m", "tests.helpers.recording", str(tmp_path), str(shards)]
    subprocess.run(command, cwd=ROOT, check=True, timeout=CEILING, capture_output=True)
    seen, checked = zip(*(json.loads((tmp_path / f"rank{rank}.json").read_text()) for rank in range(2)))
    assert len(seen[0]) == len(seen[1]) == 6
    for epoch in range(2):
        keys = [key for rank in seen for batch in rank[3 * epoch : 3 * epoch + 3] for key in batch]
        assert set(keys) == ALL
        assert len(keys) == 12
    assert sorted(key for rank in checked for batch in rank for key in batch) == sorted([*ALL, *ALL])


# --------------------------------------------------------------------------------------------------------------- losses


def test_losses_are_named_once_and_counted(tmp_path):
    write_shards(tmp_path, CLIPS)
    (tmp_path / "shard-00001.tar").unlink()
    module, shards = Recorder(), data(tmp_path, val_shards=str(tmp_path), workers=1, max_unreadable=0.4)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        trainer(tmp_path, max_epochs=2).fit(module, shards)
    told = [str(w.message) for w in caught if "shard-00001.tar" in str(w.message)]
    (line,) = told
    assert all(part in line for part in ("shard-00001.tar", "0 of 2", "No such file"))
    assert shards.unreadable["val"] == 4
    assert shards.unreadable["train"] in range(4, 7)
    assert all(len(keys) == 2 for keys in module.seen)
    assert len(module.seen) == 10


def test_padding_and_losses_are_logged(tmp_path):
    write_shards(tmp_path, CLIPS)
    (tmp_path / "shard-00001.tar").unlink()
    logger = CSVLogger(tmp_path)
    with pytest.warns(UserWarning, match="shard-00001.tar"):
        trainer(tmp_path, max_epochs=1, logger=logger).fit(Recorder(), shards := data(tmp_path, max_unreadable=0.4))
    rows = (Path(logger.log_dir) / "metrics.csv").read_text().splitlines()
    logged = [dict(zip(rows[0].split(","), row.split(","))) for row in rows[1:]]
    assert max(row["data/train_unreadable"] for row in logged) == str(shards.unreadable["train"])
    assert {row["data/padded"] for row in logged} == {"", "1"}


def test_the_noise_of_training_is_not_touched(shards):
    loader = data(shards)
    loader.setup("fit")
    before = torch.get_rng_state()
    assert len(list(loader.train_dataloader())) == 5
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("workers", [0, 1])
def test_too_many_losses_end_the_run(tmp_path, workers):
    write_shards(tmp_path, CLIPS)
    (tmp_path / "shard-00001.tar").unlink()
    with pytest.raises(InputError, match=r"10 .*max_unreadable.*0.01") as error, pytest.warns():
        trainer(tmp_path).fit(Recorder(), data(tmp_path, workers=workers))
    assert "\n" not in str(error.value)
    for number in (0, 2):
        (tmp_path / f"shard-0000{number}.tar").unlink()
    with pytest.raises(InputError, match="left out"), pytest.warns():
        trainer(tmp_path).fit(Recorder(), data(tmp_path, workers=workers, max_unreadable=1.0))


def test_validation_that_loses_its_last_batch(tmp_path):
    write_shards(tmp_path, CLIPS)
    (tmp_path / "shard-00002.tar").unlink()
    module, shards = Recorder(), data(tmp_path, val_shards=str(tmp_path), max_unreadable=1.0)
    with pytest.warns(UserWarning, match="shard-00002.tar.*0 of 4"):
        trainer(tmp_path).validate(module, shards)
    assert sorted(key for batch in module.checked for key in batch) == [key_of(number) for number in range(5)]
    assert shards.unreadable["val"] == 4


def test_pipes_are_closed_in_the_end(shards, tmp_path):
    """Clips of the second shard never come; the run is over before they are missed."""
    mark = "13579.24"
    where = f"pipe:cat {shards}/{{}}; case {{}} in shard*) sleep {mark};; esac"
    trainer(tmp_path, max_steps=1).fit(Recorder(), data(where, buffer=0, batch_size=1))
    assert f"sleep {mark}" not in subprocess.run(["ps", "-eo", "args"], capture_output=True, text=True).stdout


class Watcher(Recorder):
    """Also knows who reads for it."""

    readers: set[int | None] = set()

    def training_step(self, batch, index):
        self.readers = self.readers | {process.pid for process in multiprocessing.active_children()}
        return super().training_step(batch, index)


def test_readers_live_through_all_epochs_and_no_longer(shards, tmp_path):
    module = Watcher()
    trainer(tmp_path).fit(module, data(shards, workers=2))
    assert len(module.seen) == 15 and len(module.readers) == 2
    assert multiprocessing.active_children() == []


@pytest.mark.parametrize("limit", [1.0, 2])
def test_readers_live_through_all_validations_and_no_longer(shards, tmp_path, limit):
    """Each begins anew, though the last was left in its middle."""
    module, fit = Watcher(), {"max_epochs": 2, "val_check_interval": 2, "limit_val_batches": limit}
    trainer(tmp_path, **fit).fit(module, data(shards, val_shards=str(shards), workers=1))
    first, *others = zip(*[iter(module.checked)] * (limit if limit == 2 else 5))
    assert len(others) == 3 and all(each == first for each in others)
    assert len(module.readers) == 2 and multiprocessing.active_children() == []


def test_readers_end_with_a_run_that_fails(shards, tmp_path):
    module = Watcher(stop=2)
    with pytest.raises((KeyboardInterrupt, SystemExit)):
        trainer(tmp_path, val_check_interval=1).fit(module, data(shards, val_shards=str(shards), workers=1))
    assert len(module.readers) == 2 and multiprocessing.active_children() == []


@pytest.mark.parametrize("number", [signal.SIGUSR1, signal.SIGUSR2])
def test_readers_do_not_answer_slurm(number, shards, tmp_path):
    """They have its answer from the one that trains, and would have the job started again before it is saved."""
    told = tmp_path / "told"
    before = signal.signal(number, lambda *_: told.touch())
    module = data(shards, workers=1)
    module.setup("fit")
    loader = module.train_dataloader()
    try:
        next(iter(loader))
        (reader,) = multiprocessing.active_children()
        os.kill(reader.pid, number)
        reader.join(0.5)
        assert reader.is_alive() and not told.exists()
    finally:
        loader.close()
        signal.signal(number, before)


@pytest.mark.slow
def test_nobody_waits_for_the_readers_of_a_loader_that_was_left(shards):
    """Python ends and waits for its processes, and these ignore the signal that it sends them."""
    code = (
        "import sys; from tests.helpers.recording import data; d = data(sys.argv[1], workers=1); d.setup('fit'); "
        "print(len(next(iter(d.train_dataloader())).keys))"
    )
    words = [sys.executable, "-c", code, str(shards)]
    assert subprocess.run(words, cwd=ROOT, capture_output=True, text=True, timeout=CEILING).stdout.endswith("2\n")


@pytest.mark.parametrize("wrong", [{"batch_size": 0}, {"workers": -1}, {"height": 0}])
def test_settings_that_make_no_sense(shards, wrong):
    with pytest.raises(InputError, match=f"{next(iter(wrong))} is"):
        ShardDataModule(str(shards), **{"height": 8, "width": 8, "batch_size": 1, **wrong})


def test_no_clips(tmp_path):
    write_shards(tmp_path, (0,))
    with pytest.raises(InputError, match="no clip"):
        data(tmp_path).setup("fit")


# -------------------------------------------------------------------------------------------------------------- latents


@pytest.fixture
def encoded(tmp_path):
    write_shards(tmp_path / "shards", CLIPS)
    write_encoded(tmp_path / "shards", CLIPS)
    return tmp_path / "shards"


def shown(folder, fingerprints, tmp_path, **settings):
    """The first batch that training sees."""
    module = Recorder()
    if fingerprints:
        module.encoder_fingerprints = fingerprints
    trainer(tmp_path, max_steps=1).fit(module, data(folder, **settings))
    return module.batches[0]


OURS = {"vae": ENCODERS["vae"], "image_encoder": ENCODERS["image_encoder"]}


def test_latents_of_the_modules_own_encoders_are_used(encoded, tmp_path, capsys):
    batch = shown(encoded, OURS, tmp_path, augment=Augment(binarize=1.0), val_shards=str(encoded))
    assert batch.frames is None
    assert batch.latents.shape == (2, 3, 4, 2, 3)
    assert batch.tokens.shape == (2, 1, 6)
    assert batch.latents.dtype == batch.tokens.dtype == torch.float32
    assert "latents in" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("fingerprints", "settings", "why"),
    [
        (None, {}, "encoder_fingerprints"),
        ({**OURS, "vae": "xy"}, {}, "another vae"),
        (OURS, {"augment": Augment(flip=0.5)}, "latents"),
        (OURS, {"height": 8, "width": 8}, "8 x 8"),
    ],
)
def test_other_latents_are_not(encoded, tmp_path, capsys, fingerprints, settings, why):
    shards = data(encoded, **{key: value for key, value in settings.items() if key == "augment"})
    shards.height, shards.width = settings.get("height", SIZE[0]), settings.get("width", SIZE[1])
    module = Recorder()
    module.encoder_fingerprints = fingerprints
    trainer(tmp_path, max_steps=1).fit(module, shards)
    assert module.batches[0].latents is None
    out = capsys.readouterr().out
    assert why in out
    assert "pixels" in out
    assert out.count("\n") == 1


def test_latents_of_other_shards_are_not_used(encoded, tmp_path, capsys):
    text = (encoded / "manifest.json").read_text()
    (encoded / "manifest.json").write_text(text + "\n")
    assert shown(encoded, OURS, tmp_path).latents is None
    assert "other shards" in capsys.readouterr().out


def test_latents_by_address(encoded, tmp_path):
    assert shown(f"pipe:cat {encoded}/{{}}", OURS, tmp_path).latents is not None


def test_clips_for_scores_are_the_same_for_whoever_asks(shards):
    module = data(shards, val_shards=str(shards), batch_size=3, workers=2)
    module.setup("fit")
    first, again = ([*module.fixed_clips(4, frames=5)] for _ in range(2))
    assert [batch.keys for batch in first] == [(key_of(number),) for number in range(4)]
    for one, other in zip(first, again):
        assert one.frames.shape == (1, 6, 3, *SIZE) and one.sketches.shape == (1, 6, 1, *SIZE)
        assert torch.equal(one.frames, other.frames) and torch.equal(one.sketches, other.sketches)
    assert [*data(shards).fixed_clips(4, frames=5)] == []
