"""Read frames from image folders, movies and single images; write PNG files and movies.

letters: H W pixels. Every frame is a uint8 array in [0, 255], RGB (H W 3) or RGBA (H W 4).
Whatever is wrong with a file of the user is an `InputError` of one line: what, which file, what to do.
"""

from __future__ import annotations

import errno
import io
import os
import re
import secrets
import stat
import warnings
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import closing, contextmanager
from fractions import Fraction
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import av
import numpy as np
from av.video.reformatter import ColorRange, Colorspace
from PIL import ExifTags, Image, ImageOps

from lvcd.errors import InputError

IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".tif", ".tiff")
FOLDER_FPS = 24.0  # of a folder of images, which has no rate of its own
RECENT_FRAMES = 32  # decoded movie frames kept for steps back: more than the overlap of two windows
_IMAGE_FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "DIB", "TIFF", "GIF")  # by content; the ending only says "an image"
_MOVIE_FORMATS = "mov,matroska,webm,gif,avi,mpegts,mpeg,ogg"  # demuxers that never open a second file
_NO_SPACE = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_NOT_ALLOWED = (errno.EACCES, errno.EPERM, errno.EROFS)

Image.init()  # Pillow knows WebP and TIFF only after this when it is given a list of formats


# --- one line for the user ----------------------------------------------------------------------------------------


def named(path: str | os.PathLike) -> str:
    """The path as a message shows it: on one line, whatever its name holds."""
    text = os.fspath(path)
    return text if text.isprintable() else repr(text)


def _reason(error: BaseException) -> str:
    text = getattr(error, "strerror", None) or str(error) or type(error).__name__
    return " ".join(str(text).split())


@contextmanager
def _reading(what: str, path: Path, advice: str) -> Iterator[None]:
    """Anything a decoder raises => InputError naming the file."""
    try:
        yield
    except (InputError, MemoryError):
        raise
    except PermissionError as error:
        raise InputError(f"cannot read {named(path)} ({_reason(error)}): check its permissions") from error
    except Exception as error:  # decoders raise nearly everything: SyntaxError, struct.error, ...
        reason = "no known format" if isinstance(error, Image.UnidentifiedImageError) else _reason(error)
        raise InputError(f"cannot read {what} {named(path)} ({reason}): {advice}") from error


@contextmanager
def writing(path: Path, advice: str = "run again") -> Iterator[None]:
    """An error of the disk while writing `path` => InputError that ends in `advice`."""
    try:
        yield
    except OSError as error:
        where = f"cannot write {named(path)} ({_reason(error)})"
        if error.errno in _NO_SPACE:
            raise InputError(f"{where}: free some space and {advice}") from error
        if error.errno in _NOT_ALLOWED:
            raise InputError(f"{where}: make it writable or choose another output, and {advice}") from error
        raise InputError(f"{where}: check the path and the disk, and {advice}") from error
    except av.error.FFmpegError as error:
        raise InputError(f"cannot encode {named(path)} ({_reason(error)}): choose another format or size") from error


# --- images -------------------------------------------------------------------------------------------------------


def read_image(path: str | os.PathLike) -> np.ndarray:
    """One image, upright (EXIF orientation applied): uint8 (H W 3), or (H W 4) if the file has transparency.

    16 bits a channel come down to 8: grey is rounded, color keeps its high byte. Of an animation, the first frame.
    InputError: missing, empty, truncated, or not an image.
    """
    path = Path(path)
    _require_file(path)
    with _image(path) as image:
        return _to_uint8(ImageOps.exif_transpose(image))


@contextmanager
def _image(path: Path) -> Iterator[Image.Image]:
    """The file opened, nothing decoded yet; what goes wrong inside is an InputError, and only that is told."""
    with _reading("image", path, "replace or remove the file"), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with Image.open(path, formats=_IMAGE_FORMATS) as image:
            yield image


def _to_uint8(image: Image.Image) -> np.ndarray:
    if image.mode == "F":
        raise ValueError("floating-point pixels instead of 8 or 16 bits")
    if image.mode.startswith("I"):  # grey of 16 bits: 65535 is white
        grey = (np.clip(np.asarray(image).astype(np.int64), 0, 65535) + 128) // 257
        return np.repeat(grey[..., None].astype(np.uint8), 3, axis=2)
    transparent = image.getbands()[-1] in "Aa" or "transparency" in image.info
    if image.mode == "La":
        image = image.convert("LA")
    return np.array(image.convert("RGBA" if transparent else "RGB"))


