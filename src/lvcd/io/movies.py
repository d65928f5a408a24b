"""Movies: decoded and encoded with FFmpeg."""

from __future__ import annotations

import os
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import av
import numpy as np
from av.video.reformatter import ColorRange, Colorspace

from lvcd.errors import InputError

from .disk import atomic, in_pixels, printable, reading

_MOVIE_FORMATS = "mov,matroska,webm,gif,avi,mpegts,mpeg,ogg"  # demuxers that never open a second file

# --- in -----------------------------------------------------------------------------------------------------------


@dataclass
class Movie:
    """The facts about a movie that one pass over all its frames finds."""

    count: int
    size: tuple[int, int]
    """(height, width), upright."""
    fps: float
    """Frames per second; of a variable rate, the mean; 0 if the file does not say."""
    pixels: Callable[[av.VideoFrame], np.ndarray]
    """A decoded frame => uint8, upright: (H W 4) if any frame of the movie is transparent, else (H W 3)."""


def scan_movie(path: Path) -> Movie:
    """Decode a movie once to count its frames. InputError: it is no movie, has no frames or frames of several sizes, or
    is damaged or cut short."""
    count, alpha, first, last = 0, False, None, None
    with closing(decode_movie(path)) as frames:
        for frame in frames:
            first, last = first or frame, frame
            if (frame.width, frame.height) != (first.width, first.height):
                raise InputError(
                    f"frame {count} of {printable(path)} is {in_pixels((frame.height, frame.width))} but frame 0 "
                    f"is {in_pixels((first.height, first.width))}: make all frames the same size"
                )
            alpha = alpha or _is_transparent(frame)
            count += 1
    if first is None or last is None:
        raise InputError(f"{printable(path)} is a movie without frames: give another one")

    def pixels(frame: av.VideoFrame) -> np.ndarray:
        upright = np.rot90(frame.to_ndarray(format="rgba" if alpha else "rgb24"), round(frame.rotation / 90))
        return np.ascontiguousarray(upright)

    height, width = pixels(first).shape[:2]
    return Movie(count, (height, width), _fps(path, count, first, last), pixels)


def _is_transparent(frame: av.VideoFrame) -> bool:
    if not any(component.is_alpha for component in frame.format.components):
        return False
    return bool((frame.to_ndarray(format="rgba")[..., 3] < 255).any())


def _fps(path: Path, count: int, first: av.VideoFrame, last: av.VideoFrame) -> float:
    """The rate that the container states where the time stamps agree (GIF states none), else theirs; 0 without."""
    with open_container(path) as container:
        stated = stated_fps(container)
    span = (last.time or 0.0) - (first.time or 0.0)
    measured = (count - 1) / span if span > 0 else 0.0
    agree = not measured or abs(stated - measured) <= 0.02 * measured
    return stated if stated and agree else measured


def stated_fps(container: Any) -> float:
    """Return the frame rate that an open movie states; 0 if it states none."""
    gif = container.format.name == "gif"
    return 0.0 if gif else float(container.streams.best("video").average_rate or 0)


def open_container(path: Path) -> Any:
    """Open a movie, which the caller closes. FFmpeg opens no other file for it."""
    # file: so that a colon in a name is no protocol; the lists, so that a disguised playlist opens nothing else
    return av.open(f"file:{path}", options={"protocol_whitelist": "file", "format_whitelist": _MOVIE_FORMATS})


def decode_movie(path: Path) -> Generator[av.VideoFrame]:
    """Yield every coded frame in display order. InputError: the file breaks; the message names the frame."""
    with reading("movie", path, "give a movie (.mp4, .mkv, .webm, .mov, .gif), an image or a folder of images"):
        if not is_whole(path):
            raise InputError(f"{printable(path)} is cut short: copy it again")
        container = open_container(path)
    index = 0
    with container:
        stream = video_stream(container, path)
        decoder = make_decoder(stream)
        stream.thread_type = "AUTO"
        packets = container.demux(stream)
        while True:
            with reading(f"movie, broken at frame {index},", path, "convert or copy it again"):
                packet = next(packets, None)
                if packet is not None and packet.is_corrupt:
                    raise InputError(f"{printable(path)} is cut short at frame {index}: copy it again")
                if packet is not None and not packet.size:
                    continue
                frames = decoder.decode(packet)
            for frame in frames:
                if frame.is_corrupt:
                    raise InputError(f"frame {index} of {printable(path)} is damaged: convert or copy the movie again")
                frame.time_base = stream.time_base
                yield frame
                index += 1
            if packet is None:
                return


