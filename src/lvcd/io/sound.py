"""The sound of a movie, carried over to another one: as it is, or encoded anew where the container wants it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from fractions import Fraction
from pathlib import Path
from typing import Any

import av

from .movies import SOUND_CODECS, open_container, video_stream


class Sound:
    """The sound of a movie file, which has some; `Sound.of` finds out."""

    def __init__(self, path: Path):
        self.path = path

    @staticmethod
    def of(path: Path) -> Sound | None:
        """Return the sound of a movie; None if the file is none, or silent."""
        if path.is_dir():
            return None
        try:
            with open_container(path) as container:
                return Sound(path) if container.streams.audio else None
        except (av.error.FFmpegError, OSError):  # an image
            return None

    def add_to(self, container: Any, suffix: str) -> Iterator[tuple[float, Any]]:
        """Add a stream of sound to an open movie => its packets, with the time (s) at which each begins.

        The movie's picture begins at 0, as that of the source does there.
        """
        codecs = SOUND_CODECS[suffix]
        opened = ExitStack()
        source = opened.enter_context(open_container(self.path))
        stream, picture = source.streams.best("audio"), video_stream(source, self.path)
        start = (picture.start_time or 0) * picture.time_base
        if stream.codec_context.name in codecs or "*" in codecs:
            packets = _copied(source, stream, container.add_stream_from_template(stream), start)
        else:
            out = container.add_stream(codecs[0], rate=48000 if codecs[0] == "libopus" else stream.rate)
            out.codec_context.layout = "stereo" if stream.codec_context.channels > 1 else "mono"
            packets = _encoded(source, stream, out, start)

        def until_end() -> Iterator[tuple[float, Any]]:
            with opened:
                yield from packets

        return until_end()


def _copied(source: Any, stream: Any, out: Any, start: Fraction) -> Iterator[tuple[float, Any]]:
    for packet in source.demux(stream):
        if packet.dts is None:
            continue
        shift = int(start / packet.time_base)
        packet.pts, packet.dts = packet.pts - shift, packet.dts - shift
        if packet.pts < 0:
            continue
        packet.stream = out
        yield float(packet.pts * packet.time_base), packet


def _encoded(source: Any, stream: Any, out: Any, start: Fraction) -> Iterator[tuple[float, Any]]:
    context = out.codec_context
    resampler = av.AudioResampler(format=context.format, layout=context.layout, rate=context.rate)
    at = None
    for frame in (*source.decode(stream), None):
        for ready in resampler.resample(frame):
            if at is None:
                begin = start if ready.pts is None else ready.pts * (ready.time_base or Fraction(1))
                at = max(0, round((begin - start) * context.rate))
            ready.pts, ready.time_base = at, Fraction(1, context.rate)
            at += ready.samples
            for packet in out.encode(ready):
                yield float((packet.pts or 0) * packet.time_base), packet
    for packet in out.encode(None):
        yield float((packet.pts or 0) * packet.time_base), packet
