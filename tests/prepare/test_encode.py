"""`lvcd encode`, with real shards, a real model of toy size and real processes."""

from __future__ import annotations

import errno
import fcntl
import hashlib
import io
import json
import multiprocessing
import os
import shutil
import signal
import tarfile

import numpy as np
import pytest
import torch
import webdataset as wds
import yaml

from lvcd.checkpoints.fingerprint import fingerprint
from lvcd.cli import main
from lvcd.data.clip import fit
from lvcd.data.resolutions import STAGES, Stage, stage_size
from lvcd.errors import InputError
from lvcd.nn.condition import clip_token
from lvcd.prepare.encode import Encoders, encode
from lvcd.shards.format import ShardWriter
from lvcd.shards.members import read_shard
from tests.helpers.paths import CONF
from tests.helpers.processes import hang_before, wait_until

STAGE = Stage("48x32", 32, 48)
SIZES = ((32, 48), (40, 70), (24, 30))  # as it is; to be cropped; to be enlarged


def digest(file) -> str:
    return hashlib.sha256(file.read_bytes()).hexdigest()


def write_shards(folder, shards: int, clips: int = 2, frames: int = 3):
    """As `lvcd prepare` leaves them."""
    rng, entries = np.random.default_rng(0), []
    folder.mkdir()
    for number in range(shards):
        file = folder / f"shard-{number:05d}.tar"
        with file.open("wb") as stream, ShardWriter(stream) as shard:
            for clip in range(clips):
                height, width = SIZES[(number + clip) % len(SIZES)]
                count = frames + clip
                pixels = rng.integers(0, 256, (count, height, width, 3), dtype=np.uint8)
                drawings = rng.integers(0, 256, (count, height, width), dtype=np.uint8)
                shard.add(f"film-{number}-{clip}", {"frames": count, "fps": 24.0, "film": "ä"}, zip(pixels, drawings))
        size = file.stat().st_size
        entries.append({"name": file.name, "sha256": digest(file), "bytes": size, "clips": clips})
    (folder / "manifest.json").write_text(json.dumps({"format": "lvcd shards 1", "shards": entries}))
    return folder


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    return write_shards(tmp_path_factory.mktemp("made") / "shards", 3)


@pytest.fixture
def shards(made, tmp_path):
    """To write beside, or to spoil."""
    return shutil.copytree(made, tmp_path / "shards")


@pytest.fixture(scope="module")
def encoders(model_folder):
    return Encoders.load(model_folder, STAGE, "cpu", 2)


@pytest.fixture(scope="module")
def whole(made, encoders, tmp_path_factory):
    """What an encoding gives that nothing disturbs."""
    copy = shutil.copytree(made, tmp_path_factory.mktemp("whole") / "shards")
    return encode(copy, encoders).folder


def files(folder) -> dict[str, bytes]:
    return {f.name: f.read_bytes() for f in sorted(folder.iterdir())}


def words(shards, model, *more) -> list[str]:
    return ["encode", str(shards), "--model", str(model), "--stage", "48x32", "--device", "cpu", *map(str, more)]


def refused(capsys, *arguments) -> str:
    """The one line that `lvcd encode` ends with, at exit code 2."""
    capsys.readouterr()
    assert main(list(arguments)) == 2
    (line,) = capsys.readouterr().err.strip().splitlines()
    return line


def arrays(file) -> dict[str, dict[str, np.ndarray]]:
    """By plain tar and plain numpy: key -> name -> array."""
    found: dict[str, dict[str, np.ndarray]] = {}
    with tarfile.open(file) as tar:
        for entry in tar:
            key, field = entry.name.split(".", 1)
            data = tar.extractfile(entry).read()
            value = json.loads(data) if field == "json" else np.load(io.BytesIO(data), allow_pickle=False)
            found.setdefault(key, {})[field] = value
    return found


