"""render_clip: what `lvcd colorize` does, called from Python by a page, a node or a script."""

from __future__ import annotations

import json
import re
import shutil
from dataclasses import replace
from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image

from lvcd.data.cartoons import draw
from lvcd.errors import InputError
from lvcd.io.frame_formats import FRAME_FORMATS
from lvcd.io.images import read_image, write_png
from lvcd.io.reader import open_frames
from lvcd.pipeline import RenderCancelled, RenderSettings, render_clip

HEIGHT, WIDTH, FRAMES = 32, 48, 26  # three chunks of the decoder
SETTINGS = RenderSettings(steps=2, overlap=2)


@pytest.fixture(scope="module")
def clip(tmp_path_factory):
    folder = tmp_path_factory.mktemp("clip")
    (folder / "sketches").mkdir()
    drawn = draw(3, FRAMES, HEIGHT, WIDTH)
    for i, lines in enumerate(drawn.lines):
        write_png(folder / "sketches" / f"{i}.png", np.repeat((255 - lines)[..., None], 3, -1))
    write_png(folder / "reference.png", drawn.frames[0])
    return folder / "sketches", folder / "reference.png"


def images(folder) -> list[bytes]:
    return [file.read_bytes() for file in sorted(folder.glob("*.png"), key=lambda file: int(file.stem))]


@pytest.fixture(scope="module")
def whole(clip, model_folder, tmp_path_factory):
    out = tmp_path_factory.mktemp("whole") / "out"
    render_clip(*clip, out, model_folder, settings=SETTINGS, device="cpu")
    return images(out)


def test_progress_is_reported_to_the_end(clip, model_folder, tmp_path):
    starts, steps = [], []
    result = render_clip(*clip, tmp_path / "out", model_folder, settings=SETTINGS, device="cpu",
                         on_start=starts.append, on_progress=steps.append)  # fmt: skip
    assert (result.path, result.frames, result.already_finished) == (tmp_path / "out", FRAMES, False)
    assert [(s.total_frames, s.size, s.lines, s.device) for s in starts] == [(FRAMES, (HEIGHT, WIDTH), "dark", "cpu")]
    assert steps[-1].frames == steps[-1].total_frames == FRAMES and steps[-1].steps == steps[-1].total_steps
    for before, after in zip(steps, steps[1:]):
        assert (before.frames, before.steps) <= (after.frames, after.steps)


@pytest.mark.slow
@pytest.mark.parametrize("flat", [False, True])
def test_cancelled_and_resumed_is_never_cancelled(clip, model_folder, tmp_path, flat):
    settings = RenderSettings(steps=2, overlap=2, flat=flat)
    render = dict(model=model_folder, settings=settings, device="cpu")
    render_clip(*clip, tmp_path / "once", **render)
    last = []
    with pytest.raises(RenderCancelled) as stop:
        render_clip(*clip, tmp_path / "out", **render, on_progress=last.append,
                    is_cancelled=lambda: last[-1].frames > 9)  # fmt: skip
    progress = stop.value.progress
    assert 9 < progress.frames < FRAMES and len(images(progress.partial)) == progress.frames
    assert not (tmp_path / "out").exists()
    render_clip(*clip, tmp_path / "out", **render, resume=True)
    assert images(tmp_path / "out") == images(tmp_path / "once")


def test_a_finished_output_is_not_painted_again(clip, model_folder, tmp_path, whole):
    for _ in range(2):
        result = render_clip(*clip, tmp_path / "out", model_folder, settings=SETTINGS, device="cpu", resume=True)
    assert result.already_finished and images(tmp_path / "out") == whole


def test_the_references_own_frame_comes_out_as_it_went_in(clip, model_folder, tmp_path):
    settings = RenderSettings(steps=1, overlap=2, reference_frame=0, flat=True)
    render_clip(*clip, tmp_path / "out", model_folder, settings=settings, device="cpu")
    assert np.array_equal(read_image(tmp_path / "out" / "0.png"), read_image(clip[1]))