def _require_file(path: Path) -> None:
    try:
        status = path.stat()
    except (FileNotFoundError, NotADirectoryError) as error:
        raise InputError(f"{named(path)} does not exist: check the path") from error
    except (OSError, ValueError) as error:
        raise InputError(f"cannot read {named(path)} ({_reason(error)}): check the path") from error
    if not stat.S_ISREG(status.st_mode):
        raise InputError(f"{named(path)} is not a file: give a file")
    if not status.st_size:
        raise InputError(f"{named(path)} is empty (0 bytes): replace the file")


def image_size(path: Path) -> tuple[int, int]:
    """(height, width), upright, from the header alone; a file that does not end as its format does is decoded."""
    _require_file(path)
    with _image(path) as image:
        width, height = image.size
        # the method of the base class: PNG's own decodes the whole image first
        turned = Image.Image.getexif(image).get(ExifTags.Base.Orientation, 1) in (5, 6, 7, 8)
        kind, mode = image.format, image.mode
    if mode == "F" or not _ends_well(path, kind):
        read_image(path)
    return (width, height) if turned else (height, width)


def _ends_well(path: Path, kind: str | None) -> bool:
    with _reading("image", path, "replace or remove the file"), path.open("rb") as file:
        head = file.read(8)
        length = file.seek(0, os.SEEK_END)
        file.seek(max(0, length - 8))
        tail = file.read()
    if kind == "PNG":
        return tail.startswith(b"IEND")
    if kind in ("JPEG", "MPO"):
        return tail.endswith(b"\xff\xd9")
    if kind == "WEBP":
        return int.from_bytes(head[4:8], "little") + 8 <= length
    return False


# --- readers ------------------------------------------------------------------------------------------------------


class FrameReader:
    """Frames by index, decoded when asked for; memory does not depend on how many there are.

    `reader[i]` is a new uint8 array (H W 3) RGB or (H W 4) RGBA. Close it, or use it in a `with`.
    """

    def __init__(self, path: Path, count: int, size: tuple[int, int], fps: float):
        self.path = path
        self.size = size
        """(height, width) of every frame."""
        self.fps = fps
        """Frames per second; of a movie of variable rate, the mean."""
        self._count = count

    def __len__(self) -> int:
        return self._count

    def __getitem__(self, index: int) -> np.ndarray:
        """InputError: the frame cannot be decoded any more, or its size is not the one found at opening."""
        if not -self._count <= index < self._count:
            raise IndexError(f"frame {index} of {self._count}")
        index %= self._count
        frame = self._read(index)
        if frame.shape[:2] != self.size:
            raise InputError(
                f"{self.name(index)} is {_size(frame.shape)} but {_size(self.size)} was found at first: "
                f"do not change {named(self.path)} while it is read"
            )
        return frame

    def __iter__(self) -> Iterator[np.ndarray]:
        return (self[index] for index in range(len(self)))

    def __enter__(self) -> FrameReader:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def name(self, index: int) -> str:
        """How a message calls this frame."""
        raise NotImplementedError

    def close(self) -> None:
        """Give back the open file, if any."""

    def _read(self, index: int) -> np.ndarray:
        raise NotImplementedError


class _Images(FrameReader):
    """A list of image files, each read when asked for."""

    def __init__(self, path: Path, files: list[Path], size: tuple[int, int]):
        super().__init__(path, len(files), size, FOLDER_FPS)
        self._files = files

    def name(self, index: int) -> str:
        return named(self._files[index].name)

    def _read(self, index: int) -> np.ndarray:
        return read_image(self._files[index])


class _Stream(FrameReader):
    """Frames that can only be decoded in order: the last few are kept, going back further starts over."""

    def __init__(
        self,
        path: Path,
        count: int,
        size: tuple[int, int],
        fps: float,
        start: Callable[[], Generator[Any]],
        pixels: Callable[[Any], np.ndarray],
    ):
        super().__init__(path, count, size, fps)
        self._start, self._pixels = start, pixels
        self._recent: deque[Any] = deque(maxlen=RECENT_FRAMES)  # frames _next - len(_recent) .. _next - 1
        self._frames: Generator[Any] | None = None
        self._next = 0

    def name(self, index: int) -> str:
        return f"frame {index % len(self)} of {named(self.path.name)}"

    def close(self) -> None:
        if self._frames is not None:
            self._frames.close()  # this closes the file in it
        self._frames, self._next = None, 0
        self._recent.clear()

    def _read(self, index: int) -> np.ndarray:
        if index < self._next - len(self._recent):
            self.close()
        if self._frames is None:
            self._frames = self._start()
        while self._next <= index:
            frame = next(self._frames, None)
            if frame is None:
                raise InputError(f"{self.name(self._next)} is gone: do not change the file while it is read")
            self._recent.append(frame)
            self._next += 1
        with _reading("movie", self.path, "convert it to .mp4 and try again"):
            return self._pixels(self._recent[index - self._next])