def video_stream(container: Any, path: Path) -> Any:
    """Return the video stream of an open movie. InputError: there is none that can be decoded."""
    stream = container.streams.best("video")
    if stream is None or stream.codec_context is None:
        raise InputError(f"{printable(path)} has no video that can be decoded: convert it or give another movie")
    return stream


def make_decoder(stream: Any) -> Any:
    """Return the decoder of a stream. VP8 and VP9 with transparency get libvpx: FFmpeg's own drops the alpha plane."""
    tags = {key.lower(): value for key, value in stream.metadata.items()}
    libvpx = {"vp8": "libvpx", "vp9": "libvpx-vp9"}.get(stream.codec_context.name)
    if tags.get("alpha_mode") == "1" and libvpx in av.codecs_available:
        return av.CodecContext.create(libvpx, "r")
    return stream.codec_context


def is_whole(path: Path) -> bool:
    """Return False if a GIF or Matroska file stops before its end, which FFmpeg reads without an error."""
    with path.open("rb") as file:
        head = file.read(4)
        length = file.seek(0, os.SEEK_END)
        if head == b"GIF8":
            file.seek(max(0, length - 64))
            return file.read().rstrip(b"\0\r\n ").endswith(b";")
        file.seek(4)
        return head != b"\x1a\x45\xdf\xa3" or _matroska_end(file) <= length


def _matroska_end(file: BinaryIO) -> int:
    """Where the segment after the EBML header ends by its own account; 0 if it does not say."""
    file.seek(_ebml_size(file) or 0, os.SEEK_CUR)
    if file.read(4) != b"\x18\x53\x80\x67":
        return 0
    size = _ebml_size(file)
    return 0 if size is None else file.tell() + size


def _ebml_size(file: BinaryIO) -> int | None:
    """The variable-length integer at the position of `file`; None if all ones, which says "unknown"."""
    first = file.read(1)[0]
    width = 9 - first.bit_length()
    value = int.from_bytes(bytes([first]) + file.read(width - 1), "big") & (1 << 7 * width) - 1
    return None if value == (1 << 7 * width) - 1 else value


# --- out ----------------------------------------------------------------------------------------------------------


class _Encoder(NamedTuple):
    codec: str
    options: dict[str, str]
    pixels: str = "yuv420p"
    """How the encoder wants pixels; RGB is handed on as it is."""


class _Format(NamedTuple):
    container: str
    encoders: tuple[_Encoder, ...]
    """The first one that this build of FFmpeg has is used."""
    clear: tuple[_Encoder, ...] = ()
    """The same for frames with transparency; none: the format has no transparency."""
    sound: tuple[str, ...] = ()
    """Codecs of sound that players expect in it: others are encoded by the first. "*" = any; none: it has no sound."""


