"""A run that is stopped anywhere goes on to the same bytes, and nothing half-written ever has the final name."""

from __future__ import annotations

import ctypes
import errno
import functools
import gc
import multiprocessing
import os
import re
import resource
import shutil
import signal
import subprocess

import numpy as np
import pytest
import torch

from lvcd.errors import InputError
from lvcd.io.frame_folder import BESIDE
from lvcd.io.frame_formats import LAYERS, LayeredFrame
from lvcd.io.images import read_image, write_png
from lvcd.io.output import LITTER, ResumableOutput
from lvcd.io.reader import open_frames
from tests.helpers.processes import CEILING, wait_until

JOB = {"steps": 25, "inputs": {"reference": "a" * 64, "sketches": ["b" * 64, "c" * 64]}}
TOTAL = 6
SHORT = 3  # frames of the tests that try every moment
fork = multiprocessing.get_context("fork")


def picture(index, seed=0):
    return np.random.default_rng((seed, index)).integers(0, 255, (16, 24, 3), dtype=np.uint8)


def output(path, total=TOTAL, fps=12.0, job=JOB, **options):
    return ResumableOutput(path, job, total, fps, **options)


def run(path, seed=0, stop=None, total=TOTAL, **options):
    """What `lvcd colorize` does: segments of two frames, a checkpoint after each; `stop` frames, then it goes away."""
    with output(path, total, **options) as out:
        if out.done:
            return out.path
        state = out.restore()
        first = int(state[1]["next"]) if state else 0
        assert not state or state[0]["latent"].tolist() == [float(first)]
        for start in range(first, total, 2):
            for index in range(start, min(start + 2, total)):
                if index == stop:
                    return None
                out.write(index, picture(index, seed))
            out.checkpoint({"latent": torch.tensor([float(start + 2)])}, {"next": str(start + 2)})
        return out.finish()


def content(path):
    """The bytes of a result, by file."""
    return {name: (path / name).read_bytes() for name in left(path)} if path.is_dir() else path.read_bytes()


def left(folder):
    """What is in a folder, but for records of what made results."""
    return sorted(name for name in os.listdir(folder) if not re.fullmatch(r"\..*\.lvcd\.json", name))


def refusal(call, *names):
    """The message of the InputError that `call` raises: one line that holds all of `names`."""
    with pytest.raises(InputError) as caught:
        call()
    message = str(caught.value)
    assert message.isprintable() and ": " in message, message
    for name in names:
        assert str(name) in message, (name, message)
    return message


def start(function):
    """`function` in a process of its own, which frees no object of FFmpeg that it got from us: that would hang."""

    def target():
        gc.disable()
        function()

    process = fork.Process(target=target, daemon=True)
    process.start()
    return process


def child(function):
    """The exit code of `function` in a process of its own: 0, or minus the signal that killed it."""
    process = start(function)
    process.join(CEILING)
    if process.is_alive():
        process.kill()
        pytest.fail("the child hangs")
    return process.exitcode


@pytest.fixture(scope="module")
def expected(tmp_path_factory):
    """Uninterrupted results, by (name, seed) and (name, seed, SHORT)."""
    folder = tmp_path_factory.mktemp("expected")
    return {
        (name, seed, *short): content(run(folder / str(seed) / str(short) / name, seed, None, *short))
        for name in ("out", "m.mp4", "m.webm", "m.gif")
        for seed in (0, 1)
        for short in ((), (SHORT,))
    }


# --- the result ---------------------------------------------------------------------------------------------------


def test_a_folder(tmp_path, expected):
    path = run(tmp_path / "deep" / "er" / "out")
    assert path == tmp_path / "deep" / "er" / "out"
    assert left(path) == [f"{index:05d}.png" for index in range(TOTAL)] and left(path.parent) == ["out"]
    for index in range(TOTAL):
        assert np.array_equal(read_image(path / f"{index:05d}.png"), picture(index))
    assert content(path) == expected["out", 0] != expected["out", 1]