@pytest.mark.parametrize(
    "wrong", [{"overlap": -1}, {"gap": 3.0}, {"flat": True, "gap": float("nan")}, {"steps": 0}, {"seed": 2**64}]
)
def test_settings_that_cannot_be_used(wrong):
    with pytest.raises(InputError, match=next(reversed(wrong))):
        RenderSettings(**wrong)


def test_open_lines_are_a_warning(clip, model_folder, tmp_path):
    (tmp_path / "open").mkdir()
    write_png(tmp_path / "open" / "0.png", np.full((HEIGHT, WIDTH, 3), 255, np.uint8))
    warnings = []
    settings = RenderSettings(steps=1, overlap=2, flat=True, lines="dark")
    render_clip(tmp_path / "open", clip[1], tmp_path / "out", model_folder, settings=settings, device="cpu",
                on_warning=warnings.append)  # fmt: skip
    assert len(warnings) == 1 and "enclose nothing" in warnings[0]


def test_what_is_left_out_is_said_and_names_stay(clip, model_folder, tmp_path):
    shot = tmp_path / "shot"
    shot.mkdir()
    for number, file in enumerate(sorted(clip[0].glob("?.png"))[:3]):
        (shot / f"A{3 * number + 1:04d}.png").write_bytes(file.read_bytes())
    (shot / "key.png").write_bytes(clip[1].read_bytes())
    (shot / "notes.txt").write_text("retake")
    said = []
    settings = RenderSettings(steps=1, overlap=1)
    result = render_clip(shot, clip[1], tmp_path / "out", model_folder, settings=settings, device="cpu",
                         on_warning=said.append)  # fmt: skip
    assert result.frames == 3 and len(said) == 2 and all(note.isprintable() for note in said)
    assert "notes.txt" in said[0] and "key.png" in said[1]
    assert sorted(file.name for file in (tmp_path / "out").iterdir()) == ["A0001.png", "A0004.png", "A0007.png"]


@pytest.mark.parametrize("flat", [False, True])
def test_equal_drawings_are_painted_once_and_come_out_equal(clip, model_folder, tmp_path, flat):
    """A clip in which drawings are held, in files of two formats, is that of its different drawings, repeated."""
    once, held = tmp_path / "once", tmp_path / "held"
    once.mkdir(), held.mkdir()
    order = [0, 0, 1, 2, 2, 2, 1, 0, 3]
    for number in range(4):
        write_png(once / f"{number}.png", read_image(clip[0] / f"{number}.png"))
    for index, number in enumerate(order):
        picture = Image.fromarray(read_image(clip[0] / f"{number}.png"))
        picture.save(held / (f"B{index:04d}.tga" if index % 2 else f"B{index:04d}.png"))
    settings = RenderSettings(steps=1, overlap=2, flat=flat, reference_frame=0)
    last = []
    for shot in (once, held):
        render_clip(shot, clip[1], tmp_path / f"{shot.name}_out", model_folder, settings=settings, device="cpu",
                    on_progress=last.append)  # fmt: skip
    assert last[-1].frames == last[-1].total_frames == len(order)
    for index, number in enumerate(order):
        here, there = tmp_path / "held_out" / f"B{index:04d}.png", tmp_path / "once_out" / f"{number}.png"
        assert here.read_bytes() == there.read_bytes()


def sheet(path, cells) -> Path:
    """An XDTS that shows numbers of drawings, None = nothing, frame by frame."""
    frames = [{"frame": at, "data": [{"id": 0, "values": [str(cell) if cell else "SYMBOL_NULL_CELL"]}]}
              for at, cell in enumerate(cells)]  # fmt: skip
    fields = [{"fieldId": 0, "tracks": [{"trackNo": 0, "frames": frames}]}]
    table = {"duration": len(cells), "fields": fields, "timeTableHeaders": [{"fieldId": 0, "names": ["A"]}]}
    path.write_text("exchangeDigitalTimeSheet Save Data\n" + json.dumps({"timeTables": [table], "version": 5}))
    return path