def test_the_arrays_are_what_the_networks_give(made, whole, pipeline):
    """diffusers' own encode().mode() of each frame alone, up to the rounding to float16."""
    for number in range(3):
        source, found = made / f"shard-{number:05d}.tar", arrays(whole / f"shard-{number:05d}.tar")
        clips = list(read_shard(source))
        assert list(found) == [clip["__key__"] for clip in clips]
        for clip in clips:
            have = found[clip["__key__"]]
            assert list(have) == ["json", "latents.npy", "tokens.npy", "sketches.npy"]
            assert have["json"] == clip["json"]
            count = len(clip["frames"])
            assert (have["latents.npy"].shape, have["latents.npy"].dtype) == ((count, 4, 8, 12), np.float16)
            assert (have["tokens.npy"].shape, have["tokens.npy"].dtype) == ((count, 16), np.float16)
            assert (have["sketches.npy"].shape, have["sketches.npy"].dtype) == ((count, 32, 48), np.uint8)
            for i, (frame, sketch) in enumerate(zip(clip["frames"], clip["sketches"])):
                x = torch.from_numpy(fit(frame, 32, 48).copy()).permute(2, 0, 1)[None] / 127.5 - 1
                with torch.no_grad():
                    latent = pipeline.vae.encode(x).latent_dist.mode()[0]
                    token = clip_token(pipeline.image_encoder, x)[0, 0]
                np.testing.assert_allclose(have["latents.npy"][i], latent, rtol=2**-10, atol=1e-5)
                np.testing.assert_allclose(have["tokens.npy"][i], token, rtol=2**-10, atol=1e-5)
                assert np.array_equal(have["sketches.npy"][i], fit(sketch, 32, 48))


def test_the_manifest(made, whole, pipeline):
    manifest = json.loads((whole / "manifest.json").read_text())
    entries = [
        {"name": f.name, "sha256": digest(f), "bytes": f.stat().st_size, "clips": 2}
        for f in sorted(whole.glob("*.tar"))
    ]
    assert manifest == {
        "format": "lvcd encoded 1",
        "source_sha256": digest(made / "manifest.json"),
        "stage": {"name": "48x32", "height": 32, "width": 48},
        "encoders": {
            "vae": fingerprint(pipeline.vae),
            "scale": pipeline.vae.config.scaling_factor,
            "image_encoder": fingerprint(pipeline.image_encoder),
        },
        "shards": entries,
    }
    assert [entry["name"] for entry in entries] == ["shard-00000.tar", "shard-00001.tar", "shard-00002.tar"]
    assert sorted(files(whole)) == ["manifest.json", *(entry["name"] for entry in entries)]


def test_the_stock_loader_reads_them(whole):
    data = wds.WebDataset(f"{whole}/shard-{{00000..00002}}.tar", shardshuffle=False).decode()
    samples = list(data)
    assert [sample["__key__"] for sample in samples] == [f"film-{n}-{c}" for n in range(3) for c in range(2)]
    want = arrays(whole / "shard-00000.tar")["film-0-0"]["latents.npy"]
    assert np.array_equal(samples[0]["latents.npy"], want)


def test_the_command(shards, model_folder, whole, capsys):
    assert main(words(shards, model_folder, "--batch", 2)) == 0
    assert files(shards / "48x32") == files(whole)
    assert "6 clips, 21 frames encoded" in capsys.readouterr().out
    times = {f: f.stat().st_mtime_ns for f in (shards / "48x32").iterdir()}
    assert main(words(shards, model_folder)) == 0
    assert "0 frames encoded" in capsys.readouterr().out
    assert {f: f.stat().st_mtime_ns for f in (shards / "48x32").iterdir()} == times


def test_a_half_precision_copy_of_the_model_is_the_same_one(shards, pipeline, whole, tmp_path, encoders):
    pipeline.save_pretrained(tmp_path / "model")
    for part in ("vae", "image_encoder"):
        loaded = type(getattr(pipeline, part)).from_pretrained(tmp_path / "model" / part)
        loaded.half().save_pretrained(tmp_path / "model" / part)
    assert Encoders.load(tmp_path / "model", STAGE, "cpu", 2).describe() == encoders.describe()


# --------------------------------------------------------------------------------------------------- interrupted


class Stop(BaseException):
    pass


@pytest.mark.parametrize("before", [False, True])
def test_stopped_at_every_step_it_ends_with_the_same_bytes(shards, whole, encoders, monkeypatch, before):
    """Files appear by renaming. Run number n dies just before or after its n-th."""
    count, runs, replace = 0, 0, os.replace

    def dying(source, target):
        nonlocal count
        count += 1
        if before and count == runs:
            raise Stop
        replace(source, target)
        if count == runs:
            raise Stop

    monkeypatch.setattr(os, "replace", dying)
    while runs < 20:
        count, runs = 0, runs + 1
        try:
            encode(shards, encoders)
            break
        except Stop:
            pass
    assert 2 < runs < 20
    assert files(shards / "48x32") == files(whole)