@pytest.mark.parametrize("name", ["m.mp4", "m.webm", "m.gif"])
def test_a_movie(tmp_path, name, expected):
    path = run(tmp_path / name)
    with open_frames(path) as frames:
        assert len(frames) == TOTAL and frames.fps == pytest.approx(12, rel=0.02) and frames.size == (16, 24)
    assert left(tmp_path) == [name] and content(path) == expected[name, 0] != expected[name, 1]


def test_nothing_has_the_final_name_before_the_end(tmp_path):
    for name in ("out", "m.mp4"):
        with output(tmp_path / name) as out:
            for index in range(TOTAL):
                out.write(index, picture(index))
                out.checkpoint({}, {})
                assert not (tmp_path / name).exists()
            out.finish()
            assert out.done and (tmp_path / name).exists() and out.finish() == tmp_path / name


def test_an_empty_folder_and_a_link_are_used(tmp_path, expected):
    (tmp_path / "out").mkdir()
    assert content(run(tmp_path / "out")) == expected["out", 0]
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to("real")
    run(tmp_path / "link")
    assert (tmp_path / "link").is_symlink() and content(tmp_path / "real") == expected["out", 0]
    assert left(tmp_path) == ["link", "out", "real"]


def test_frames_in_any_order_and_written_again(tmp_path, expected):
    with output(tmp_path / "out") as out:
        for index in (5, 0, 3, 1, 2, 4):
            out.write(index, picture(index, seed=9))
        for index in range(TOTAL):
            out.write(index, picture(index))
        out.finish()
    assert content(tmp_path / "out") == expected["out", 0]


def test_more_frames_than_five_digits(tmp_path):
    with output(tmp_path / "out", total=100001) as out:
        out.write(100000, picture(0))
        out.write(7, picture(0))
        assert {"000007.png", "100000.png"} < set(left(out.partial))


def test_misuse(tmp_path):
    with output(tmp_path / "out") as out:
        for index in (-1, TOTAL):
            with pytest.raises(IndexError):
                out.write(index, picture(0))
        out.write(0, picture(0))
        for frame in (picture(0)[:8], picture(0)[..., :2], picture(0) / 255):
            with pytest.raises(ValueError):
                out.write(1, frame)
    refusal(lambda: output(tmp_path / "none", total=0), "none")


# --- checkpoints --------------------------------------------------------------------------------------------------


def test_checkpoint_round_trip(tmp_path):
    whole = torch.arange(12.0).reshape(3, 4)
    tensors = {"a": whole.T, "b": whole[1:], "half": whole.bfloat16(), "empty": torch.zeros(0, 4), "i": torch.tensor(7)}
    with output(tmp_path / "out") as out:
        assert out.restore() is None
        out.checkpoint({"old": torch.ones(1)}, {"old": "1"})
        out.checkpoint(tensors, {"next": "3", "note": "two\nlines, é"})
    with output(tmp_path / "out", resume=True) as out:
        got, metadata = out.restore()
        assert metadata == {"next": "3", "note": "two\nlines, é"} and got.keys() == tensors.keys()
        assert all(torch.equal(got[name], tensors[name]) and got[name].dtype == tensors[name].dtype for name in tensors)
        got["a"] += 1  # the caller's own
        out.checkpoint({}, {"next": "4"})
        assert out.restore() == ({}, {"next": "4"})


@pytest.mark.parametrize("damage", [b"", b"garbage", None])
def test_a_damaged_checkpoint_is_refused(tmp_path, damage):
    run(tmp_path / "out", stop=5)
    file = tmp_path / "out.partial" / "state.safetensors"
    file.write_bytes(file.read_bytes()[:-2] if damage is None else damage)
    refusal(lambda: run(tmp_path / "out", resume=True), file, "damaged", "delete")


def test_a_foreign_checkpoint_is_refused(tmp_path):
    from safetensors.torch import save_file

    run(tmp_path / "out", stop=5)
    save_file({"x": torch.ones(1)}, tmp_path / "out.partial" / "state.safetensors")
    refusal(lambda: run(tmp_path / "out", resume=True), "state.safetensors", "damaged")