def test_a_time_sheet(clip, model_folder, tmp_path):
    """A folder gets the drawings on the sheet, painted in the order of the sheet; a movie has its frames."""
    shot, order = tmp_path / "shot", tmp_path / "order"
    shot.mkdir(), order.mkdir()
    for number in range(1, 5):
        write_png(shot / f"A{number:04d}.png", read_image(clip[0] / f"{2 * number}.png"))
    for place, number in enumerate((3, 1, 4)):
        write_png(order / f"{place}.png", read_image(clip[0] / f"{2 * number}.png"))
    cells = [None, 3, 3, 1, None, 3, 4]
    file, said = sheet(tmp_path / "cut.xdts", cells), []
    render = dict(settings=SETTINGS, device="cpu")
    render_clip(order, clip[1], tmp_path / "as_first_shown", model_folder, **render)
    render_clip(shot, clip[1], tmp_path / "out", model_folder, **render, timesheet=file, on_warning=said.append)
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == ["A0001.png", "A0003.png", "A0004.png"]
    assert any("A0002" in line for line in said)
    painted = {}
    for place, number in enumerate((3, 1, 4)):
        painted[number] = read_image(tmp_path / "out" / f"A{number:04d}.png")
        assert np.array_equal(painted[number], read_image(tmp_path / "as_first_shown" / f"{place}.png"))
    result = render_clip(shot, clip[1], tmp_path / "out.mkv", model_folder, **render, timesheet=file)
    assert result.frames == len(cells)
    with open_frames(tmp_path / "out.mkv") as reader:
        for cell, frame in zip(cells, reader, strict=True):
            assert np.array_equal(frame, painted[cell] if cell else np.full_like(frame, 255))
    with pytest.raises(InputError, match="9"):
        render_clip(shot, clip[1], tmp_path / "bad", model_folder, **render, timesheet=sheet(tmp_path / "b", [1, 9]))
    assert not (tmp_path / "bad").exists()


@pytest.mark.parametrize("which", ["movie", "link", "drawing", "sheet"])
def test_nothing_is_its_own_output(clip, model_folder, tmp_path, which):
    movie, shot = sounding(tmp_path / "shot.mkv", 1), tmp_path / "shot"
    shot.mkdir()
    (shot / "0.png").write_bytes((clip[0] / "0.png").read_bytes())
    (tmp_path / "again.mkv").hardlink_to(movie)
    sketches, output = {"movie": (movie, movie), "link": (movie, tmp_path / "again.mkv"),
                        "drawing": (shot, shot / "0.png"), "sheet": (shot, tmp_path / "sheet")}[which]  # fmt: skip
    (tmp_path / "sheet").mkdir()
    file = sheet(tmp_path / "sheet" / "cut.xdts", [1]) if which == "sheet" else None
    before = {path: path.read_bytes() for path in (movie, shot / "0.png")}
    with pytest.raises(InputError, match="choose another output"):
        render_clip(sketches, clip[1], output, model_folder, device="cpu", overwrite=True, timesheet=file)
    assert all(path.read_bytes() == data for path, data in before.items())


def sounding(path, count: int) -> Path:
    """A movie of sketches with a tone."""
    lines, length = draw(3, count, HEIGHT, WIDTH).lines, 8000 // 12
    with av.open(str(path), "w") as container:
        video, audio = container.add_stream("ffv1", rate=12), container.add_stream("pcm_s16le", rate=8000)
        video.width, video.height, video.pix_fmt, audio.layout = WIDTH, HEIGHT, "bgr0", "mono"
        for index, drawn in enumerate(lines):
            frame = av.VideoFrame.from_ndarray(np.repeat((255 - drawn)[..., None], 3, -1), format="rgb24")
            container.mux(video.encode(frame.reformat(format="bgr0")))
            tone = av.AudioFrame.from_ndarray(np.full((1, length), 1000 * index, np.int16), format="s16", layout="mono")
            tone.rate, tone.pts = 8000, index * length
            container.mux(audio.encode(tone))
        container.mux([*video.encode(None), *audio.encode(None)])
    return path


