"""`lvcd`, as a person would use it: real files, real processes."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time

import numpy as np
import PIL.Image
import pytest
import torch
from safetensors.torch import load_file, save_file

from lvcd.cli import main
from lvcd.data.cartoons import draw
from lvcd.flats import PaintBucket
from lvcd.io.images import read_image, write_png
from lvcd.io.movies import write_movie
from lvcd.io.reader import open_frames
from lvcd.lineart.xdog import xdog
from tests.helpers.paths import TEST_STYLE
from tests.helpers.processes import CEILING

HEIGHT, WIDTH = 32, 48


def write_clip(folder, count: int, light: bool = False):
    """Sketches and a reference (frame 0 in color) under `folder`."""
    clip = draw(3, count, HEIGHT, WIDTH)
    (folder / "sketches").mkdir(parents=True)
    for i, lines in enumerate(clip.lines):
        write_png(folder / "sketches" / f"{i}.png", np.repeat((lines if light else 255 - lines)[..., None], 3, -1))
    write_png(folder / "reference.png", clip.frames[0])
    return folder


def xdog_of(file) -> np.ndarray:
    """Line art (H W) of a picture"""
    return xdog(torch.from_numpy(read_image(file)).movedim(-1, 0)[None] / 127.5 - 1)[0, 0].numpy()


@pytest.fixture(scope="module")
def clip(tmp_path_factory):
    return write_clip(tmp_path_factory.mktemp("clip"), 9)


@pytest.fixture
def colorize(clip, model_folder, tmp_path, capsys):
    """colorize("--option", value, ...) => exit code, last line of stderr; the output is tmp_path / "out"."""

    def run(*options, model=model_folder):
        defaults = {"--sketches": clip / "sketches", "--reference": clip / "reference.png", "--model": model,
                    "--output": tmp_path / "out", "--steps": 2, "--overlap": 2, "--device": "cpu"}  # fmt: skip
        words, rest = {**defaults}, list(options)
        flags = []
        while rest:
            word = rest.pop(0)
            if rest and not str(rest[0]).startswith("--"):
                words[word] = rest.pop(0)
            else:
                flags.append(word)
        code = main(["colorize", *[str(w) for pair in words.items() for w in pair], *flags])
        return code, capsys.readouterr().err.strip().splitlines()[-1:]

    return run


def frames(path) -> list[np.ndarray]:
    with open_frames(path) as reader:
        return list(reader)


@pytest.mark.parametrize("count", [1, 5, 14, 15, 23, 24, 40, 100])
def test_as_many_frames_as_sketches(colorize, tmp_path, count):
    folder = write_clip(tmp_path / "long", count)
    code, _ = colorize("--sketches", folder / "sketches", "--steps", 1)
    assert code == 0
    assert len(frames(tmp_path / "out")) == count


def test_the_reference_is_the_result_of_its_own_frame(colorize, clip, tmp_path):
    assert colorize("--reference-frame", 0)[0] == 0
    assert np.array_equal(frames(tmp_path / "out")[0], read_image(clip / "reference.png"))


def test_polarity_is_recognized(colorize, tmp_path):
    folder = write_clip(tmp_path / "light", 9, light=True)
    assert colorize()[0] == 0
    assert colorize("--sketches", folder / "sketches", "--output", tmp_path / "light_out")[0] == 0
    dark, light = (np.stack(frames(tmp_path / name)).astype(int) for name in ("out", "light_out"))
    assert np.abs(dark - light).max() <= 1  # 1 - (255 - v) / 255 and v / 255 differ in the last bit
    assert colorize("--lines", "light", "--output", tmp_path / "wrong")[0] == 0
    assert not np.array_equal(frames(tmp_path / "out"), frames(tmp_path / "wrong"))


@pytest.mark.parametrize("suffix", [".mp4", ".webm", ".gif"])
def test_movies(colorize, clip, tmp_path, suffix):
    movie = tmp_path / f"sketches{suffix}"
    write_movie(movie, frames(clip / "sketches"), fps=10)
    assert colorize("--sketches", movie, "--output", tmp_path / f"out{suffix}")[0] == 0
    with open_frames(tmp_path / f"out{suffix}") as reader:
        assert len(reader) == 9 and reader.size == (HEIGHT, WIDTH) and reader.fps == pytest.approx(10, rel=0.02)


@pytest.mark.slow
def test_seed_and_size(colorize, tmp_path):
    for name, options in {"a": [], "b": [], "c": ["--seed", 1], "d": ["--size", "96x64"]}.items():
        assert colorize("--output", tmp_path / name, *options)[0] == 0
    a, b, c, d = (np.stack(frames(tmp_path / name)) for name in "abcd")
    assert np.array_equal(a, b) and not np.array_equal(a, c)
    assert d.shape[1:3] == (64, 96)


def test_flat_is_the_paint_bucket_on_what_is_painted(colorize, clip, tmp_path):
    seed = ("--seed", 2)  # with others the model's paint lies between two colors, and rounding decides
    assert colorize("--output", tmp_path / "plain", *seed)[0] == 0
    assert colorize("--flat", *seed)[0] == 0
    bucket = PaintBucket(*(read_image(clip / "reference.png") / np.float32(255), xdog_of(clip / "reference.png")))
    filled: dict[bytes, np.ndarray] = {}
    for i, (flat, plain) in enumerate(zip(frames(tmp_path / "out"), frames(tmp_path / "plain"), strict=True)):
        lines = 1 - read_image(clip / "sketches" / f"{i}.png")[..., 0] / np.float32(255)
        if lines.tobytes() not in filled:  # equal drawings are filled once
            filled[lines.tobytes()] = (bucket(lines, plain / np.float32(255)) * 255).round()
        expected = filled[lines.tobytes()]
        assert (np.abs(flat - expected) <= 1).mean() > 0.99  # what is written was rounded before it was looked at


def test_flat_fills_at_the_sketches_size(colorize, clip, tmp_path):
    assert colorize("--flat", "--size", "24x16", "--reference-frame", 0)[0] == 0
    assert all(image.shape == (HEIGHT, WIDTH, 3) for image in frames(tmp_path / "out"))
    assert np.array_equal(read_image(tmp_path / "out" / "0.png"), read_image(clip / "reference.png"))


def test_flat_says_once_that_lines_are_open(model_folder, tmp_path, capsys):
    clip = write_clip(tmp_path / "clip", 3)
    for drawing in (clip / "sketches").iterdir():
        write_png(drawing, np.maximum(read_image(drawing), 180))
    words = ["colorize", "--sketches", clip / "sketches", "--reference", clip / "reference.png", "--lines", "dark"]
    words += ["--model", model_folder, "--steps", 1, "--overlap", 1, "--output", tmp_path / "out", "--flat"]
    assert main([str(w) for w in words]) == 0
    assert capsys.readouterr().err.count("enclose nothing") == 1


@pytest.mark.slow
@pytest.mark.parametrize("flat", [[], ["--flat"], ["--flat", "--gap", 3]], ids=["painted", "flat", "gap"])
def test_interrupted_is_uninterrupted(colorize, model_folder, tmp_path, flat):
    """Ctrl-C in another process; the same command with --resume ends with the same bytes."""
    clip = write_clip(tmp_path / "clip", 26)  # three chunks of the decoder
    options = ["--sketches", clip / "sketches", "--overlap", 2, "--steps", 4]
    options += ["--reference", clip / "reference.png", *flat]
    assert colorize(*options, "--output", tmp_path / "whole")[0] == 0
    files = ["--model", model_folder]
    command = [sys.executable, "-m", "lvcd.cli", "colorize", *files, "--output", tmp_path / "out", "--device", "cpu"]
    process = subprocess.Popen([str(w) for w in [*command, *options]], stderr=subprocess.PIPE)
    partial = tmp_path / "out.partial"
    while process.poll() is None and not list(partial.glob("9.png")):
        time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    stderr = process.communicate()[1].decode()
    assert process.returncode == 130 and "--resume" in stderr and "Traceback" not in stderr
    assert not (tmp_path / "out").exists()
    assert all(image.shape == (HEIGHT, WIDTH, 3) for image in frames(partial))

    code, (line,) = colorize(*options)
    assert code == 2 and "--resume" in line
    code, (line,) = colorize(*options, "--seed", 1, "--resume")
    assert code == 2 and "seed" in line
    assert colorize(*options, "--resume")[0] == 0
    assert np.array_equal(frames(tmp_path / "out"), frames(tmp_path / "whole"))
    assert colorize(*options, "--resume")[0] == 0  # finished already


def test_what_was_drawn_anew_is_not_taken_for_finished(colorize, tmp_path):
    drawn = write_clip(tmp_path / "clip", 3)
    words = ["--sketches", drawn / "sketches", "--reference", drawn / "reference.png", "--resume"]
    assert colorize(*words)[0] == 0
    os.utime(drawn / "sketches" / "1.png", (time.time() + 60,) * 2)
    code, (line,) = colorize(*words)
    assert code == 2 and "--overwrite" in line
    assert colorize(*words, "--overwrite")[0] == 0


@pytest.mark.parametrize("where", ["color", "load_components"])
@pytest.mark.parametrize(
    "fault", [MemoryError(), RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried")]
)
def test_too_little_memory_is_one_line(colorize, monkeypatch, where, fault):
    def fails(*given):
        raise fault

    monkeypatch.setattr(
        "lvcd.pipeline.render.color" if where == "color" else "lvcd.pipeline.load.load_components", fails
    )
    code, (line,) = colorize()
    assert code == 2 and "too little memory" in line


def test_pages_are_frames(colorize, clip, tmp_path):
    """Of a TIFF, and of an animated PNG."""
    pages = [PIL.Image.fromarray(frame) for frame in frames(clip / "sketches")]
    for name in ("pages.tiff", "animated.png"):
        pages[0].save(tmp_path / name, save_all=True, append_images=pages[1:])
        assert colorize("--sketches", tmp_path / name, "--output", tmp_path / name.partition(".")[0])[0] == 0
        assert np.array_equal(frames(tmp_path / name), frames(clip / "sketches"))
        assert len(frames(tmp_path / name.partition(".")[0])) == 9


def broken(model_folder, tmp_path, fault) -> str:
    model = shutil.copytree(model_folder, tmp_path / "model")
    weights = next((model / "unet").glob("*.safetensors"))
    if fault == "missing file":
        weights.unlink()
    elif fault == "missing tensor":
        tensors = load_file(weights)
        tensors.pop("conv_out.bias")
        save_file(tensors, weights)
    elif fault == "foreign file":
        shutil.copy(next((model / "vae").glob("*.safetensors")), weights)
    elif fault == "truncated file":
        weights.write_bytes(weights.read_bytes()[:5000])
    elif fault == "foreign folder":
        (model / "model_index.json").write_text('{"_class_name": "StableDiffusionPipeline"}')
    return model


@pytest.mark.parametrize(
    "fault", ["missing file", "missing tensor", "foreign file", "truncated file", "foreign folder"]
)
def test_bad_models(colorize, model_folder, tmp_path, fault):
    model = broken(model_folder, tmp_path, fault)
    code, (line,) = colorize(model=model)
    assert code == 2 and str(model) in line and not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--sketches", "nowhere"], "nowhere"),
        (["--sketches", "{tmp}/empty"], "empty"),
        (["--sketches", "{tmp}/mixed"], "1.png"),
        (["--sketches", "{tmp}/broken.mp4"], "broken.mp4"),
        (["--sketches", "{tmp}/torn"], "0.png"),
        (["--reference", "{tmp}/none.png"], "none.png"),
        (["--reference", "{tmp}/torn/0.png"], "0.png"),
        (["--reference", "{tmp}/tall.png"], "tall.png"),
        (["--reference-sketch", "{tmp}/none.png"], "none.png"),
        (["--reference-frame", "9"], "0 to 8"),
        (["--overlap", "5"], "0 to 4"),
        (["--overlap", "1000000"], "0 to 4"),
        (["--overlap=-1"], "negative"),
        (["--steps", "0"], "steps"),
        (["--gap", "3"], "flat"),
        (["--flat", "--gap", "nan"], "gap"),
        (["--model", "nowhere"], "nowhere"),
        (["--output", "{tmp}/torn/0.png/out"], "0.png"),
        (["--output", "/proc/out"], "/proc/out"),
        (["--output", "{tmp}/out.avi"], ".avi"),
        (["--device", "cuda:99"], "cuda:99"),
        (["--size", "64x64"], "64x43"),
        (["--size", "64"], "is not WIDTHxHEIGHT"),
        (["--fps", "2000"], "fps 2000"),
        (["--fps", "0"], "fps 0"),
        (["--fps", "nan"], "fps nan"),
        (["--reference-sketch", "{tmp}/tall.png"], "tall.png"),
        (["--device", "tpu"], "cuda"),
        (["--model", "{tmp}/run"], "{tmp}/run/model"),
    ],
)
def test_bad_input_is_one_line(colorize, tmp_path, capsys, options, said):
    (tmp_path / "empty").mkdir()
    write_clip(tmp_path / "mixed_clip", 3)
    (tmp_path / "mixed_clip" / "sketches").rename(tmp_path / "mixed")
    write_png(tmp_path / "mixed" / "1.png", np.zeros((8, 8, 3), np.uint8))
    (tmp_path / "broken.mp4").write_bytes(b"not a movie at all" * 99)
    (tmp_path / "torn").mkdir()
    (tmp_path / "torn" / "0.png").write_bytes((tmp_path / "mixed" / "0.png").read_bytes()[:60])
    write_png(tmp_path / "tall.png", np.zeros((90, 30, 3), np.uint8))
    (tmp_path / "run" / "model").mkdir(parents=True)
    (tmp_path / "run" / "model" / "model_index.json").write_text("{}")
    before = sorted(p.name for p in tmp_path.iterdir())
    try:
        code, lines = colorize(*[o.format(tmp=tmp_path) for o in options])
    except SystemExit as stop:  # argparse's
        code, lines = stop.code, capsys.readouterr().err.splitlines()
    assert code == 2
    assert len(lines) == 1 and lines[0].startswith("lvcd colorize: ") and said.format(tmp=tmp_path) in lines[0]
    left = [p for p in tmp_path.iterdir() if p.name not in before and not p.name.startswith(".")]
    assert all(p.name.endswith(".partial") and not list(p.glob("*.png")) for p in left)


def test_there_and_back(golden, tmp_path):
    """The recording's weights, completed by a random CLIP, through the command line and back: bit for bit."""
    from transformers import CLIPVisionConfig, CLIPVisionModelWithProjection

    from lvcd.checkpoints.component import Component
    from lvcd.checkpoints.files import in_memory

    config = {"hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 1, "num_attention_heads": 1}
    config |= {"image_size": 28, "patch_size": 14, "projection_dim": 32, "hidden_act": "gelu"}
    clip = CLIPVisionModelWithProjection(CLIPVisionConfig(**config))
    clip_part = Component.from_config("image_encoder", config, tmp_path)
    weights = {k: v.float() for k, v in load_file(golden / "weights.safetensors").items()}
    vae = {k: v.float() for k, v in load_file(golden / "vae.safetensors").items() if k.startswith(("first_", "cond"))}
    tensors = clip_part.to_original({k: in_memory(v) for k, v in clip.state_dict().items() if k in clip_part.names})
    sgm = {k: v.read().contiguous() for k, v in tensors.items()}
    unet = {k: v for k, v in weights.items() if k.startswith("model.")}
    retrained = {k: v for k, v in unet.items() if ".attn1." in k}
    lvcd = {k: v for k, v in weights.items() if k.startswith("control_model.")} | retrained
    save_file(unet | vae | sgm, tmp_path / "svd.safetensors")
    torch.save({"state_dict": lvcd}, tmp_path / "lvcd.ckpt")

    def convert(svd, checkpoint, *more):
        words = ["convert", "--svd", svd, "--lvcd", checkpoint, "--out", tmp_path / "model", "--head-channels", 16]
        return main([str(word) for word in [*words, *more]])

    assert convert(tmp_path / "svd.safetensors", tmp_path / "lvcd.ckpt") == 0
    assert convert(tmp_path / "svd2.safetensors", tmp_path / "lvcd2.ckpt", "--to-original") == 0
    for one, other in (
        (unet | vae | sgm, load_file(tmp_path / "svd2.safetensors")),
        (lvcd, torch.load(tmp_path / "lvcd2.ckpt", weights_only=True)["state_dict"]),
    ):
        assert one.keys() == other.keys() and all(torch.equal(v, other[k]) for k, v in one.items())


def test_convert_says_what_is_missing(tmp_path, capsys):
    assert main(["convert", "--out", str(tmp_path / "model")]) == 2
    assert "--svd" in capsys.readouterr().err
    assert main(["convert", "--svd", str(tmp_path / "no.safetensors"), "--lvcd", "x.ckpt", "--out", str(tmp_path)]) == 2
    assert "no.safetensors" in capsys.readouterr().err


def test_the_bundled_model_paints_by_default(clip, tmp_path, capfd):
    words = ["--sketches", clip / "sketches", "--reference", clip / "reference.png", "--output", tmp_path / "out"]
    assert main(["colorize", *map(str, words), "--reference-frame", "0", "--device", "cpu"]) == 0
    assert "bundled model" in capfd.readouterr().err
    painted = [read_image(file) for file in sorted((tmp_path / "out").iterdir())]
    assert len(painted) == 9
    assert all((frame == painted[0]).mean() < 0.9 for frame in painted[2:])  # it follows the sketches


def test_a_reader_that_has_seen_enough(tmp_path):
    """`lvcd ... | head` ends without a word."""
    from lvcd.leaderboard import append, cited

    file = tmp_path / "board.jsonl"
    for row in cited():
        append(file, row)
    reads, writes = os.pipe()
    os.close(reads)
    words = [sys.executable, "-m", "lvcd.cli", "leaderboard", "show", "--file", str(file)]
    done = subprocess.run(words, stdout=writes, stderr=subprocess.PIPE, text=True, timeout=CEILING)
    os.close(writes)
    assert done.returncode == 1 and done.stderr == ""


@pytest.mark.parametrize("bad", ["x" * 5000, "y" * 300, "/dev/null/x"])
@pytest.mark.parametrize(
    "words",
    [
        ["inspect", "BAD"],
        ["inspect", "SHARDS", "--out", "BAD"],
        ["export", "BAD", "--out", "OUT"],
        ["convert", "--svd", "BAD", "--out", "OUT"],
        ["colorize", "--sketches", "BAD", "--reference", "REFERENCE", "--output", "OUT"],
        ["colorize", "--sketches", "SKETCHES", "--reference", "BAD", "--output", "OUT"],
        ["colorize", "--sketches", "SKETCHES", "--reference", "REFERENCE", "--output", "BAD"],
        ["colorize", "--sketches", "SKETCHES", "--reference", "REFERENCE", "--output", "OUT", "--model", "BAD"],
        ["prepare", "BAD", "--out", "OUT"],
        ["encode", "BAD", "--model", "mini", "--stage", "48x32"],
        ["leaderboard", "show", "--file", "BAD"],
        ["compare", "a", "b", "--file", "BAD"],
        ["train", "experiment=mini_cpu", "run_dir='BAD'"],
        ["eval", "method=copy_reference", "out='BAD'"],
    ],
    ids=lambda words: " ".join(words),
)
def test_a_name_that_cannot_be_is_one_line(clip, tmp_path, capsys, words, bad):
    given = {"BAD": bad, "'BAD'": f"'{bad}'", "SHARDS": TEST_STYLE, "OUT": tmp_path / "out",
             "SKETCHES": clip / "sketches", "REFERENCE": clip / "reference.png"}  # fmt: skip
    typed = [str(given.get(word, word)).replace("'BAD'", f"'{bad}'") for word in words]
    assert main(typed) == 2
    lines = [line for line in capsys.readouterr().err.splitlines() if line.startswith("lvcd ")]
    assert len(lines) == 1 and len(lines[0]) < 1000 + len(bad) and not (tmp_path / "out").exists()


def test_stdout_on_a_full_disk_is_one_line(tmp_path):
    command = [sys.executable, "-m", "lvcd.cli", "inspect", str(TEST_STYLE)]
    with open("/dev/full", "w") as full:
        done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True, timeout=CEILING)
    assert done.returncode == 2 and "Traceback" not in done.stderr and "No space left" in done.stderr