def test_a_finished_frame_that_is_gone_is_found_at_once(tmp_path):
    run(tmp_path / "out", stop=5)
    (tmp_path / "out.partial" / "00002.png").unlink()
    refusal(lambda: run(tmp_path / "out", resume=True), "00002.png", "gone")


def test_finish_checks_the_frames(tmp_path):
    with output(tmp_path / "out") as out:
        for index in (0, 2, 3, 5):
            out.write(index, picture(index))
        refusal(out.finish, "2 of 6", "00001.png", "--resume")
        for index in range(TOTAL):
            out.write(index, picture(index))
        write_png(out.partial / "00004.png", picture(4)[:8])
        refusal(out.finish, "00004.png", "size")
        (out.partial / "00004.png").write_bytes((out.partial / "00003.png").read_bytes()[:200])
        refusal(out.finish, "00004.png")
        assert left(tmp_path) == [".out.lock", "out.partial"]
        out.write(4, picture(4))
        out.finish()


# --- resuming -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("stop", range(TOTAL))
def test_a_stopped_run_goes_on(tmp_path, expected, stop):
    run(tmp_path / "out", stop=stop)
    assert not (tmp_path / "out").exists()
    if stop:
        refusal(lambda: run(tmp_path / "out"), "out.partial", "--resume")
    assert content(run(tmp_path / "out", resume=True)) == expected["out", 0]
    assert left(tmp_path) == ["out"]


def test_resume_with_nothing_to_resume_starts(tmp_path, expected):
    assert content(run(tmp_path / "out", resume=True)) == expected["out", 0]


def test_a_run_that_did_nothing_leaves_nothing(tmp_path):
    with output(tmp_path / "out"):
        assert left(tmp_path) == [".out.lock", "out.partial"]
    assert left(tmp_path) == []
    child(lambda: (output(tmp_path / "out"), os.kill(os.getpid(), signal.SIGKILL)))
    assert left(tmp_path) == [".out.lock", "out.partial"]
    run(tmp_path / "out", job={"steps": 3})
    assert left(tmp_path) == ["out"]


@pytest.mark.parametrize("name", ["out", "m.gif"])
def test_resume_when_all_is_done(tmp_path, name):
    path = run(tmp_path / name)
    before, at = content(path), path.stat().st_mtime_ns
    with output(path, resume=True) as out:
        assert out.done and out.restore() is None and out.finish() == path
    assert content(path) == before and path.stat().st_mtime_ns == at and left(tmp_path) == [name]
    with output(path, total=TOTAL, overwrite=True) as out:
        assert not out.done


@pytest.mark.parametrize("name", ["out", "m.gif"])
def test_a_finished_result_of_another_job_is_not_this_ones(tmp_path, name):
    path = run(tmp_path / name)
    before = content(path)
    refusal(lambda: output(path, resume=True, job=JOB | {"steps": 30}), name, "steps was 25 and is 30", "--overwrite")
    assert content(path) == before and left(tmp_path) == [name]
    (tmp_path / f".{name}.lvcd.json").unlink()  # as results of earlier versions
    with output(path, resume=True, job=JOB | {"steps": 30}) as out:
        assert out.done


def test_frames_are_called_as_they_are_to_be(tmp_path, expected):
    names = ["A0001", "A0003", "日本 b7", "A0010", "A0011", "x.y"]
    path = run(tmp_path / "shot.v01", names=names)
    assert left(path) == sorted(f"{name}.png" for name in names)
    assert {f"{index:05d}.png": (path / f"{name}.png").read_bytes() for index, name in enumerate(names)} == expected[
        "out", 0
    ]
    run(path, names=names, overwrite=True)
    (tmp_path / ".shot.v01.lvcd.json").unlink()
    run(path, names=names, overwrite=True)  # what has its very names may be replaced
    (path / "A0012.png").write_text("mine")
    refusal(lambda: output(path, names=names, overwrite=True), "A0012.png")