@pytest.mark.slow
def test_sound_is_kept_or_its_loss_said(clip, model_folder, tmp_path):
    """As it was where the container takes it, else encoded; a folder and a GIF have none. Resumed, it is the same."""
    movie = sounding(tmp_path / "shot.mkv", 6)
    render = dict(settings=replace(SETTINGS, steps=1), device="cpu")
    for name, codec in {"a.mkv": "pcm_s16le", "a.mov": "pcm_s16le", "a.mp4": "aac", "a.webm": "opus"}.items():
        said: list[str] = []
        render_clip(movie, clip[1], tmp_path / name, model_folder, **render, on_warning=said.append)
        with av.open(str(tmp_path / name)) as container:
            (audio,) = container.streams.audio
            samples = np.concatenate([frame.to_ndarray().ravel() for frame in container.decode(audio)])
            assert audio.codec_context.name == codec and not any("sound" in line for line in said)
            assert len(samples) / audio.rate == pytest.approx(0.5, abs=0.15)
            if codec == "pcm_s16le":
                assert np.array_equal(samples, np.repeat(np.arange(6), 666)[: len(samples)] * 1000)
        with open_frames(tmp_path / name) as reader:
            assert len(reader) == 6
    for name, more in {"out": {}, "a.gif": {}, "b.mp4": {"fps": 24}}.items():
        said = []
        render_clip(movie, clip[1], tmp_path / name, model_folder, **render, **more, on_warning=said.append)
        assert sum("sound" in line for line in said) == 1
    with pytest.raises(RenderCancelled):
        render_clip(movie, clip[1], tmp_path / "c.mp4", model_folder, **render, is_cancelled=lambda: True)
    render_clip(movie, clip[1], tmp_path / "c.mp4", model_folder, **render, resume=True)
    assert (tmp_path / "c.mp4").read_bytes() == (tmp_path / "a.mp4").read_bytes()


@pytest.mark.parametrize("kind", ["tga", "tiff", "psd"])
def test_formats_of_frames(clip, model_folder, tmp_path, kind):
    shot = tmp_path / "shot"
    shot.mkdir()
    for number in (0, 1):
        (shot / f"A{number:04d}.png").write_bytes((clip[0] / f"{number}.png").read_bytes())
    settings = RenderSettings(steps=1, overlap=1)
    frames = []
    for name, form in (("png", None), ("other", kind)):
        changed = replace(settings, format=form)
        render_clip(shot, clip[1], tmp_path / name, model_folder, settings=changed, device="cpu")
        with open_frames(tmp_path / name) as reader:
            frames.append((reader.names, np.stack(list(reader))))
    assert {file.suffix for file in (tmp_path / "other").glob("A*")} == {FRAME_FORMATS[kind]}
    assert frames[0][0] == frames[1][0] == ["A0000", "A0001"] and np.array_equal(frames[0][1], frames[1][1])
    one = tmp_path / "one"
    one.mkdir()
    (one / "A0007.png").write_bytes((clip[0] / "0.png").read_bytes())
    file = tmp_path / f"painted{FRAME_FORMATS[kind]}"
    render_clip(one, clip[1], file, model_folder, settings=settings, device="cpu")
    assert read_image(file).shape == frames[0][1].shape[1:]
    with pytest.raises(InputError, match="one image"):
        render_clip(shot, clip[1], file, model_folder, settings=settings, device="cpu", overwrite=True)


