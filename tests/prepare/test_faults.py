"""Films as they come: damaged, cut short, of any format and timing. Real files, made by PyAV."""

from __future__ import annotations

import json
import resource
import shutil
import subprocess
import sys
from fractions import Fraction

import av
import numpy as np
import pytest

from lvcd.cli import main
from lvcd.io.film import FilmReader
from lvcd.io.images import write_png
from lvcd.io.movies import write_movie
from lvcd.shards.members import read_shard

GROUND = np.random.default_rng(0).integers(0, 255, (6, 8, 3), np.uint8)


def picture(index, height=48, width=64, number=0):
    """A square that walks over a ground of patches; another `number` is another ground."""
    ground = np.roll(GROUND, number, 2).repeat(-(-height // 6), 0).repeat(-(-width // 8), 1)[:height, :width].copy()
    x = 4 * index % (width - 16)
    ground[16:32, x : x + 16] = (243, 38, 38)
    return ground


def movie(path, count=60, size=(48, 64), times=None, audio=None, gop=10):
    """H.264 of `count` frames at 24/s, a key frame every `gop`; times: of each frame, in thousandths of a second."""
    with av.open(str(path), "w") as container:
        video = container.add_stream("libx264", rate=24, options={"g": str(gop), "bf": "0", "sc_threshold": "0"})
        video.height, video.width, video.pix_fmt = *size, "yuv444p"
        if times:
            video.codec_context.time_base = Fraction(1, 1000)
        sound = container.add_stream("aac", rate=8000, layout="mono") if audio else None
        for index in range(count):
            frame = av.VideoFrame.from_ndarray(picture(index, *size), format="rgb24")
            if times:
                frame.pts, frame.time_base = times[index], Fraction(1, 1000)
            container.mux(video.encode(frame))
        if sound:
            for index, packet in enumerate(packet for _ in range(40) for packet in sound.encode(silence())):
                noise = av.Packet(np.random.default_rng(index).integers(0, 255, 50, np.uint8).tobytes())
                noise.pts = noise.dts = packet.pts
                noise.stream, noise.time_base = sound, packet.time_base
                container.mux(noise)
        container.mux(video.encode(None))
    return path


def silence():
    sound = av.AudioFrame(format="fltp", layout="mono", samples=1024)
    sound.sample_rate = 8000
    for plane in sound.planes:
        plane.update(bytes(plane.buffer_size))
    return sound


def prepared(films, out, *words):
    """=> manifest, clips; every shard is whole"""
    assert main(["prepare", str(films), "--out", str(out), "--workers", "1", *map(str, words)]) == 0
    manifest, lost = json.loads((out / "manifest.json").read_text()), []
    clips = [clip for shard in manifest["shards"] for clip in read_shard(out / shard["name"], lost.append)]
    assert lost == []
    assert sum(len(clip["frames"]) for clip in clips) == manifest["counts"]["kept"]["frames"]
    return manifest, clips


def overwritten(path, source, at, length):
    """A copy with noise from byte `at` on."""
    data = bytearray(source.read_bytes())
    data[at : at + length] = np.random.default_rng(1).integers(0, 255, length, np.uint8).tobytes()
    path.write_bytes(data)
    return path


def packets(path):
    """(position, size) of every coded frame."""
    with av.open(str(path)) as container:
        return [(p.pos, p.size) for p in container.demux(video=0) if p.size]


# --- damage -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("ending", ["mp4", "mkv"])
def test_a_damaged_stretch_costs_the_frames_up_to_the_next_key(tmp_path, capsys, ending):
    whole = movie(tmp_path / f"whole.{ending}")
    positions = packets(whole)
    assert len(positions) == 60
    film = shutil.copy(whole, tmp_path / f"film.{ending}")
    for start, size in positions[24:26]:
        overwritten(film, film, start + 8, size - 16)  # from the length on that stands before a slice
    manifest, clips = prepared(film, tmp_path / "out")
    about = manifest["films"][0]
    assert about["lost"] == 6  # 24 .. 29; 30 is a key frame
    assert about["frames"] == 54
    assert about["clips"] == [[0, 24], [24, 54]]  # no clip goes over the gap
    assert manifest["counts"]["lost"] == {"films": 1, "frames": 6}
    told = capsys.readouterr()
    assert "6 frames" in told.err and film.name in told.err
    assert "6 frames" in told.out
    for clip, numbers in zip(clips, (range(24), range(30, 60)), strict=True):
        for frame, number in zip(clip["frames"], numbers, strict=True):
            assert np.abs(frame.astype(int) - picture(number)).mean() < 8  # none is smeared


@pytest.mark.parametrize("ending", ["mp4", "mkv", "webm"])
def test_a_film_cut_short_gives_what_is_there(tmp_path, capsys, ending):
    whole = tmp_path / f"whole.{ending}"
    write_movie(whole, map(picture, range(60)), 24) if ending != "mkv" else movie(whole)
    data = whole.read_bytes()
    (tmp_path / f"half.{ending}").write_bytes(data[: int(0.7 * len(data))])
    manifest, _ = prepared(tmp_path / f"half.{ending}", tmp_path / "out")
    about = manifest["films"][0]
    assert about["frames"] >= 20
    assert abs(about["frames"] + about["lost"] - 60) <= 2
    assert "lost" in capsys.readouterr().err


def test_a_movie_whose_index_is_missing_is_left_out(tmp_path, capsys):
    """An mp4 with its index at the end, half downloaded."""
    data = movie(tmp_path / "whole.mp4").read_bytes()
    (tmp_path / "films").mkdir()
    (tmp_path / "films" / "half.mp4").write_bytes(data[: len(data) // 2])
    movie(tmp_path / "films" / "good.mp4")
    manifest, _ = prepared(tmp_path / "films", tmp_path / "out")
    assert manifest["counts"]["left_out"] == 1
    assert "left_out" in manifest["films"][1]
    assert "half.mp4" in capsys.readouterr().err


def test_bad_films_are_left_out_and_named(tmp_path, capsys):
    folder = tmp_path / "films"
    folder.mkdir()
    movie(folder / "a.mp4", 20)
    shutil.copy(folder / "a.mp4", folder / "copy.mp4")
    (folder / "empty.mp4").touch()
    (folder / "text.mkv").write_text("no film")
    with av.open(str(folder / "x_sound.mp4"), "w") as container:
        sound = container.add_stream("aac", rate=8000, layout="mono")
        for _ in range(9):
            container.mux(sound.encode(silence()))
        container.mux(sound.encode(None))
    manifest, clips = prepared(folder, tmp_path / "out")
    told = capsys.readouterr().err
    assert manifest["counts"]["left_out"] == 4
    assert len(clips) == 1
    names = ("copy.mp4", "empty.mp4", "text.mkv", "x_sound.mp4")
    for name, film in zip(names, manifest["films"][1:], strict=True):
        assert film.keys() == {"left_out"}
        assert str(folder) not in film["left_out"]
        assert name in told


def test_an_image_that_cannot_be_read_ends_a_clip(tmp_path):
    (tmp_path / "film").mkdir()
    for index in range(40):
        write_png(tmp_path / "film" / f"{index}.png", picture(index))
    (tmp_path / "film" / "18.png").write_bytes((tmp_path / "film" / "18.png").read_bytes()[:100])
    manifest, clips = prepared(tmp_path / "film", tmp_path / "out")
    assert (manifest["films"][0]["clips"], manifest["films"][0]["lost"]) == ([[0, 18], [18, 39]], 1)
    assert np.array_equal(clips[1]["frames"][0], picture(19))


def test_own_line_art_needs_a_whole_film(tmp_path, capsys):
    """Behind a gap nobody knows which drawing is whose."""
    whole = movie(tmp_path / "whole.mp4")
    (tmp_path / "lines").mkdir()
    write_movie(tmp_path / "lines" / "film.mp4", map(picture, range(60)), 24)
    overwritten(tmp_path / "film.mp4", whole, packets(whole)[24][0] + 8, 60)
    words = ["--extractor", "given", "--sketches", str(tmp_path / "lines")]
    assert main(["prepare", str(tmp_path / "film.mp4"), "--out", str(tmp_path / "out"), *words]) == 2
    assert "not one clip" in capsys.readouterr().err


# --- oddities ---------------------------------------------------------------------------------------------------------


def test_a_broken_audio_track_is_none_of_our_business(tmp_path):
    manifest, _ = prepared(movie(tmp_path / "film.mp4", 20, audio=True), tmp_path / "out")
    assert (manifest["films"][0]["frames"], manifest["films"][0]["lost"]) == (20, 0)


def test_variable_frame_rate_is_told_as_its_mean(tmp_path):
    times = np.cumsum([0] + [20, 60] * 29 + [20]).tolist()  # 60 frames in 2.36 s
    manifest, _ = prepared(movie(tmp_path / "film.mkv", times=times), tmp_path / "out")
    assert (manifest["films"][0]["frames"], manifest["films"][0]["lost"]) == (60, 0)
    assert manifest["films"][0]["fps"] == pytest.approx(59000 / times[-1], rel=0.01)


def test_broken_timestamps(tmp_path):
    """The last frame is a day after the others: no rate can be had of that, and no frame is missing."""
    times = [42 * index for index in range(59)] + [86_400_000]
    film = movie(tmp_path / "film.mkv", times=times)
    manifest, _ = prepared(film, tmp_path / "out")
    assert (manifest["films"][0]["frames"], manifest["films"][0]["lost"]) == (60, 0)
    assert 1 <= manifest["films"][0]["fps"] <= 240


def test_odd_sizes(tmp_path):
    manifest, clips = prepared(movie(tmp_path / "film.mkv", 20, (65, 97)), tmp_path / "out")
    assert (manifest["films"][0]["height"], manifest["films"][0]["width"]) == (65, 97)
    assert clips[0]["frames"][0].shape == (65, 97, 3) and clips[0]["sketches"][0].shape == (65, 97)
    _, (clip,) = prepared(tmp_path / "film.mkv", tmp_path / "small", "--short-side", 33)
    assert clip["frames"][0].shape == (33, 49, 3) and clip["sketches"][0].shape == (33, 49)


def test_another_size_begins_another_clip(tmp_path):
    """Two encoders take turns in one stream."""
    film = tmp_path / "film.ts"
    with av.open(str(film), "w") as container:
        stream = container.add_stream("libx264", rate=24)
        stream.height, stream.width, stream.pix_fmt = 48, 64, "yuv420p"
        count = 0
        for size in ((48, 64), (64, 48)):
            encoder = av.CodecContext.create("libx264", "w")
            encoder.height, encoder.width, encoder.pix_fmt = *size, "yuv420p"
            encoder.framerate, encoder.time_base = 24, Fraction(1, 24)
            encoder.options = {"bf": "0"}
            drawn = [av.VideoFrame.from_ndarray(picture(i, *size), format="rgb24") for i in range(20)]
            for packet in [p for frame in [*drawn, None] for p in encoder.encode(frame)]:
                packet.pts = packet.dts = count
                packet.time_base, packet.stream = Fraction(1, 24), stream
                container.mux(packet)
                count += 1
    manifest, clips = prepared(film, tmp_path / "out")
    assert manifest["films"][0]["clips"] == [[0, 20], [20, 40]]
    assert [clip["frames"][0].shape for clip in clips] == [(48, 64, 3), (64, 48, 3)]


def test_images_of_another_size_begin_another_clip(tmp_path):
    (tmp_path / "film").mkdir()
    for index in range(32):
        write_png(tmp_path / "film" / f"{index}.png", picture(index, 48, 64 if index < 16 else 80))
    manifest, clips = prepared(tmp_path / "film", tmp_path / "out")
    assert manifest["films"][0]["clips"] == [[0, 16], [16, 32]]
    assert manifest["films"][0]["lost"] == 0
    assert [clip["frames"][0].shape for clip in clips] == [(48, 64, 3), (48, 80, 3)]


@pytest.mark.parametrize("ending", ["mp4", "mkv", "webm", "gif", ""])
def test_formats(tmp_path, ending):
    film = tmp_path / f"film.{ending}" if ending else tmp_path / "film"
    if ending == "mkv":
        movie(film, 20)
    elif ending:
        write_movie(film, map(picture, range(20)), 25)
    else:
        film.mkdir()
        for index in range(20):
            write_png(film / f"{index}.png", picture(index))
    manifest, (clip,) = prepared(film, tmp_path / "out")
    assert manifest["films"][0]["lost"] == 0
    assert len(clip["frames"]) == 20
    assert manifest["films"][0]["fps"] == pytest.approx({"mkv": 24, "": 24}.get(ending, 25), abs=0.3)
    assert np.abs(clip["frames"][7].astype(int) - picture(7)).mean() < 12


def test_a_walk_ends_whatever_the_bytes(tmp_path):
    """Noise in many places: every frame that comes is one of the film's, and never more of them."""
    whole = movie(tmp_path / "whole.mkv")
    size = whole.stat().st_size
    for seed in range(12):
        film = overwritten(tmp_path / "film.mkv", whole, 600 + seed * (size - 700) // 12, 90)
        frames = [frame for frame in FilmReader(film) if frame is not None]
        assert len(frames) <= 60
        assert all(frame.shape == (48, 64, 3) for frame in frames)


# --- the disk ---------------------------------------------------------------------------------------------------------


def test_a_write_that_fails_anywhere(tmp_path, capsys):
    """A limit on the size of a file stands in for the full disk, at a part and at a shard."""
    film = movie(tmp_path / "film.mp4")
    prepared(film, tmp_path / "whole")
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    for limit in (100, 9000, (tmp_path / "whole" / "shard-00000.tar").stat().st_size - 1000):
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limits[1]))
        try:
            assert main(["prepare", str(film), "--out", str(tmp_path / "out"), "--workers", "1"]) == 2
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        assert not list((tmp_path / "out").glob("*.tar"))
        assert not list((tmp_path / "out").glob("**/.*.tmp"))
    prepared(film, tmp_path / "out")
    for file in ("shard-00000.tar", "manifest.json"):
        assert (tmp_path / "out" / file).read_bytes() == (tmp_path / "whole" / file).read_bytes()
    assert {f.name for f in (tmp_path / "out").iterdir()} == {"shard-00000.tar", "manifest.json"}


FULL = """
import ctypes, subprocess, sys
from lvcd.cli import main
film, where = sys.argv[1:]
if ctypes.CDLL(None).unshare(0x20000):
    sys.exit(77)
for command in (["mount", "--make-rprivate", "/"], ["mount", "-t", "tmpfs", "-o", "size=40k", "tmpfs", where]):
    if subprocess.run(command, capture_output=True).returncode:
        sys.exit(77)
words = ["prepare", film, "--out", where + "/out", "--workers", "2"]
assert main(words) == 2
subprocess.run(["mount", "-o", "remount,size=4m", where], check=True)
sys.exit(main(words))
"""


def test_a_disk_that_is_really_full(tmp_path):
    """A file system of 40 kB in a mount namespace of its own."""
    film = movie(tmp_path / "film.mp4")
    (tmp_path / "small").mkdir()
    done = subprocess.run([sys.executable, "-c", FULL, film, tmp_path / "small"], capture_output=True, text=True)
    if done.returncode == 77:
        pytest.skip("not allowed to mount here")
    assert done.returncode == 0, done.stderr
    assert "free some space" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("method", ["add", "close_shot", "finish"])
def test_it_may_stop_at_any_frame(tmp_path, monkeypatch, method):
    """Of an unfinished film only the clips that are not whole are drawn again."""
    from lvcd.prepare import film_cache, process

    film = movie(tmp_path / "film.mp4", 80)
    words = ("--longest", 20)
    prepared(film, tmp_path / "whole", *words)
    real, drawn = getattr(film_cache.FilmCacheWriter, method), []
    extract = process.make_extractor("xdog")

    class Counting:
        settings = extract.settings

        def __call__(self, first, frames):
            drawn.extend(range(first, first + len(frames)))
            return extract(first, frames)

    monkeypatch.setattr(process, "_made", lambda *_: Counting())
    for stop in (1, 2, 3, 4, 25, 60, 80):
        calls = 0

        def dying(self, *args, stop=stop):
            nonlocal calls
            calls += 1
            if calls == stop:
                raise KeyboardInterrupt
            return real(self, *args)

        out = tmp_path / f"{stop}"
        monkeypatch.setattr(film_cache.FilmCacheWriter, method, dying)
        assert main(["prepare", str(film), "--out", str(out), "--workers", "1", *map(str, words)]) in (0, 130)
        monkeypatch.setattr(film_cache.FilmCacheWriter, method, real)
        kept = [line for f in out.glob(".parts-*/*.clips") for line in f.read_text().splitlines()]
        drawn.clear()
        prepared(film, out, *words)
        assert len(drawn) == (80 - 20 * len(kept) if calls >= stop else 0)
        for file in (tmp_path / "whole").iterdir():
            assert (out / file.name).read_bytes() == file.read_bytes()


def test_litter_of_a_torn_write_is_no_clip(tmp_path):
    """A line that is not whole, and pixels that are not what the line says."""
    from lvcd.prepare.film_cache import FilmCache, FilmCacheWriter

    cache = FilmCache(tmp_path / "00000")
    with FilmCacheWriter(cache) as writer:
        for index in range(6):
            writer.add(b"frame%d" % index, b"drawing")
        writer.close_shot(0, 2, True)
        writer.close_shot(2, 4, False)
        writer.close_shot(4, 6, True)
    assert [clip.stop for clip in cache.clips()] == [2, 6]
    with cache.file("clips").open("a") as log:
        log.write("[6, 8, 1")
    with FilmCacheWriter(cache) as writer:
        assert writer.done == 6
    data = bytearray(cache.file("pixels").read_bytes())
    data[-3] ^= 1
    cache.file("pixels").write_bytes(data)
    with FilmCacheWriter(cache) as writer:
        assert writer.done == 2
    assert cache.file("pixels").stat().st_size == 2 * len(b"frame0drawing")


def test_a_film_that_is_replaced_while_it_is_read_is_noticed(tmp_path, monkeypatch, capsys):
    """The manifest's hash would be of other frames than the clips are."""
    from lvcd.prepare import film_cache

    film, other = movie(tmp_path / "film.mkv", 40), movie(tmp_path / "other.mkv", 40, (64, 48))
    real = film_cache.FilmCacheWriter.add

    def replacing(self, *args):
        monkeypatch.setattr(film_cache.FilmCacheWriter, "add", real)
        shutil.copy(other, film)
        return real(self, *args)

    monkeypatch.setattr(film_cache.FilmCacheWriter, "add", replacing)
    assert main(["prepare", str(film), "--out", str(tmp_path / "out"), "--workers", "1"]) == 2
    assert "was changed while it was read" in capsys.readouterr().err
    assert not list((tmp_path / "out").glob("*.tar")) and not (tmp_path / "out" / "manifest.json").exists()
    prepared(film, tmp_path / "out")  # what it is now is another job, and the first came to nothing