@pytest.mark.parametrize("kind", ["png", "tga", "tiff", "psd"])
def test_a_frame_that_is_repeated_and_layers_resume(tmp_path, kind):
    layers = {name: np.full((4, 6, 4), number, np.uint8) for number, name in enumerate(LAYERS)}
    frame = LayeredFrame(np.full((4, 6, 3), 7, np.uint8), layers)

    def paint(path, stop=None, **options):
        with output(path, total=3, kind=kind, layered=True, **options) as out:
            for index in (0, 2, 1):
                if index == stop:
                    return None
                out.repeat(2, of=0) if index == 2 else out.write(index, frame)
                out.checkpoint({}, {})
            return out.finish()

    paint(tmp_path / "once")
    paint(tmp_path / "out", stop=1)
    paint(tmp_path / "out", resume=True)
    once, again = (
        {file.relative_to(tmp_path / name): file.read_bytes() for file in (tmp_path / name).rglob("*.*")}
        for name in ("once", "out")
    )
    assert once == again and len(once) == (12 if kind in ("png", "tga") else 3)
    with output(tmp_path / "out", total=3, kind=kind, layered=True, resume=True) as out:
        assert out.done
    refusal(lambda: output(tmp_path / "m.mp4", total=3, layered=True), "m.mp4", "layers")


@pytest.mark.parametrize("name", ["one.png", "one.tga", "one.tif", "one.psd"])
def test_one_image(tmp_path, name):
    path = run(tmp_path / name, total=1, names=["sketch"])
    assert np.array_equal(read_image(path), picture(0)) and left(tmp_path) == [name]
    refusal(lambda: output(path, total=1), name, "--overwrite")
    run(path, seed=1, total=1, names=["sketch"], overwrite=True)
    assert np.array_equal(read_image(path), picture(0, 1)) and left(tmp_path) == [name]
    refusal(lambda: output(tmp_path / "two.png"), "two.png", "6 frames", "folder")
    refusal(lambda: output(tmp_path / "two.png", total=1, kind="tga"), "two.png", ".tga")


@pytest.mark.parametrize("name", ["out", "m.gif"])
def test_another_result_is_not_taken_for_this_one(tmp_path, name):
    run(tmp_path / name, total=4)
    refusal(lambda: output(tmp_path / name, resume=True), name, "--overwrite")
    (tmp_path / "m.mp4").write_text("no movie")
    refusal(lambda: output(tmp_path / "m.mp4", resume=True), "m.mp4", "--overwrite")


def test_what_file_managers_leave_is_no_result(tmp_path, expected):
    target = tmp_path / "out"
    target.mkdir()
    for name in LITTER:
        (target / name).write_bytes(b"x")
    assert run(target)  # into a folder that was only looked at
    (target / ".DS_Store").write_bytes(b"x")
    with output(target, resume=True) as same:
        assert same.done
    assert run(target, overwrite=True)
    assert not LITTER & {file.name for file in target.iterdir()}


def test_a_movie_is_gone_on_with_at_another_rate(tmp_path):
    """No frame depends on it."""
    run(tmp_path / "out.mp4", stop=3)
    assert run(tmp_path / "out.mp4", resume=True, fps=6.0)
    with open_frames(tmp_path / "out.mp4") as frames:
        assert frames.fps == pytest.approx(6)


def test_resume_of_another_job_names_what_differs(tmp_path):
    run(tmp_path / "out", stop=3)
    other = {"steps": 30, "inputs": {"reference": "d" * 64, "sketches": JOB["inputs"]["sketches"]}, "new": "x\ny"}
    message = refusal(
        lambda: output(tmp_path / "out", job=other, resume=True),
        "out.partial",
        "steps was 25 and is 30",
        "inputs.reference changed",
        "new was not set",
    )
    assert "sketches" not in message and "dddd" not in message and "total" not in message
    refusal(lambda: output(tmp_path / "out", total=7, resume=True), "total was 6 and is 7")
    many = {f"setting{index}": index for index in range(30)}
    refusal(lambda: output(tmp_path / "out", job=JOB | many, resume=True), "and 26 more")
    assert run(tmp_path / "out", resume=True, job=dict(reversed(JOB.items())))  # the order of keys is no difference