def open_frames(path: str | os.PathLike) -> FrameReader:
    """A folder of images in natural order (frame2 before frame10), a movie, an animated GIF or WebP, or one image.

    Of a folder only the headers are read now; a movie is decoded once, to count its frames exactly (containers lie)
    and to find damage before the work begins. In a movie every coded frame is one frame, whatever its duration;
    rotation is applied, pixel aspect is not. Transparency (GIF, WebP, VP8 and VP9 in WebM) is kept: all frames are RGBA
    if one of them has any, else RGB.
    InputError: nothing there, no images, an unreadable or odd-sized one, no video in it, damaged or cut short.
    """
    path = Path(path)
    if os.path.isdir(path):
        return _open_folder(path)
    _require_file(path)
    if path.suffix.lower() not in IMAGE_SUFFIXES:
        return _open_movie(path)
    size = image_size(path)
    return _open_animation(path, size) if _is_animation(path) else _Images(path, [path], size)


def _open_folder(folder: Path) -> FrameReader:
    with _reading("folder", folder, "check the path"):
        files = sorted((file for file in folder.iterdir() if _is_frame(file)), key=_natural)
    if not files:
        raise InputError(f"{named(folder)} has no images: put frames ({', '.join(IMAGE_SUFFIXES)}) in it")
    size = image_size(files[0])
    for file in files[1:]:
        if (other := image_size(file)) != size:
            raise InputError(
                f"{named(file)} is {_size(other)} but {named(files[0].name)} is {_size(size)}: "
                "make all frames the same size"
            )
    return _Images(folder, files, size)


def _is_frame(file: Path) -> bool:
    return file.suffix.lower() in IMAGE_SUFFIXES and not file.name.startswith(".") and not file.is_dir()


def _natural(file: Path) -> tuple:
    parts = re.split(r"([0-9]+)", file.stem.casefold())
    return [int(part) if odd % 2 else part for odd, part in enumerate(parts)], file.name


def _size(shape: tuple[int, ...]) -> str:
    return f"{shape[1]} x {shape[0]} pixels"


def _is_animation(path: Path) -> bool:
    with _image(path) as image:
        return image.format == "WEBP" and getattr(image, "n_frames", 1) > 1


def _open_animation(path: Path, size: tuple[int, int]) -> FrameReader:
    count, milliseconds = 0, 0.0
    with closing(_decode_animation(path)) as frames:
        for frame in frames:
            count += 1
            milliseconds += frame.info.get("duration", 0)
    fps = 1000 * count / milliseconds if milliseconds else FOLDER_FPS
    return _Stream(path, count, size, fps, lambda: _decode_animation(path), _to_uint8)


def _decode_animation(path: Path) -> Generator[Image.Image]:
    advice = "replace the file"
    with _reading("animation", path, advice), Image.open(path, formats=_IMAGE_FORMATS) as image:
        for index in range(getattr(image, "n_frames", 1)):
            with _reading(f"frame {index} of", path, advice):
                image.seek(index)
                frame = image.copy()
            yield frame


# --- movies in ----------------------------------------------------------------------------------------------------


def _open_movie(path: Path) -> FrameReader:
    count, alpha, first, last = 0, False, None, None
    with closing(_decode_movie(path)) as frames:
        for frame in frames:
            first, last = first or frame, frame
            if (frame.width, frame.height) != (first.width, first.height):
                raise InputError(
                    f"frame {count} of {named(path)} is {_size((frame.height, frame.width))} but frame 0 "
                    f"is {_size((first.height, first.width))}: make all frames the same size"
                )
            alpha = alpha or _is_transparent(frame)
            count += 1
    if first is None or last is None:
        raise InputError(f"{named(path)} is a movie without frames: give another one")

    def pixels(frame: av.VideoFrame) -> np.ndarray:
        upright = np.rot90(frame.to_ndarray(format="rgba" if alpha else "rgb24"), round(frame.rotation / 90))
        return np.ascontiguousarray(upright)

    height, width = pixels(first).shape[:2]
    fps = _movie_fps(path, count, first, last)
    return _Stream(path, count, (height, width), fps, lambda: _decode_movie(path), pixels)


def _is_transparent(frame: av.VideoFrame) -> bool:
    if not any(component.is_alpha for component in frame.format.components):
        return False
    return bool((frame.to_ndarray(format="rgba")[..., 3] < 255).any())