_X264 = _Encoder("libx264", {"crf": "15", "preset": "medium", "mbtree": "0"})  # mbtree: not the same bytes every time
_MPEG4 = _Encoder("mpeg4", {"qmin": "1", "qmax": "3", "b": "40000000"})
_VP9 = _Encoder("libvpx-vp9", {"crf": "16", "b": "0", "deadline": "good", "cpu-used": "4", "row-mt": "1"})
_VP8 = _Encoder("libvpx", {"crf": "6", "b": "20000000", "deadline": "good", "cpu-used": "4"})
_PRORES = _Encoder("prores_ks", {"profile": "4444", "vendor": "apl0"}, "yuv444p10le")
_FFV1 = _Encoder("ffv1", {"level": "3", "slices": "4", "slicecrc": "1", "g": "1"}, "bgr0")
_FORMATS = {
    ".mp4": _Format("mp4", (_X264, _MPEG4), sound=("aac", "mp3", "ac3", "alac")),
    ".mov": _Format("mov", (_PRORES,), (_PRORES._replace(pixels="yuva444p10le"),),
                    ("aac", "mp3", "ac3", "alac", "pcm_s16le", "pcm_s24le", "pcm_s16be", "pcm_s24be")),
    ".mkv": _Format("matroska", (_FFV1,), (_FFV1._replace(pixels="bgra"),), ("*",)),
    ".webm": _Format("webm", (_VP9, _VP8), (_VP9._replace(pixels="yuva420p"), _VP8._replace(pixels="yuva420p")),
                     ("libopus", "opus", "vorbis")),
    ".gif": _Format("gif", (_Encoder("gif", {}, "pal8"),)),
    ".apng": _Format("apng", (_Encoder("apng", {"pred": "mixed"}, "rgb24"),),
                     (_Encoder("apng", {"pred": "mixed"}, "rgba"),)),
}  # fmt: skip
MOVIE_SUFFIXES = tuple(_FORMATS)
"""Endings of movies that can be written."""
CLEAR_SUFFIXES = tuple(suffix for suffix, form in _FORMATS.items() if form.clear)
"""Endings of movies that can be transparent."""
SOUND_CODECS = {suffix: form.sound for suffix, form in _FORMATS.items() if form.sound}
"""Endings of movies that have sound -> its codecs: others are encoded by the first. "*" = any."""
_GIF_FPS = 50  # the shortest duration that players of GIF respect is 2/100 s


def write_movie(
    path: str | os.PathLike,
    frames: Iterable[np.ndarray],  # uint8, all (H W 3), or all (H W 4) for an ending of CLEAR_SUFFIXES
    fps: float,
    advice: str = "run again",
    sound: Any = None,  # a `Sound` that goes with the frames
) -> int:
    """Write an .mp4 (H.264), .webm (VP9), .mov (ProRes 4444), .mkv (FFV1), .apng or .gif file => the number of frames.

    One frame is in memory at a time, and each becomes one coded frame. The file appears at `path` when it is complete,
    or not at all. The colors of mp4 and webm are 4:2:0 in BT.709 and say so, those of mov 4:4:4 in 10 bits; mkv and
    apng keep every pixel as it is. An mp4 of odd width or height gets one
    more column or row, a copy of the edge. A gif has a palette for every frame and at most 50 frames per second.
    InputError: unknown ending, no frames, a rate outside 0 to 1000, no encoder, or the disk.
    """
    path = Path(path)
    form = _FORMATS.get(path.suffix.lower())
    if form is None:
        raise InputError(f"cannot write {printable(path)}: end its name in {', '.join(MOVIE_SUFFIXES)}")
    if not 0 < fps <= 1000:
        raise InputError(
            f"cannot write {printable(path)} at {fps} frames per second: choose more than 0 and at most 1000"
        )
    with atomic(path, advice) as temp, _encoding(path):
        count = _encode(temp, form, frames, fps, path, sound)
        if not count:
            raise InputError(f"no frames to write to {printable(path)}: give at least one")
    return count


@contextmanager
def _encoding(path: Path) -> Iterator[None]:
    try:
        yield
    except av.error.FFmpegError as error:
        if isinstance(error, OSError):  # of the disk
            raise
        reason = " ".join(str(error.strerror or error).split())
        raise InputError(f"cannot encode {printable(path)} ({reason}): choose another format or size") from error


def _find_encoder(path: Path, form: _Format, clear: bool) -> _Encoder:
    """InputError: there is none."""
    if clear and not form.clear:
        raise InputError(f"{printable(path)} cannot be transparent: end its name in {', '.join(CLEAR_SUFFIXES)}")
    for encoder in form.clear if clear else form.encoders:
        if encoder.codec in av.codecs_available:
            return encoder
    raise InputError(f"cannot write {printable(path)}: this FFmpeg has no encoder for it: choose another ending")