def test_two_runs_at_once(tmp_path, expected):
    first = output(tmp_path / "out")
    first.write(0, picture(0))
    for options in ({}, {"resume": True}, {"overwrite": True}):
        refusal(lambda options=options: output(tmp_path / "out", **options), tmp_path / "out", "another run")
    with output(tmp_path / "other"):
        pass
    first.close()
    assert content(run(tmp_path / "out", resume=True)) == expected["out", 0]


def test_two_processes_at_once(tmp_path):
    ready, go = fork.Event(), fork.Event()

    def hold():
        with output(tmp_path / "out") as out:
            out.write(0, picture(0))
            ready.set()
            go.wait(CEILING)

    process = start(hold)
    assert ready.wait(CEILING)
    refusal(lambda: output(tmp_path / "out", resume=True), "another run")
    go.set()
    process.join(CEILING)
    with output(tmp_path / "out", resume=True):
        pass


# --- killed -------------------------------------------------------------------------------------------------------


def test_kill_9_at_some_time_and_resume(tmp_path, expected):
    def slowly():
        write = ResumableOutput.write
        ResumableOutput.write = lambda *args: write(*args) if args[1] < 5 else signal.pause()
        run(tmp_path / "out")

    process = start(slowly)
    wait_until((tmp_path / "out.partial" / "00003.png").exists, process)
    os.kill(process.pid, signal.SIGKILL)
    process.join(CEILING)
    assert process.exitcode == -signal.SIGKILL and not (tmp_path / "out").exists()
    refusal(lambda: run(tmp_path / "out"), "--resume")
    assert content(run(tmp_path / "out", resume=True)) == expected["out", 0] and left(tmp_path) == ["out"]


STEPS = ("replace", "rename", "unlink", "rmdir", "mkdir")


def killed_at(step, function):
    """Runs `function` in a child that dies by SIGKILL right before its `step`-th change to a folder; True if it did."""

    def target():
        seen = 0

        def counted(change):
            def call(*args, **kwargs):
                nonlocal seen
                seen += 1
                if seen == step:
                    os.kill(os.getpid(), signal.SIGKILL)
                return change(*args, **kwargs)

            return call

        for name in STEPS:
            setattr(os, name, counted(getattr(os, name)))
        function()

    code = child(target)
    assert code in (0, -signal.SIGKILL)
    return code != 0


@pytest.mark.slow
@pytest.mark.parametrize("name", ["out", "m.gif"])
@pytest.mark.parametrize("old", [False, True])
def test_killed_before_any_step_at_all(tmp_path, expected, name, old):
    """Every moment at which folders change: the final name holds nothing, the old or the new; resume completes it."""
    results = [expected[name, 0, SHORT]] + [expected[name, 1, SHORT]] * old
    for step in range(1, 100):
        folder = tmp_path / str(step)
        path = folder / name
        if old:
            run(path, 1, total=SHORT)
        killed = killed_at(step, lambda path=path: run(path, total=SHORT, overwrite=old))
        if path.exists():
            now = content(path)
            if name == "out":
                now = {file: data for file, data in now.items() if file.endswith(".png")}
            assert now in results, step
        else:
            assert name == "out" or not old, step
        run(path, total=SHORT, overwrite=old, resume=True)
        assert content(path) == results[0], step
        assert left(folder) == [name], step
        if not killed:
            break
    assert 9 < step < 99  # it went through all of them, and they are many


def test_killed_in_the_middle_of_a_png_leaves_no_litter(tmp_path, expected):
    def die(self, data):
        with self.open("wb") as file:
            file.write(data[:100])
        os.kill(os.getpid(), signal.SIGKILL)

    def target():
        run(tmp_path / "out", stop=3)
        type(tmp_path).write_bytes = die
        run(tmp_path / "out", resume=True)

    assert child(target) == -signal.SIGKILL
    assert any(name.endswith(".tmp") for name in left(tmp_path / "out.partial"))
    assert content(run(tmp_path / "out", resume=True)) == expected["out", 0]