def test_killed_and_started_again(encoders, tmp_path):
    """A process of its own, ended by SIGKILL while it writes."""
    shards = write_shards(tmp_path / "shards", 8, frames=6)
    other, out = shutil.copytree(shards, tmp_path / "other"), shards / "48x32"

    def until_the_fourth():
        hang_before("shard-00003.tar")
        encode(shards, encoders)

    process = multiprocessing.get_context("fork").Process(target=until_the_fourth)
    process.start()
    wait_until((out / "shard-00002.tar").exists, process)
    process.kill()
    process.join()
    assert process.exitcode == -signal.SIGKILL
    assert not (out / "manifest.json").exists()
    recorded = [shard["name"] for shard in json.loads((out / ".encode.json").read_text())["shards"]]
    assert 0 < len(recorded) < 8
    times = {name: (out / name).stat().st_mtime_ns for name in recorded}

    (out / ".shard-00005.tar.1234abcd.tmp").write_bytes(b"of a write that was killed")
    assert encode(shards, encoders).reused == len(recorded)
    assert {name: (out / name).stat().st_mtime_ns for name in recorded} == times  # not written again
    assert files(out) == files(encode(other, encoders).folder)


def test_killed_between_the_manifest_and_its_tidying(shards, whole, encoders):
    shutil.copytree(whole, shards / "48x32")
    shutil.copy(whole / "manifest.json", shards / "48x32" / ".encode.json")
    assert encode(shards, encoders).frames == 0
    assert files(shards / "48x32") == files(whole)


def test_a_full_disk_and_ctrl_c(shards, whole, model_folder, monkeypatch, capsys):
    replace, errors = os.replace, [OSError(errno.ENOSPC, "No space left on device"), KeyboardInterrupt()]

    def failing(source, target):
        if str(target).endswith("shard-00001.tar") and errors:
            raise errors.pop(0)
        replace(source, target)

    monkeypatch.setattr(os, "replace", failing)
    arguments = words(shards, model_folder, "--batch", 2)
    assert main(arguments) == 2
    assert "free some space" in capsys.readouterr().err.splitlines()[-1]
    assert sorted(files(shards / "48x32")) == [".encode.json", "shard-00000.tar"]
    assert main(arguments) == 130
    assert "goes on" in capsys.readouterr().err
    assert main(arguments) == 0
    assert files(shards / "48x32") == files(whole)


def test_too_little_memory(shards, whole, encoders, monkeypatch):
    def full(*_):
        raise torch.OutOfMemoryError("CUDA out of memory")

    with monkeypatch.context() as patch:
        patch.setattr("lvcd.prepare.encode.encode_mode", full)
        with pytest.raises(InputError, match="lower --batch"):
            encode(shards, encoders)
    encode(shards, encoders)
    assert files(shards / "48x32") == files(whole)


# --------------------------------------------------------------------------------------------------- damage


def test_a_damaged_result_is_written_again(shards, whole, encoders):
    out = shutil.copytree(whole, shards / "48x32")
    (out / "shard-00001.tar").write_bytes(b"no more")
    done = encode(shards, encoders)
    assert (done.clips, done.reused) == (2, 2)
    assert files(out) == files(whole)


def test_a_damaged_source_loses_its_clip_alone_and_comes_back(shards, whole, encoders, capsys):
    file = shards / "shard-00001.tar"
    good = file.read_bytes()
    with tarfile.open(file) as tar:
        at = tar.getmember("film-1-0.frame001.png").offset_data + 60
    file.write_bytes(good[:at] + bytes([good[at] ^ 255]) + good[at + 1 :])
    done = encode(shards, encoders)
    assert (done.clips, done.unreadable) == (5, 1)
    assert "film-1-0" in capsys.readouterr().err
    assert list(arrays(shards / "48x32" / "shard-00001.tar")) == ["film-1-1"]
    manifest = json.loads((shards / "48x32" / "manifest.json").read_text())
    assert [shard["clips"] for shard in manifest["shards"]] == [2, 1, 2]

    file.write_bytes(good)
    assert encode(shards, encoders).reused == 2
    assert files(shards / "48x32") == files(whole)


def test_other_shards_under_the_same_names(shards, made, encoders, whole):
    shutil.copy(made / "shard-00000.tar", shards / "shard-00001.tar")
    with pytest.raises(InputError, match="manifest"):
        encode(shards, encoders)
    assert not (shards / "48x32" / "manifest.json").exists()
    shutil.copy(made / "shard-00001.tar", shards)
    encode(shards, encoders)
    assert files(shards / "48x32") == files(whole)


def test_prepared_anew(shards, whole, encoders, monkeypatch):
    out = shutil.copytree(whole, shards / "48x32")
    text = (shards / "manifest.json").read_text()
    (shards / "manifest.json").write_text(text + "\n")
    with pytest.raises(InputError, match="other source shards"):
        encode(shards, encoders)
    assert files(out) == files(whole)