def _encode(file: Path, form: _Format, frames: Iterable[np.ndarray], fps: float, path: Path, sound: Any) -> int:
    gif = form.container == "gif"
    encoder = _find_encoder(path, form, clear=False)
    tick = Fraction(1, 100) if gif else 1 / Fraction(fps).limit_denominator(1001)
    step = 100 / min(fps, _GIF_FPS) if gif else 1
    options = {"fflags": "+bitexact"} | ({"movflags": "+faststart"} if form.container == "mp4" else {})
    options |= {"plays": "0"} if form.container == "apng" else {}
    convert: Callable[[av.VideoFrame | None], Iterable[av.VideoFrame]] = _Converter(encoder.pixels)
    stream, shape, count = None, None, 0
    packets: Iterator[tuple[float, Any]] = iter(())
    waiting: tuple[float, Any] | None = None
    with av.open(f"file:{file}", "w", format=form.container, options=options) as container:
        for count, pixels in enumerate(frames, start=1):
            shape = shape or pixels.shape
            if pixels.dtype != np.uint8 or pixels.shape != shape or shape[2:] not in ((3,), (4,)):
                raise ValueError(f"want uint8 arrays {shape}, got {pixels.dtype} {pixels.shape}")
            if form.container == "mp4":
                pixels = np.pad(pixels, ((0, shape[0] % 2), (0, shape[1] % 2), (0, 0)), mode="edge")
            if stream is None:
                encoder = _find_encoder(path, form, clear=shape[2] == 4)
                stream = _add_stream(container, encoder, pixels.shape, tick)
                convert = _Palette(pixels.shape, tick) if gif else _Converter(encoder.pixels)
                packets = packets if sound is None else sound.add_to(container, path.suffix.lower())
                waiting = next(packets, None)
            while waiting is not None and waiting[0] <= (count - 1) / fps:  # sound and picture take turns in the file
                container.mux(waiting[1])
                waiting = next(packets, None)
            frame = av.VideoFrame.from_ndarray(
                np.ascontiguousarray(pixels), format="rgba" if shape[2] == 4 else "rgb24"
            )
            frame.pts, frame.time_base = round((count - 1) * step), tick
            for ready in convert(frame):
                container.mux(stream.encode(ready))
        if stream is not None:
            for ready in convert(None):
                container.mux(stream.encode(ready))
            container.mux(stream.encode(None))
            while waiting is not None and waiting[0] < count / fps:  # it ends with the picture
                container.mux(waiting[1])
                waiting = next(packets, None)
    return count


def _add_stream(container: Any, encoder: _Encoder, shape: tuple[int, ...], tick: Fraction) -> Any:
    stream = container.add_stream(encoder.codec, rate=1 / tick, options=encoder.options)
    stream.height, stream.width = shape[:2]
    stream.pix_fmt = encoder.pixels
    context = stream.codec_context
    context.time_base = tick
    if encoder.pixels.startswith("yuv"):
        context.colorspace = context.color_primaries = context.color_trc = 1  # BT.709
        context.color_range = 1  # 16..235
    return stream


class _Converter:
    """RGB frames => frames of the pixels that an encoder wants."""

    def __init__(self, pixels: str):
        self.pixels = pixels

    def __call__(self, frame: av.VideoFrame | None) -> list[av.VideoFrame]:
        """The frames that are ready after this one; None ends the movie."""
        if frame is None:
            return []
        if not self.pixels.startswith("yuv"):
            return [frame.reformat(format=self.pixels)]
        return [frame.reformat(format=self.pixels, dst_colorspace=Colorspace.ITU709, dst_color_range=ColorRange.MPEG)]


class _Palette:
    """RGB frames => frames of 256 colors, each with a palette of its own and a pattern that stands still in time."""

    def __init__(self, shape: tuple[int, ...], tick: Fraction):
        graph: Any = av.filter.Graph()
        self._graph = graph
        source = graph.add_buffer(width=shape[1], height=shape[0], format=av.VideoFormat("rgb24"), time_base=tick)
        split = graph.add("split")
        make = graph.add("palettegen", "stats_mode=single")
        use = graph.add("paletteuse", "new=1:dither=bayer:bayer_scale=4")
        source.link_to(split)
        split.link_to(make, 0, 0)
        split.link_to(use, 1, 0)
        make.link_to(use, 0, 1)
        use.link_to(graph.add("buffersink"))
        graph.configure()

    def __call__(self, frame: av.VideoFrame | None) -> Iterator[av.VideoFrame]:
        """The frames that are ready after this one; None ends the movie."""
        self._graph.push(frame)
        while True:
            try:
                yield self._graph.pull()
            except (av.error.BlockingIOError, av.error.EOFError):
                return