# --- what is there already ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["out", "m.gif"])
def test_an_old_result_stays_until_the_new_one_is_complete(tmp_path, expected, name):
    path = run(tmp_path / name, seed=1)
    refusal(lambda: output(path), path, "--overwrite")
    run(path, stop=5, overwrite=True)
    assert content(path) == expected[name, 1]
    refusal(lambda: run(path, overwrite=True), "--resume")
    refusal(lambda: run(path, resume=True), "--overwrite")
    assert content(path) == expected[name, 1]
    run(path, overwrite=True, resume=True)
    assert content(path) == expected[name, 0] and left(tmp_path) == [name]


def test_a_folder_with_other_things_is_never_overwritten(tmp_path):
    path = run(tmp_path / "out")
    (path / "notes.txt").write_text("mine")
    refusal(lambda: output(path, overwrite=True), path, "notes.txt")
    (path / "notes.txt").rename(tmp_path / "notes.txt")
    with output(path, overwrite=True) as out:
        for index in range(TOTAL):
            out.write(index, picture(index, 1))
        (tmp_path / "notes.txt").rename(path / "notes.txt")  # put there in the meantime
        refusal(out.finish, "notes.txt")
    assert (path / "notes.txt").read_text() == "mine" and len(left(path)) == TOTAL + 1


@pytest.mark.parametrize("name", ["out", "m.gif"])
def test_a_result_that_appears_meanwhile_is_kept(tmp_path, name):
    with output(tmp_path / name) as out:
        for index in range(TOTAL):
            out.write(index, picture(index))
        run(tmp_path / "other" / name, seed=1).rename(tmp_path / name)
        before = content(tmp_path / name)
        refusal(out.finish, tmp_path / name, "--resume")
        assert content(tmp_path / name) == before


def test_a_foreign_partial_folder_is_never_touched(tmp_path):
    partial = tmp_path / "out.partial"
    for job in (None, "", "[]", "{}", '{"format": "something", "job": {}}', '{"format": "lvcd output 1", "job": 3}'):
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir()
        (partial / "00000.png").write_text("mine")
        if job is not None:
            (partial / "job.json").write_text(job)
        for options in ({}, {"resume": True}, {"resume": True, "overwrite": True}):
            refusal(lambda options=options: output(tmp_path / "out", **options), partial, "move it")
        assert (partial / "00000.png").read_text() == "mine"
    shutil.rmtree(partial)
    partial.write_text("mine")
    refusal(lambda: output(tmp_path / "out", resume=True), partial)
    partial.unlink()
    partial.symlink_to(tmp_path)
    refusal(lambda: output(tmp_path / "out", resume=True), partial)
    assert left(tmp_path) == ["out.partial"]