# --------------------------------------------------------------------------------------------------- the folder


def test_another_model(shards, whole, encoders):
    from tests.helpers.toys import toy_pipeline

    shutil.copytree(whole, shards / "48x32")
    other = toy_pipeline(seed=1)
    with pytest.raises(InputError, match="other model"):
        encode(shards, Encoders(other.vae, other.image_encoder, STAGE, "cpu", 2))
    assert files(shards / "48x32") == files(whole)


def test_another_model_that_came_to_nothing_is_not_in_the_way(shards, whole, encoders, monkeypatch):
    from tests.helpers.toys import toy_pipeline

    other = toy_pipeline(seed=1)
    with monkeypatch.context() as patch:
        patch.setattr("lvcd.shards.folder.ShardWriter", None)
        with pytest.raises(TypeError):
            encode(shards, Encoders(other.vae, other.image_encoder, STAGE, "cpu", 2))
    assert sorted(files(shards / "48x32")) == [".encode.json"]
    encode(shards, encoders)
    assert files(shards / "48x32") == files(whole)


def test_files_of_others(shards, whole, encoders):
    out = shards / "48x32"
    out.mkdir()
    (out / "notes.txt").write_text("mine")
    (out / ".mine.tmp").write_text("mine")
    (out / "shard-00001.tar").write_text("mine")
    with pytest.raises(InputError, match="shard-00001.tar"):
        encode(shards, encoders)
    (out / "shard-00001.tar").unlink()
    encode(shards, encoders)
    assert files(out) == {**files(whole), "notes.txt": b"mine", ".mine.tmp": b"mine"}


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"format": "lvcd shards 1"}'])
def test_a_manifest_of_others(shards, encoders, text):
    (shards / "48x32").mkdir()
    (shards / "48x32" / "manifest.json").write_text(text)
    with pytest.raises(InputError, match="delete"):
        encode(shards, encoders)


def test_two_at_once(shards, encoders):
    (shards / "48x32").mkdir()
    with (shards / "48x32" / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with pytest.raises(InputError, match="another run is writing"):
            encode(shards, encoders)
    assert encode(shards, encoders).clips == 6


def test_a_name_that_leaves_the_folder(shards, encoders):
    record = json.loads((shards / "manifest.json").read_text())
    record["shards"][0]["name"] = "../../evil.tar"
    (shards / "manifest.json").write_text(json.dumps(record))
    with pytest.raises(InputError, match="do not trust"):
        encode(shards, encoders)


# --------------------------------------------------------------------------------------------------- what is given


def test_what_cannot_be_used(shards, model_folder, tmp_path, capsys):
    def said(*more):
        return refused(capsys, "encode", str(shards), "--device", "cpu", *map(str, more))

    assert "give --stage 48x32" in said("--model", model_folder, "--stage", "50x30")
    assert "give --stage 16x16" in said("--model", model_folder, "--stage", "1x5")
    assert "none of 320p, 576p" in said("--model", model_folder, "--stage", "72p")
    assert "at least 1" in said("--model", model_folder, "--stage", "48x32", "--batch", 0)
    assert "sofa" in said("--model", model_folder, "--stage", "48x32", "--device", "sofa")
    assert "is not a model folder" in said("--model", tmp_path / "none", "--stage", "48x32")
    broken = shutil.copytree(model_folder, tmp_path / "broken")
    shutil.rmtree(broken / "vae")
    assert "vae" in said("--model", broken, "--stage", "48x32")
    assert str(broken / "unet") in said("--model", broken / "unet", "--stage", "48x32")
    assert "manifest.json" in refused(capsys, *words(tmp_path / "nothing", model_folder))
    assert not (shards / "48x32").exists()


@pytest.mark.parametrize("text", ["320P", "0x32", "32x", "x", "48x32x3", "-48x32", "48x32 ", "٤٨x٣٢", "../x"])
def test_no_stage(text):
    with pytest.raises(InputError, match="WIDTHxHEIGHT"):
        stage_size(text)


def test_stages():
    assert stage_size("320p") == stage_size("576x320") == ("320p", 320, 576)
    assert stage_size("576p") == ("576p", 576, 1024)
    assert stage_size("256x144") == ("256x144", 144, 256)


def test_the_configurations_agree():
    for name, (height, width) in STAGES.items():
        text = (CONF / "train" / "stage" / f"{name}.yaml").read_text()
        assert yaml.safe_load(text)["data"] == {"height": height, "width": width}