def _movie_fps(path: Path, count: int, first: av.VideoFrame, last: av.VideoFrame) -> float:
    """The rate the container states where the time stamps bear it out (GIF states none), else theirs."""
    with _open_container(path) as container:
        gif = container.format.name == "gif"
        stated = 0.0 if gif else float(container.streams.best("video").average_rate or 0)
    span = (last.time or 0.0) - (first.time or 0.0)
    measured = (count - 1) / span if span > 0 else 0.0
    agree = not measured or abs(stated - measured) <= 0.02 * measured
    return (stated if stated and agree else measured) or FOLDER_FPS


def _open_container(path: Path) -> Any:
    # file: so that a colon in a name is no protocol; the lists, so that a disguised playlist opens nothing else
    return av.open(f"file:{path}", options={"protocol_whitelist": "file", "format_whitelist": _MOVIE_FORMATS})


def _decode_movie(path: Path) -> Generator[av.VideoFrame]:
    """Every coded frame in the order of showing; InputError names the frame at which the file breaks."""
    with _reading("movie", path, "give a movie (.mp4, .mkv, .webm, .mov, .gif), an image or a folder of images"):
        _check_length(path)
        container = _open_container(path)
    index = 0
    with container:
        stream = container.streams.best("video")
        if stream is None or stream.codec_context is None:
            raise InputError(f"{named(path)} has no video that can be decoded: convert it or give another movie")
        decoder = _decoder(stream)
        packets = container.demux(stream)
        while True:
            with _reading(f"movie, broken at frame {index},", path, "convert or copy it again"):
                packet = next(packets, None)
                if packet is not None and packet.is_corrupt:
                    raise InputError(f"{named(path)} is cut short at frame {index}: copy it again")
                if packet is not None and not packet.size:
                    continue
                frames = decoder.decode(packet)
            for frame in frames:
                if frame.is_corrupt:
                    raise InputError(f"frame {index} of {named(path)} is damaged: convert or copy the movie again")
                frame.time_base = stream.time_base
                yield frame
                index += 1
            if packet is None:
                return


def _decoder(stream: Any) -> Any:
    """The stream's own decoder; for VP8 and VP9 with transparency libvpx, since FFmpeg's own drops the alpha plane."""
    tags = {key.lower(): value for key, value in stream.metadata.items()}
    libvpx = {"vp8": "libvpx", "vp9": "libvpx-vp9"}.get(stream.codec_context.name)
    if tags.get("alpha_mode") == "1" and libvpx in av.codecs_available:
        return av.CodecContext.create(libvpx, "r")
    stream.thread_type = "AUTO"
    return stream.codec_context


def _check_length(path: Path) -> None:
    """InputError if a GIF or Matroska file stops before its end: FFmpeg reads those without a word."""
    with path.open("rb") as file:
        head = file.read(4)
        length = file.seek(0, os.SEEK_END)
        if head == b"GIF8":
            file.seek(max(0, length - 64))
            whole = file.read().rstrip(b"\0\r\n ").endswith(b";")
        else:
            file.seek(4)
            whole = head != b"\x1a\x45\xdf\xa3" or _matroska_end(file) <= length
    if not whole:
        raise InputError(f"{named(path)} is cut short: copy it again")


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


@contextmanager
def atomic(path: Path, advice: str = "run again") -> Iterator[Path]:
    """A hidden name beside `path` to write to; it becomes `path` at the end, or is removed if anything fails."""
    temp = path.with_name(f".{path.name}.{secrets.token_hex(4)}.tmp")
    try:
        with writing(path, advice):
            yield temp
            os.replace(temp, path)
    except BaseException:
        temp.unlink(missing_ok=True)
        raise


def write_png(path: str | os.PathLike, image: np.ndarray, advice: str = "run again") -> None:
    """uint8 (H W 3) RGB or (H W 4) RGBA => a PNG file, whole or not at all. InputError: it cannot be written."""
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] not in (3, 4):
        raise ValueError(f"want a uint8 array (H W 3) or (H W 4), got {image.dtype} {image.shape}")
    data = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(image)).save(data, format="PNG")
    with atomic(Path(path), advice) as temp:
        temp.write_bytes(data.getvalue())


class _Encoder(NamedTuple):
    codec: str
    options: dict[str, str]


class _Format(NamedTuple):
    container: str
    encoders: tuple[_Encoder, ...]
    """The first one that this build of FFmpeg has is used."""