def test_paths_that_no_result_can_have(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("x")
    (tmp_path / "dir.mp4").mkdir()
    message = refusal(lambda: output(tmp_path / "m.avi"), "m.avi")
    assert all(suffix in message for suffix in (".mp4", ".webm", ".gif", "folder"))
    refusal(lambda: output(tmp_path / "file"), "file", "folder")
    refusal(lambda: output(tmp_path / "file", overwrite=True), "file", "folder")
    refusal(lambda: output(tmp_path / "file" / "out"), "out")
    refusal(lambda: output(tmp_path / "dir.mp4"), "dir.mp4")
    refusal(lambda: output(tmp_path / ("x" * 300)), "cannot write")
    refusal(lambda: output("/proc/out"), "/proc/out")
    refusal(lambda: output("/"), "/")
    refusal(lambda: output("/proc"), "/proc", "mounted")
    assert left(tmp_path) == ["dir.mp4", "file"]
    (tmp_path / "v1.5").mkdir()
    assert run(tmp_path / "v1.5")  # a folder that is there may have a dot in its name


# --- the disk -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["out", "m.gif"])
def test_a_full_disk_at_any_moment(tmp_path, monkeypatch, expected, name):
    """Let the n-th change of a name fail, for every n: one line, nothing half-written, and the run goes on after."""
    real = {change: getattr(os, change) for change in ("replace", "rename")}
    for fail_at in range(1, 30):
        path, seen = tmp_path / str(fail_at) / name, []

        def change(real_change, *args, seen=seen, fail_at=fail_at):
            seen.append(real_change)
            if len(seen) == fail_at:
                raise OSError(errno.ENOSPC, "No space left on device")
            return real_change(*args)

        for key, real_change in real.items():
            monkeypatch.setattr(os, key, functools.partial(change, real_change))
        try:
            run(path, total=SHORT)
        except InputError as error:
            assert str(error).isprintable() and "free some space" in str(error)
            assert fail_at == 1 or "--resume" in str(error)
            assert not path.exists() and not [file for file in left(path.parent) if "tmp" in file]
        monkeypatch.undo()
        if len(seen) < fail_at:
            break
        assert content(run(path, total=SHORT, resume=True)) == expected[name, 0, SHORT]
    assert fail_at > SHORT + 4


def test_a_folder_whose_last_step_fails_keeps_the_old_one(tmp_path, monkeypatch, expected):
    path = run(tmp_path / "out", seed=1)
    real = os.rename

    def fail(source, *args, **kwargs):
        if str(source).endswith(".partial"):
            raise OSError(errno.ENOSPC, "No space left on device")
        return real(source, *args, **kwargs)

    monkeypatch.setattr(os, "rename", fail)
    refusal(lambda: run(path, overwrite=True), path, "free some space", "--resume")
    monkeypatch.undo()
    assert content(path) == expected["out", 1]
    run(path, overwrite=True, resume=True)
    assert content(path) == expected["out", 0] and left(tmp_path) == ["out"]


@pytest.mark.parametrize("limit", [500, 1100, 2000])
def test_writes_that_really_fail(tmp_path, expected, limit):
    """A limit on the size of a file stands in for the full disk: at a frame, and at the encoding of the movie."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limits[1]))
    try:
        refusal(lambda: run(tmp_path / "m.gif"), "m.gif", "free some space", "--resume")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert "m.gif" not in left(tmp_path)
    assert content(run(tmp_path / "m.gif", resume=True)) == expected["m.gif", 0]


def test_a_disk_that_is_really_full(tmp_path):
    """A file system of 16 kB in a mount namespace of its own."""
    if ctypes.CDLL(None).unshare(0) != 0:
        pytest.skip("no unshare here")
    where = tmp_path / "small"
    where.mkdir()

    def target():
        new_mount_namespace = 0x20000
        if ctypes.CDLL(None).unshare(new_mount_namespace) != 0:
            os._exit(77)
        for command in (
            ["mount", "--make-rprivate", "/"],
            ["mount", "-t", "tmpfs", "-o", "size=16k", "tmpfs", str(where)],
        ):
            if subprocess.run(command, capture_output=True).returncode:
                os._exit(77)
        refusal(lambda: run(where / "out", total=100), "free some space", "--resume", ".png")
        assert "out" not in left(where) and not [name for name in left(where / "out.partial") if "tmp" in name]
        subprocess.run(["mount", "-o", "remount,size=1m", str(where)], check=True)
        assert len(left(run(where / "out", total=100, resume=True))) == 100

    code = child(target)
    if code == 77:
        pytest.skip("not allowed to mount here")
    assert code == 0


def test_what_goes_with_the_frames_lies_beside_them(tmp_path):
    for seed in range(2):  # the second replaces the first
        with output(tmp_path / "out", 2, overwrite=seed > 0) as out:
            for index in range(2):
                out.write(index, picture(index, seed))
                out.write_beside(f"index/{out.name(index)}.json", bytes([seed]))
            out.finish()
        found = {file.name: file.read_bytes() for file in (tmp_path / "out" / BESIDE / "index").iterdir()}
        assert found == {"00000.json": bytes([seed]), "00001.json": bytes([seed])}
    with output(tmp_path / "out", 2, resume=True) as out:
        assert out.done
