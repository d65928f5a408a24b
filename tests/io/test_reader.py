"""Frames from disk and back, with real files of every kind."""

from __future__ import annotations

import errno
import os
import resource
import struct
import weakref
import zlib
from fractions import Fraction

import av
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from lvcd.errors import InputError
from lvcd.io.images import read_image, write_png
from lvcd.io.movies import write_movie
from lvcd.io.reader import RECENT_FRAMES, InputGuard, digest, open_frames


def flat(index, size=(32, 48)):
    """A frame that says its number, tens and ones, in the greys of its lower half; the top left corner is red."""
    height, width = size
    frame = np.full((height, width, 3), 128, np.uint8)
    frame[: height // 4, : width // 4] = (255, 0, 0)
    frame[height // 2 :, : width // 2] = 20 + 20 * (index // 10)
    frame[height // 2 :, width // 2 :] = 20 + 20 * (index % 10)
    return frame


def clip(count, size=(32, 48)):
    return (flat(index, size) for index in range(count))


def number(frame):
    """The index that `flat` wrote: rounds away the loss of coding (up to 9 of 255), not a neighbor."""
    height, width = frame.shape[:2]
    row = frame[height * 5 // 8 : height * 7 // 8, :, :3].astype(float)
    halves = row[:, width // 8 : width * 3 // 8], row[:, width * 5 // 8 : width * 7 // 8]
    tens, ones = (round((half.mean() - 20) / 20) for half in halves)
    return 10 * tens + ones


def encode(
    path,
    frames,
    codec="libx264",
    container=None,
    pix_fmt="yuv420p",
    pts=None,
    rate=24,
    options=None,
    tags=None,
    head=None,
):
    """A movie written without the code under test."""
    with av.open(str(path), "w", format=container, options=head or {}) as out:
        stream = None
        for index, pixels in enumerate(frames):
            if stream is None:
                stream = out.add_stream(codec, rate=rate, options=options or {})
                stream.height, stream.width, stream.pix_fmt = *pixels.shape[:2], pix_fmt
                stream.metadata.update(tags or {})
                if pts:
                    stream.codec_context.time_base = Fraction(1, 1000)
            frame = av.VideoFrame.from_ndarray(pixels, format="rgba" if pixels.shape[2] == 4 else "rgb24")
            frame.pts = pts[index] if pts else index
            frame.time_base = Fraction(1, 1000) if pts else Fraction(1, rate)
            out.mux(stream.encode(frame))
        out.mux(stream.encode(None))
    return path


def refusal(call, *names):
    """The message of the InputError that `call` raises: one line that holds all of `names`."""
    with pytest.raises(InputError) as caught:
        call()
    message = str(caught.value)
    assert message.isprintable() and ": " in message, message
    for name in names:
        assert str(name) in message, (name, message)
    return message


def left(folder):
    return sorted(os.listdir(folder))


# --- images -------------------------------------------------------------------------------------------------------


def png16(pixels):
    """A 16-bit PNG (H W 1|2|3|4), which Pillow cannot write in color."""
    height, width, channels = pixels.shape
    kind = {1: 0, 2: 4, 3: 2, 4: 6}[channels]
    raw = b"".join(b"\0" + row.astype(">u2").tobytes() for row in pixels)

    def chunk(name, data):
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    header = struct.pack(">IIBBBBB", width, height, 16, kind, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(raw)) + chunk(b"IEND", b"")


def test_a_folder_is_read_in_natural_order_and_only_its_images(tmp_path):
    names = ["frame10.png", "frame2.png", "frame1.PNG", "scan 03.bmp", "Frame2b.png", "frame.png", "20.tif", "3.webp"]
    for index, name in enumerate(names):
        Image.fromarray(flat(index)).save(tmp_path / name)
    for other in (".hidden.png", "._frame1.png", "notes.txt", "Thumbs.db"):
        (tmp_path / other).write_text("no image")
    (tmp_path / "folder.png").mkdir()
    with open_frames(tmp_path) as frames:
        order = [frames.name(index) for index in range(len(frames))]
        assert order == [
            "3.webp",
            "20.tif",
            "frame.png",
            "frame1.PNG",
            "frame2.png",
            "Frame2b.png",
            "frame10.png",
            "scan 03.bmp",
        ]
        assert [number(frame) for frame in frames] == [names.index(name) for name in order]
        assert frames.size == (32, 48) and frames.fps == 24.0
        assert number(frames[-1]) == 3
        with pytest.raises(IndexError):
            frames[len(frames)]


@pytest.mark.parametrize("mode, shape", [("1", 3), ("L", 3), ("P", 3), ("LA", 4), ("RGB", 3), ("RGBA", 4)])
def test_modes(tmp_path, mode, shape):
    pixels = np.zeros((5, 7, 4), np.uint8)
    pixels[:, 3:] = 255
    pixels[..., 3] = [[255, 255, 255, 0, 255, 0, 255]] * 5
    Image.fromarray(pixels[..., :shape]).convert(mode).save(tmp_path / "a.png")
    assert np.array_equal(read_image(tmp_path / "a.png"), pixels[..., :shape])


def test_palette_and_grey_with_a_transparent_color(tmp_path):
    index = np.array([[0, 1], [2, 1]], np.uint8)
    palette = Image.fromarray(index, mode="P")
    palette.putpalette([255, 0, 0, 0, 255, 0, 0, 0, 255])
    palette.save(tmp_path / "p.png", transparency=1)
    expected = np.array([[[255, 0, 0, 255], [0, 255, 0, 0]], [[0, 0, 255, 255], [0, 255, 0, 0]]], np.uint8)
    assert np.array_equal(read_image(tmp_path / "p.png"), expected)
    Image.fromarray(index).save(tmp_path / "l.png", transparency=2)
    assert read_image(tmp_path / "l.png")[..., 3].tolist() == [[255, 255], [0, 255]]


def test_cmyk_jpeg(tmp_path):
    Image.new("CMYK", (16, 16), (0, 255, 255, 0)).save(tmp_path / "c.jpg", quality=95)
    assert np.abs(read_image(tmp_path / "c.jpg").astype(int) - (255, 0, 0)).max() < 12


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
def test_16_bits_scale_to_8(tmp_path, channels):
    values = np.arange(0, 65536, 64, dtype=np.int64).reshape(32, 32, 1) + np.zeros(channels, np.int64)
    values[-1, -1] = 65535
    (tmp_path / "deep.png").write_bytes(png16(values))
    image = read_image(tmp_path / "deep.png")
    colors = image[..., :3].astype(int)
    assert image.shape == (32, 32, 4 if channels in (2, 4) else 3)
    assert colors[0, 0, 0] == 0 and colors[-1, -1, 0] == 255
    assert np.abs(colors - values[..., :1] / 257).max() <= (0.5 if channels == 1 else 1.0)


@pytest.mark.parametrize("suffix", ["png", "jpg", "webp"])
def test_exif_orientation(tmp_path, suffix):
    upright = flat(3, (24, 40))
    exif = Image.Exif()
    exif[0x0112] = 6  # rotate by 90 degrees clockwise to show
    turned = Image.fromarray(np.ascontiguousarray(np.rot90(upright)))
    turned.save(tmp_path / f"a.{suffix}", exif=exif, quality=95)
    with open_frames(tmp_path) as frames:
        assert frames.size == (24, 40)
        assert np.abs(frames[0].astype(int) - upright).mean() < 6 and frames[0][0, 0, 0] > 200


def test_a_single_image_is_one_frame(tmp_path):
    write_png(tmp_path / "a.png", flat(1))
    with open_frames(tmp_path / "a.png") as frames:
        assert len(frames) == 1 and np.array_equal(frames[0], flat(1)) and frames.name(0) == "a.png"


def test_what_is_returned_is_the_caller_s_own(tmp_path):
    with open_frames(encode(tmp_path / "m.mp4", clip(3))) as frames:
        frames[1][:] = 0
        assert number(frames[1]) == 1


# --- movies in ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name, codec",
    [
        ("m.mp4", "libx264"),
        ("m.mkv", "libx264"),
        ("m.mov", "mpeg4"),
        ("m.webm", "libvpx"),
        ("m.webm", "libvpx-vp9"),
        ("m: 1%d.mp4", "libx264"),
    ],
)
def test_every_coded_frame_in_order(tmp_path, name, codec):
    encode(tmp_path / name, clip(53), codec)
    with open_frames(tmp_path / name) as frames:
        assert [number(frame) for frame in frames] == list(range(53))
        assert len(frames) == 53 and frames.size == (32, 48) and frames.fps == pytest.approx(24, abs=0.01)
        assert all(frame.shape == (32, 48, 3) and frame.dtype == np.uint8 for frame in frames)


def test_the_count_of_the_container_is_not_believed(tmp_path):
    data = bytearray(encode(tmp_path / "m.avi", clip(12), "mpeg4").read_bytes())
    for tag, offset in ((b"avih", 8 + 16), (b"strh", 8 + 32)):  # dwTotalFrames, dwLength
        at = data.index(tag) + offset
        assert struct.unpack_from("<I", data, at) == (12,)
        struct.pack_into("<I", data, at, 500)
    (tmp_path / "m.avi").write_bytes(data)
    with av.open(str(tmp_path / "m.avi")) as container:
        assert container.streams.video[0].frames == 500
    with open_frames(tmp_path / "m.avi") as frames:
        assert len(frames) == 12 and [number(frame) for frame in frames] == list(range(12))


@pytest.mark.parametrize("name", ["m.mp4", "m.mkv"])
def test_variable_frame_rate(tmp_path, name):
    pts = np.cumsum([0, 40, 40, 500, 1, 40, 120, 40, 40, 979]).tolist()
    with open_frames(encode(tmp_path / name, clip(10), pts=pts)) as frames:
        assert [number(frame) for frame in frames] == list(range(10))
        assert frames.fps == pytest.approx(9 / 1.8, rel=0.1)


def test_rotated_movie(tmp_path):
    data = encode(tmp_path / "m.mp4", clip(3)).read_bytes()
    matrix = struct.pack(">9i", 65536, 0, 0, 0, 65536, 0, 0, 0, 1 << 30)
    at = data.index(matrix, data.index(b"tkhd"))
    quarter = struct.pack(">9i", 0, 65536, 0, -65536, 0, 0, 0, 0, 1 << 30)  # shown turned clockwise
    (tmp_path / "m.mp4").write_bytes(data[:at] + quarter + data[at + 36 :])
    with open_frames(tmp_path / "m.mp4") as frames:
        assert frames.size == (48, 32)
        assert np.abs(frames[2].astype(int) - np.rot90(flat(2), -1)).mean() < 6


@pytest.mark.parametrize("codec", ["libvpx", "libvpx-vp9"])
def test_transparency_of_webm(tmp_path, codec):
    clear = np.concatenate([flat(0), np.full((32, 48, 1), 255, np.uint8)], axis=2)
    clear[:, 24:, 3] = 0
    options = {"auto-alt-ref": "0", "b": "2000000"}
    encode(tmp_path / "m.webm", [clear] * 4, codec, pix_fmt="yuva420p", options=options, tags={"alpha_mode": "1"})
    with open_frames(tmp_path / "m.webm") as frames:
        assert len(frames) == 4 and frames[3].shape == (32, 48, 4)
        assert frames[3][:, :20, 3].min() > 240 and frames[3][:, 28:, 3].max() < 15


def test_gif_and_animated_webp_with_and_without_transparency(tmp_path):
    images = [Image.fromarray(flat(index)) for index in range(7)]
    clear = [image.convert("RGBA") for image in images]
    for image in clear:
        image.paste((0, 0, 0, 0), (40, 0, 48, 8))
    for suffix in ("gif", "webp"):
        for name, pages in (("solid", images), ("clear", clear)):
            options = {} if suffix == "gif" else {"lossless": True}
            path = tmp_path / f"{name}.{suffix}"
            pages[0].save(path, save_all=True, append_images=pages[1:], duration=100, disposal=2, **options)
            with open_frames(path) as frames:
                assert [number(frame) for frame in frames] == list(range(7)), path
                assert frames.fps == pytest.approx(10, rel=0.01)
                assert frames[6].shape[2] == (4 if name == "clear" else 3)
                assert name == "solid" or (frames[6][4, 44, 3], frames[6][16, 20, 3]) == (0, 255)


@pytest.fixture(scope="module")
def long_movies(tmp_path_factory):
    folder = tmp_path_factory.mktemp("long")
    encode(folder / "m.mp4", clip(100), options={"g": "250", "bf": "3"})
    pages = [Image.fromarray(flat(index)) for index in range(100)]
    pages[0].save(folder / "m.webp", save_all=True, append_images=pages[1:], lossless=True)
    return [folder / "m.mp4", folder / "m.webp"]


@settings(max_examples=12, deadline=None)
@given(starts=st.lists(st.integers(0, 95), min_size=1, max_size=6), length=st.integers(1, 20))
def test_any_access_equals_plain_decoding(long_movies, starts, length):
    for path in long_movies:
        with open_frames(path) as frames:
            for start in starts:
                for index in range(start, min(100, start + length)):
                    assert number(frames[index]) == index
                    assert len(frames._recent) <= RECENT_FRAMES


def test_windows_with_overlap_decode_once(long_movies):
    for path in long_movies:
        with open_frames(path) as frames:
            starts, begin = [], frames._start
            frames._start = lambda begin=begin, starts=starts: starts.append(1) or begin()
            for start in range(0, 87):  # window 14, overlap 13
                assert [number(frames[index]) for index in range(start, start + 14)] == list(range(start, start + 14))
            assert len(starts) == 1
            assert number(frames[0]) == 0 and len(starts) == 2


def test_close_gives_the_file_back(long_movies):
    def mine():
        return [fd for fd in os.listdir("/proc/self/fd") if "m." in os.path.realpath(f"/proc/self/fd/{fd}")[-6:]]

    for path in long_movies[:1]:  # Pillow reads a WebP whole and closes it
        frames = open_frames(path)
        assert not mine()
        frames[3]
        assert mine()
        frames.close()
        assert not mine()
        assert number(frames[5]) == 5  # opens again
        frames.close()


# --- what cannot be read ------------------------------------------------------------------------------------------


def test_nothing_there(tmp_path):
    (tmp_path / "notes.txt").write_text("hello")
    (tmp_path / "empty").mkdir()
    refusal(lambda: open_frames(tmp_path / "gone"), "gone", "does not exist")
    refusal(lambda: open_frames(tmp_path / "gone.mp4"), "gone.mp4", "does not exist")
    refusal(lambda: open_frames(tmp_path / "notes.txt" / "a.png"), "a.png")
    refusal(lambda: open_frames(tmp_path / ("x" * 300)), "check the path")
    refusal(lambda: open_frames(tmp_path), tmp_path, "no images")
    refusal(lambda: open_frames(tmp_path / "empty"), "empty", "no images")
    refusal(lambda: open_frames("/dev/null"), "/dev/null")
    refusal(lambda: read_image(tmp_path / "gone.png"), "gone.png")
    refusal(lambda: read_image(tmp_path), tmp_path, "not a file")


@pytest.mark.parametrize("suffix", ["png", "jpg", "webp", "bmp", "tif", "mp4", "gif", "mkv"])
def test_empty_and_foreign_files(tmp_path, suffix):
    path = tmp_path / f"bad\n.{suffix}"
    path.write_bytes(b"")
    refusal(lambda: open_frames(path), "bad", "empty")
    path.write_bytes(b"this is no picture " * 50)
    refusal(lambda: open_frames(path), "bad", "cannot read")


@pytest.mark.parametrize("suffix", ["png", "jpg", "webp", "bmp", "tif"])
@pytest.mark.parametrize("share", [0.02, 0.5, 0.97])
def test_truncated_image_in_a_folder_is_named_at_opening(tmp_path, suffix, share):
    noise = np.random.default_rng(0).integers(0, 255, (32, 48, 3), dtype=np.uint8)
    for index in range(3):
        Image.fromarray(noise).save(tmp_path / f"{index}.{suffix}")
    data = (tmp_path / f"1.{suffix}").read_bytes()
    (tmp_path / f"1.{suffix}").write_bytes(data[: int(len(data) * share)])
    refusal(lambda: open_frames(tmp_path), f"1.{suffix}")


def test_damage_inside_an_image_is_named_when_it_is_read(tmp_path):
    noise = np.random.default_rng(0).integers(0, 255, (32, 48, 3), dtype=np.uint8)
    for index in range(3):
        write_png(tmp_path / f"{index}.png", noise)
    data = bytearray((tmp_path / "1.png").read_bytes())
    data[len(data) // 2 : len(data) // 2 + 60] = bytes(60)
    (tmp_path / "1.png").write_bytes(data)
    with open_frames(tmp_path) as frames:
        assert np.array_equal(frames[2], noise)
        refusal(lambda: frames[1], "1.png")
        (tmp_path / "2.png").unlink()
        refusal(lambda: frames[2], "2.png", "does not exist")
        write_png(tmp_path / "0.png", noise[:30])
        refusal(lambda: frames[0], "0.png", "48 x 30", "48 x 32")


def test_trailing_bytes_are_no_truncation(tmp_path):
    for suffix in ("png", "jpg", "webp", "bmp"):
        Image.fromarray(flat(0)).save(tmp_path / f"{suffix}.{suffix}")
        with (tmp_path / f"{suffix}.{suffix}").open("ab") as file:
            file.write(bytes(100))
        assert read_image(tmp_path / f"{suffix}.{suffix}").shape == (32, 48, 3)
    with open_frames(tmp_path) as frames:
        assert len(frames) == 4


def test_mixed_sizes_name_the_first_offender(tmp_path):
    for index in range(12):
        write_png(tmp_path / f"{index}.png", flat(0, (32, 48) if index < 9 else (30 + index, 48)))
    refusal(lambda: open_frames(tmp_path), "9.png", "48 x 39", "0.png", "48 x 32")


def test_float_images_are_refused_at_opening(tmp_path):
    Image.fromarray(np.zeros((4, 4), np.float32)).save(tmp_path / "f.tif")
    refusal(lambda: open_frames(tmp_path), "f.tif", "floating-point")


def test_opening_a_folder_decodes_no_image(tmp_path, monkeypatch):
    for index in range(5):
        Image.fromarray(flat(index)).save(tmp_path / f"{index}.png")
        Image.fromarray(flat(index)).save(tmp_path / f"{index + 5}.jpg")
    monkeypatch.setattr(Image.Image, "convert", None)
    monkeypatch.setattr("PIL.ImageFile.ImageFile.load", None)
    assert len(open_frames(tmp_path)) == 10


@pytest.mark.parametrize(
    "name, options",
    [("m.mp4", {}), ("m.mp4", {"movflags": "+faststart"}), ("m.mkv", {}), ("m.webm", {}), ("m.gif", {})],
)
@pytest.mark.parametrize("share", [0.3, 0.7, 0.96])
def test_truncated_movies(tmp_path, name, options, share):
    noise = np.random.default_rng(0).integers(0, 255, (20, 32, 48, 3), dtype=np.uint8)
    if name == "m.gif":
        write_movie(tmp_path / name, noise, 10)
    else:
        encode(tmp_path / name, noise, "libvpx" if name == "m.webm" else "libx264", head=options)
    data = (tmp_path / name).read_bytes()
    (tmp_path / name).write_bytes(data[: int(len(data) * share)])
    refusal(lambda: open_frames(tmp_path / name), name)


def test_movie_without_video_and_disguised_playlist(tmp_path):
    with av.open(str(tmp_path / "sound.mp4"), "w") as out:
        stream = out.add_stream("aac", rate=44100)
        sound = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), format="fltp", layout="mono")
        sound.sample_rate = 44100
        out.mux(stream.encode(sound))
        out.mux(stream.encode(None))
    refusal(lambda: open_frames(tmp_path / "sound.mp4"), "sound.mp4", "no video")
    encode(tmp_path / "real.mp4", clip(2))
    (tmp_path / "list.mp4").write_text("#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:9,\nreal.mp4\n#EXT-X-ENDLIST\n")
    refusal(lambda: open_frames(tmp_path / "list.mp4"), "list.mp4")
    (tmp_path / "list.mp4").write_text("ffconcat version 1.0\nfile real.mp4\n")
    refusal(lambda: open_frames(tmp_path / "list.mp4"), "list.mp4")
    (tmp_path / "notes.txt").write_text("FFmpeg would draw these words as a movie\n" * 99)
    refusal(lambda: open_frames(tmp_path / "notes.txt"), "notes.txt")
    with av.open(str(tmp_path / "none.mkv"), "w") as out:
        stream = out.add_stream("libx264", rate=24)
        stream.width, stream.height, stream.pix_fmt = 48, 32, "yuv420p"
        out.start_encoding()
    refusal(lambda: open_frames(tmp_path / "none.mkv"), "none.mkv")


def test_random_damage_never_escapes_as_another_error(tmp_path):
    rng = np.random.default_rng(5)
    for suffix in ("png", "jpg", "webp", "bmp", "tif", "mp4", "gif", "webm"):
        path = tmp_path / f"a.{suffix}"
        write_png(path, flat(0)) if suffix == "png" else None
        if suffix in ("jpg", "webp", "bmp", "tif"):
            Image.fromarray(flat(0)).save(path)
        elif suffix != "png":
            write_movie(path, clip(4), 24)
        data = np.frombuffer(path.read_bytes(), np.uint8)
        for _ in range(15):
            broken = data.copy()
            broken[rng.integers(0, len(data), 6)] = rng.integers(0, 256, 6)
            path.write_bytes(broken.tobytes())
            try:
                with open_frames(path) as frames:
                    assert all(frame.ndim == 3 for frame in frames)
            except InputError as error:
                assert str(error).isprintable() and f"a.{suffix}" in str(error)


# --- out ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", [(5, 7, 3), (1, 1, 3), (6, 4, 4)])
def test_png_round_trip(tmp_path, shape):
    image = np.random.default_rng(0).integers(0, 255, shape, dtype=np.uint8)
    write_png(tmp_path / "a.png", image)
    assert np.array_equal(read_image(tmp_path / "a.png"), image) and left(tmp_path) == ["a.png"]
    with pytest.raises(ValueError, match="uint8"):
        write_png(tmp_path / "a.png", image / 255)


@pytest.mark.parametrize("suffix", ["mp4", "webm", "gif", "MP4"])
@pytest.mark.parametrize("count, fps", [(1, 24), (40, 24), (37, 24000 / 1001), (12, 6), (15, 30), (9, 12.5)])
def test_movie_round_trip(tmp_path, suffix, count, fps):
    path = tmp_path / f"m.{suffix}"
    assert write_movie(path, clip(count), fps) == count
    with open_frames(path) as frames:
        assert [number(frame) for frame in frames] == list(range(count))
        assert frames.size == (32, 48) and frames[0].shape[2] == 3
        if count > 1:
            assert frames.fps == pytest.approx(fps, rel=0.02 if suffix == "gif" else 1e-4)
    assert left(tmp_path) == [path.name]


@pytest.mark.parametrize("suffix", ["mp4", "webm", "gif"])
@pytest.mark.parametrize("size", [(33, 47), (32, 47), (33, 48), (1, 1)])
def test_odd_sizes(tmp_path, suffix, size):
    write_movie(tmp_path / f"m.{suffix}", clip(5, size), 24)
    expected = tuple(side + side % 2 for side in size) if suffix == "mp4" else size
    with open_frames(tmp_path / f"m.{suffix}") as frames:
        assert frames.size == expected and len(frames) == 5
        if size != (1, 1):
            assert number(frames[4]) == 4 and np.abs(frames[4][-1, -1].astype(int) - flat(4)[-1, -1]).max() < 4


@pytest.mark.parametrize("suffix, tolerance", [("mp4", 4), ("webm", 4), ("gif", 8)])
def test_colors(tmp_path, suffix, tolerance):
    colors = [(255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 255), (0, 0, 0), (128, 64, 200), (250, 180, 20)]
    write_movie(tmp_path / f"m.{suffix}", [np.full((64, 64, 3), color, np.uint8) for color in colors], 24)
    with open_frames(tmp_path / f"m.{suffix}") as frames:
        for frame, color in zip(frames, colors, strict=True):
            assert np.abs(frame.astype(int) - color).max() <= tolerance, color


def test_quality(tmp_path):
    y, x = np.mgrid[:96, :128]
    image = np.stack([np.abs(x - 64) * 3, y * 2, np.abs(x - 64) + y], -1).astype(np.uint8)
    image[30:60, 40:80] = (20, 20, 30)
    for suffix, at_least in (("mp4", 38), ("webm", 38), ("gif", 30)):
        write_movie(tmp_path / f"m.{suffix}", [np.roll(image, 3 * index, 1) for index in range(8)], 24)
        with open_frames(tmp_path / f"m.{suffix}") as frames:
            error = np.mean([(frames[index] - np.roll(image, 3 * index, 1).astype(float)) ** 2 for index in range(8)])
        assert 10 * np.log10(255**2 / error) > at_least, suffix


def test_a_gif_is_never_faster_than_players_are(tmp_path):
    write_movie(tmp_path / "m.gif", clip(20), 60)
    with open_frames(tmp_path / "m.gif") as frames:
        assert len(frames) == 20 and frames.fps == pytest.approx(50)


def test_the_same_frames_make_the_same_bytes(tmp_path):
    for suffix in ("mp4", "webm", "gif"):
        for name in "ab":
            write_movie(tmp_path / f"{name}.{suffix}", clip(6), 24)
        assert (tmp_path / f"a.{suffix}").read_bytes() == (tmp_path / f"b.{suffix}").read_bytes()


@pytest.mark.parametrize("suffix", ["mp4", "webm", "gif"])
def test_frames_are_not_held(tmp_path, suffix):
    alive, most = [], 0

    class Frame(np.ndarray):
        pass

    def frames():
        nonlocal most
        for index in range(60):
            frame = flat(index).view(Frame)
            alive.append(weakref.ref(frame))
            most = max(most, sum(reference() is not None for reference in alive))
            yield frame

    write_movie(tmp_path / f"m.{suffix}", frames(), 24)
    assert 1 <= most <= 3


@pytest.mark.parametrize("suffix, codecs", [("mp4", {"mpeg4"}), ("webm", {"libvpx"})])
def test_builds_without_the_best_encoder(tmp_path, monkeypatch, suffix, codecs):
    monkeypatch.setattr(av, "codecs_available", codecs)
    write_movie(tmp_path / f"m.{suffix}", clip(30), 24)
    with open_frames(tmp_path / f"m.{suffix}") as frames:
        assert [number(frame) for frame in frames] == list(range(30))
    monkeypatch.setattr(av, "codecs_available", set())
    refusal(lambda: write_movie(tmp_path / f"n.{suffix}", clip(2), 24), f"n.{suffix}", "no encoder")


@pytest.mark.parametrize("suffix", ["mp4", "webm", "gif"])
def test_a_failure_leaves_nothing(tmp_path, suffix):
    path = tmp_path / f"m.{suffix}"

    def stop(error):
        yield from clip(12)
        raise error

    for error in (KeyboardInterrupt(), InputError("a: b"), RuntimeError()):
        with pytest.raises(type(error)):
            write_movie(path, stop(error), 24)
        assert left(tmp_path) == []
    refusal(lambda: write_movie(path, [], 24), path, "no frames")
    refusal(lambda: write_movie(path, clip(2), 0), path, "frames per second")
    refusal(lambda: write_movie(path, clip(2), float("nan")), path, "frames per second")
    with pytest.raises(ValueError, match="uint8"):
        write_movie(path, [flat(0), flat(0, (32, 50))], 24)
    assert left(tmp_path) == []
    write_movie(path, clip(3), 24)
    before = path.read_bytes()
    with pytest.raises(RuntimeError):
        write_movie(path, stop(RuntimeError()), 24)
    assert path.read_bytes() == before and left(tmp_path) == [path.name]


def test_where_nothing_can_be_written(tmp_path):
    message = refusal(lambda: write_movie(tmp_path / "m.avi", clip(1), 24), "m.avi")
    assert all(suffix in message for suffix in (".mp4", ".webm", ".gif"))
    (tmp_path / "dir.mp4").mkdir()
    (tmp_path / "dir.png").mkdir()
    refusal(lambda: write_movie(tmp_path / "dir.mp4", clip(1), 24), "dir.mp4")
    refusal(lambda: write_png(tmp_path / "dir.png", flat(0)), "dir.png")
    refusal(lambda: write_movie(tmp_path / "no" / "m.mp4", clip(1), 24), "m.mp4")
    refusal(lambda: write_png("/proc/a.png", flat(0)), "/proc/a.png")
    assert left(tmp_path) == ["dir.mp4", "dir.png"]


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT, errno.EACCES, errno.EROFS, errno.EIO])
def test_errors_of_the_disk_say_what_to_do(tmp_path, monkeypatch, code):
    def fail(*args):
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(os, "replace", fail)
    advice = "free some space" if code in (errno.ENOSPC, errno.EDQUOT) else "and go"
    refusal(lambda: write_png(tmp_path / "a.png", flat(0), "go on"), "a.png", os.strerror(code), advice)
    refusal(lambda: write_movie(tmp_path / "a.gif", clip(2), 24, "go on"), "a.gif", os.strerror(code), advice)
    assert left(tmp_path) == []


@pytest.mark.parametrize("suffix", ["mp4", "webm", "gif", "png"])
def test_a_write_that_really_fails(tmp_path, suffix):
    noise = np.random.default_rng(0).integers(0, 255, (30, 64, 96, 3), dtype=np.uint8)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (9000, limits[1]))  # a stand-in for a full disk: write() itself fails
    try:
        path = tmp_path / f"m.{suffix}"
        write = (lambda: write_png(path, noise[0])) if suffix == "png" else (lambda: write_movie(path, noise, 24))
        refusal(write, path.name, "free some space")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert left(tmp_path) == []


@pytest.mark.parametrize("is_folder", [False, True])
def test_an_input_that_changes_is_noticed(tmp_path, is_folder):
    """By its content: a file that is touched, or written again with the same bytes, is what was read."""
    folder = tmp_path / "frames"
    folder.mkdir()
    for index in range(3):
        write_png(folder / f"{index}.png", np.full((8, 8, 3), index, np.uint8))
    file = folder / "1.png"
    path, data = folder if is_folder else file, file.read_bytes()
    guard = InputGuard(path)
    assert guard.digest == digest(path)
    guard.check()
    file.write_bytes(data)
    os.utime(file, ns=(1, 1))
    guard.check()
    (tmp_path / "new").write_bytes(data[:-1])
    os.replace(tmp_path / "new", file)
    os.utime(file, ns=(1, 1))
    with pytest.raises(InputError, match="was changed while it was read"):
        guard.check()
    file.unlink()
    with pytest.raises(InputError):
        guard.check()
    late = InputGuard(path)
    file.write_bytes(data)
    with pytest.raises(InputError, match="was changed"):
        _ = late.digest