_X264 = _Encoder("libx264", {"crf": "15", "preset": "medium", "mbtree": "0"})  # mbtree: not the same bytes every time
_MPEG4 = _Encoder("mpeg4", {"qmin": "1", "qmax": "3", "b": "40000000"})
_VP9 = _Encoder("libvpx-vp9", {"crf": "16", "b": "0", "deadline": "good", "cpu-used": "4", "row-mt": "1"})
_VP8 = _Encoder("libvpx", {"crf": "6", "b": "20000000", "deadline": "good", "cpu-used": "4"})
_FORMATS = {
    ".mp4": _Format("mp4", (_X264, _MPEG4)),
    ".webm": _Format("webm", (_VP9, _VP8)),
    ".gif": _Format("gif", (_Encoder("gif", {}),)),
}
MOVIE_SUFFIXES = tuple(_FORMATS)
_GIF_FPS = 50  # the shortest duration that players of GIF respect is 2/100 s


def write_movie(path: str | os.PathLike, frames: Iterable[np.ndarray], fps: float, advice: str = "run again") -> int:
    """uint8 (H W 3) frames => .mp4 (H.264), .webm (VP9) or .gif, one coded frame for each; returns how many.

    Streams: one frame is held at a time. The file appears at `path` when it is complete, or not at all. The colors of
    mp4 and webm are 4:2:0 in BT.709 and say so; an mp4 of odd width or height gets one more column or row, a copy
    of the edge. A gif has a palette for every frame and at most 50 frames per second.
    InputError: unknown ending, no frames, a rate that is no rate, no encoder, or the disk.
    """
    path = Path(path)
    form = _FORMATS.get(path.suffix.lower())
    if form is None:
        raise InputError(f"cannot write {named(path)}: end its name in {', '.join(MOVIE_SUFFIXES)}")
    if not 0 < fps <= 1000:
        raise InputError(f"cannot write {named(path)} at {fps} frames per second: choose more than 0 and at most 1000")
    encoder = next((encoder for encoder in form.encoders if encoder.codec in av.codecs_available), None)
    if encoder is None:
        raise InputError(f"cannot write {named(path)}: this FFmpeg has no encoder for it: choose another ending")
    with atomic(path, advice) as temp:
        count = _encode(temp, form, encoder, frames, fps)
        if not count:
            raise InputError(f"no frames to write to {named(path)}: give at least one")
    return count


def _encode(file: Path, form: _Format, encoder: _Encoder, frames: Iterable[np.ndarray], fps: float) -> int:
    gif = form.container == "gif"
    tick = Fraction(1, 100) if gif else 1 / Fraction(fps).limit_denominator(1001)
    step = 100 / min(fps, _GIF_FPS) if gif else 1
    options = {"fflags": "+bitexact"} | ({"movflags": "+faststart"} if form.container == "mp4" else {})
    convert: Callable[[av.VideoFrame | None], Iterable[av.VideoFrame]] = _to_yuv
    stream, shape, count = None, None, 0
    with av.open(f"file:{file}", "w", format=form.container, options=options) as container:
        for count, pixels in enumerate(frames, start=1):
            shape = shape or pixels.shape
            if pixels.dtype != np.uint8 or pixels.shape != shape or shape[2:] != (3,):
                raise ValueError(f"want uint8 arrays {shape}, got {pixels.dtype} {pixels.shape}")
            if form.container == "mp4":
                pixels = np.pad(pixels, ((0, shape[0] % 2), (0, shape[1] % 2), (0, 0)), mode="edge")
            if stream is None:
                stream = _add_stream(container, encoder, pixels.shape, tick, gif)
                convert = _Palette(pixels.shape, tick) if gif else convert
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(pixels), format="rgb24")
            frame.pts, frame.time_base = round((count - 1) * step), tick
            for ready in convert(frame):
                container.mux(stream.encode(ready))
        if stream is not None:
            for ready in convert(None):
                container.mux(stream.encode(ready))
            container.mux(stream.encode(None))
    return count


def _add_stream(container: Any, encoder: _Encoder, shape: tuple[int, ...], tick: Fraction, gif: bool) -> Any:
    stream = container.add_stream(encoder.codec, rate=1 / tick, options=encoder.options)
    stream.height, stream.width = shape[:2]
    stream.pix_fmt = "pal8" if gif else "yuv420p"
    context = stream.codec_context
    context.time_base = tick
    if not gif:
        context.colorspace = context.color_primaries = context.color_trc = 1  # BT.709
        context.color_range = 1  # 16..235
    return stream


def _to_yuv(frame: av.VideoFrame | None) -> list[av.VideoFrame]:
    if frame is None:
        return []
    return [frame.reformat(format="yuv420p", dst_colorspace=Colorspace.ITU709, dst_color_range=ColorRange.MPEG)]


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