@pytest.mark.parametrize("fault", ["cut", "empty", "colored", "inside"])
def test_bad_sketches_leave_nothing_behind(clip, model_folder, tmp_path, fault):
    shot, out = tmp_path / "shot", tmp_path / "out"
    shot.mkdir()
    for file in sorted(clip[0].glob("?.png"))[:3]:
        (shot / file.name).write_bytes(clip[1].read_bytes() if fault == "colored" else file.read_bytes())
    data = (shot / "1.png").read_bytes()
    if fault in ("cut", "empty"):
        (shot / "1.png").write_bytes(data[: len(data) // 2] + data[-12:] if fault == "cut" else b"")
    with pytest.raises(InputError, match={"cut": "1.png", "empty": "1.png"}.get(fault, "extract|output")) as caught:
        render_clip(shot, clip[1], shot if fault == "inside" else out, model_folder, device="cpu", overwrite=True)
    assert str(caught.value).isprintable()
    assert not out.exists() and sorted(p.name for p in tmp_path.iterdir()) == ["shot"]


@pytest.mark.slow
@pytest.mark.parametrize("which", ["sketch", "reference"])
def test_an_input_that_is_replaced_while_it_is_read_is_noticed(clip, model_folder, tmp_path, which):
    """What was painted before stays, and goes on once the input is again what it was."""
    sketches, reference = (
        Path(shutil.copytree(clip[0], tmp_path / "sketches")),
        shutil.copy(clip[1], tmp_path / "r.png"),
    )
    render = dict(model=model_folder, settings=SETTINGS, device="cpu")
    file = sketches / "25.png" if which == "sketch" else Path(reference)
    before, replaced = file.read_bytes(), []

    def replace(progress):
        if progress.frames > 9 and not replaced:
            replaced.append(progress.frames)
            write_png(file, 255 - read_image(file))

    with pytest.raises(InputError, match="was changed while it was read"):
        render_clip(sketches, Path(reference), tmp_path / "out", **render, on_progress=replace)
    assert not (tmp_path / "out").exists()
    file.write_bytes(before)
    render_clip(sketches, Path(reference), tmp_path / "out", **render, resume=True)
    render_clip(sketches, Path(reference), tmp_path / "once", **render)
    assert images(tmp_path / "out") == images(tmp_path / "once")


# ------------------------------------------------------------------------------------------------------------ many keys


@pytest.fixture
def shot(clip, tmp_path):
    """Four drawings, A0001, A0004, A0007 and A0010, the second of which is held; keys of the first and the last."""
    folder = tmp_path / "drawings"
    folder.mkdir()
    drawn = draw(3, FRAMES, HEIGHT, WIDTH)
    for number, index in ((1, 0), (4, 6), (5, 6), (7, 12), (10, 18)):
        (folder / f"A{number:04d}.png").write_bytes((clip[0] / f"{index}.png").read_bytes())
    for number, index in ((1, 0), (4, 6), (10, 18)):
        write_png(tmp_path / f"key{number}.png", drawn.frames[index])
    write_png(tmp_path / "sheet.png", np.concatenate([drawn.frames[5], drawn.frames[9]], 1))
    return folder


@pytest.mark.parametrize("flat", [False, True])
def test_keys_by_the_drawings_own_numbers_come_out_as_they_went_in(shot, model_folder, tmp_path, flat):
    keys = {number: tmp_path / f"key{number}.png" for number in (10, 1, 4)}
    settings = RenderSettings(steps=1, overlap=2, flat=flat)
    result = render_clip(shot, None, tmp_path / "out", model_folder, settings=settings, device="cpu", keys=keys,
                         sheets=[tmp_path / "sheet.png"])  # fmt: skip
    assert result.frames == 5
    for number, key in ((1, 1), (4, 4), (5, 4), (10, 10)):  # A0005 shows the drawing of A0004 again
        frame = read_image(tmp_path / "out" / f"A{number:04d}.png")
        assert np.array_equal(frame, read_image(tmp_path / f"key{key}.png"))
    assert not np.array_equal(read_image(tmp_path / "out" / "A0007.png"), read_image(keys[4]))


@pytest.mark.parametrize("flat", [False, True])
def test_one_key_is_the_reference_of_a_frame(shot, model_folder, tmp_path, flat):
    made = []
    assert len({(shot / f"A{number:04d}.png").read_bytes() for number in (1, 4, 5, 7, 10)}) == 4
    for number, how in enumerate(({"keys": {4: tmp_path / "key4.png"}}, {"frame": 1})):
        frame = how.pop("frame", None)
        settings = RenderSettings(steps=1, overlap=2, flat=flat, reference_frame=frame)
        reference = None if frame is None else tmp_path / "key4.png"
        out = tmp_path / f"out{number}"
        render_clip(shot, reference, out, model_folder, settings=settings, device="cpu", **how)
        made.append([file.read_bytes() for file in sorted(out.glob("*.png"))])
    assert made[0] == made[1] and len(made[0]) == 5


def test_a_finished_output_of_other_keys_is_another_job(shot, model_folder, tmp_path):
    settings = RenderSettings(steps=1, overlap=2)
    keys = {1: tmp_path / "key1.png", 10: tmp_path / "key10.png"}
    render = dict(model=model_folder, settings=settings, device="cpu", resume=True)
    render_clip(shot, None, tmp_path / "out", keys=keys, **render)
    assert render_clip(shot, None, tmp_path / "out", keys=keys, **render).already_finished
    for other in ({"keys": {1: keys[1]}}, {"keys": keys, "sheets": [tmp_path / "sheet.png"]}):
        with pytest.raises(InputError, match="overwrite"):
            render_clip(shot, None, tmp_path / "out", **other, **render)


@pytest.mark.slow
@pytest.mark.parametrize("flat", [False, True])
def test_cancelled_with_keys_and_resumed(clip, model_folder, tmp_path, flat):
    drawn = draw(3, FRAMES, HEIGHT, WIDTH)
    keys = {number: tmp_path / f"key{number}.png" for number in (0, 13)}
    for number, file in keys.items():
        write_png(file, drawn.frames[number])
    render = dict(model=model_folder, settings=RenderSettings(steps=2, overlap=2, flat=flat), device="cpu", keys=keys)
    render_clip(clip[0], None, tmp_path / "once", **render)
    last = []
    with pytest.raises(RenderCancelled):
        render_clip(clip[0], None, tmp_path / "out", **render, on_progress=last.append,
                    is_cancelled=lambda: last[-1].frames > 2)  # fmt: skip
    render_clip(clip[0], None, tmp_path / "out", **render, resume=True)
    assert images(tmp_path / "out") == images(tmp_path / "once")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--key", "3=key1.png"], "3=.*no drawing"),
        (["--key", "1=key1.png", "--key", "1=key4.png"], "several keys"),
        (["--reference", "key4.png", "--reference-frame", "1", "--key", "4=key4.png"], "both drawing 4"),
        (["--key", "4=key4.png", "--key", "5=key1.png"], "held"),
        (["--key", "1=sheet.png"], "aspect"),
        (["--key", "1=key1.png", "--key", "10=sheet.png"], "aspect"),
        (["--key", "1=nothing.png"], "nothing.png"),
        (["--sheet", "drawings"], "drawings"),
        (["--key", "one=key1.png"], "N=FILE"),
        (["--key", "1=key1.png", "--reference-sketch", "key1.png"], "no reference"),
        (["--key", "1=key1.png", "--reference-frame", "0"], "without a reference"),
        ([], "nothing to take colors from"),
    ],
)
def test_keys_that_cannot_be_used_are_one_line(shot, model_folder, tmp_path, monkeypatch, capsys, arguments, message):
    from lvcd.cli import main

    monkeypatch.chdir(tmp_path)
    try:
        code = main(["colorize", "--sketches", "drawings", "--output", "out", "--model", str(model_folder), *arguments])
    except SystemExit as stop:
        code = stop.code
    said = capsys.readouterr().err.strip().splitlines()
    assert code == 2 and len(said) == 1
    assert re.search(message, said[0]), said
    assert not (tmp_path / "out").exists()


def test_a_frame_of_a_film_is_not_left_out_as_its_reference(clip, model_folder, tmp_path):
    shot = tmp_path / "film"
    shot.mkdir()
    for number in range(3):
        write_png(shot / f"{number}.png", np.roll(read_image(clip[1]), 2 * number, 1))
    settings = RenderSettings(reference_frame=0, steps=1, overlap=1, lines="extract", flat=True)
    result = render_clip(shot, shot / "0.png", tmp_path / "out", model_folder, settings=settings, device="cpu")
    frames = sorted((tmp_path / "out").glob("*.png"))
    assert result.frames == len(frames) == 3 and np.array_equal(read_image(frames[0]), read_image(clip[1]))
