"""Encode films with PyAV, the extra `video`: H.264 or VP9, the sound of another film, and GIF."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import av.filter
import numpy as np
from av.error import FFmpegError
from av.video.reformatter import ColorRange, Colorspace
from numpy.typing import NDArray

log = logging.getLogger(__name__)

# Ticks per second of time stamps, as is usual for films: most frame rates divide it.
_TICKS = 90000

# Ticks per second of a GIF.
_GIF_TICKS = 100

# Smallest frames per second that FFmpeg takes; each frame has a time stamp in any case.
_SLOWEST = Fraction(1, 1001)

# Constant rate factor (CRF) of each codec: lower is better.
_QUALITY = {"libx264": "18", "libvpx-vp9": "28"}

# Code of ITU-R BT.709 for matrix, primaries and transfer, and of the range of 16 to 235.
_BT709, _LIMITED = 1, 1


@dataclass(frozen=True, slots=True)
class Sound:
    """The sound of a film.

    Attributes
    ----------
    path : Path
        The film.
    codecs : tuple of str
        Codecs that the new file holds; empty for any.
    start, end : float
        Seconds at which the copied part begins and ends.
    """

    path: Path
    codecs: tuple[str, ...]
    start: float
    end: float


def encode(
    path: Path,
    frames: Iterator[tuple[float, NDArray[np.uint8]]],
    *,
    codec: str,
    rate: float,
    sound: Sound | None,
) -> None:
    """Write a film of frames H×W×3, RGB, with even sides, each at its time in seconds.

    Raises
    ------
    OSError
        The file cannot be written.
    """
    seconds, pixels = next(frames)
    try:
        with av.open(str(path), "w") as film, ExitStack() as stack:
            stream: Any = film.add_stream(codec, rate=max(_SLOWEST, Fraction(rate).limit_denominator(1001)))
            stream.height, stream.width = pixels.shape[:2]
            stream.pix_fmt, stream.options = "yuv420p", {"crf": _QUALITY[codec]}
            context = stream.codec_context
            context.time_base = Fraction(1, _TICKS)
            context.colorspace = context.color_primaries = context.color_trc = _BT709
            context.color_range = _LIMITED
            packets = _Packets(film, sound, stack)
            while True:
                frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(pixels), "rgb24")
                frame = frame.reformat(
                    format="yuv420p", dst_colorspace=Colorspace.ITU709, dst_color_range=ColorRange.MPEG
                )
                frame.pts, frame.time_base = round(_TICKS * seconds), Fraction(1, _TICKS)
                packets.until(seconds)
                film.mux(stream.encode(frame))
                if (following := next(frames, None)) is None:
                    break
                seconds, pixels = following
            film.mux(stream.encode())
            packets.until(float("inf"))
    except FFmpegError as error:
        raise OSError(error.errno, error.strerror) from error


def encode_animation(path: Path, frames: Iterable[tuple[float, NDArray[np.uint8]]], end: float) -> None:
    """Write an endless GIF of frames H×W×3, RGB, with one palette; the last one ends at second `end`.

    Raises
    ------
    OSError
        The file cannot be written.
    """
    timed = [(round(_GIF_TICKS * seconds), pixels) for seconds, pixels in frames]
    final = max(2, round(_GIF_TICKS * end) - timed[-1][0])
    height, width = timed[0][1].shape[:2]
    tick = Fraction(1, _GIF_TICKS)
    graph: Any = av.filter.Graph()
    source = graph.add_buffer(width=width, height=height, format="rgb24", time_base=tick)
    split, make, use = graph.add("split"), graph.add("palettegen"), graph.add("paletteuse")
    sink = graph.add("buffersink")
    source.link_to(split)
    split.link_to(make, 0, 0)
    split.link_to(use, 1, 0)
    make.link_to(use, 0, 1)
    use.link_to(sink)
    graph.configure()
    try:
        with av.open(str(path), "w", options={"loop": "0", "final_delay": str(final)}) as film:
            stream: Any = film.add_stream("gif", rate=_GIF_TICKS)
            stream.height, stream.width, stream.pix_fmt = height, width, "pal8"
            stream.codec_context.time_base = tick
            for ticks, pixels in timed:
                frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(pixels), "rgb24")
                frame.pts, frame.time_base = ticks, tick
                source.push(frame)
            source.push(None)
            for _ in timed:  # all come out once the palette is known
                film.mux(stream.encode(sink.pull()))
            film.mux(stream.encode())
    except FFmpegError as error:
        raise OSError(error.errno, error.strerror) from error


class _Packets:
    """Copies the sound of a film into another one, up to the time of its latest frame."""

    def __init__(self, film: Any, sound: Sound | None, stack: ExitStack) -> None:
        self._film, self._next = film, None
        self._packets: Iterator[Any] = iter(())
        if sound is None:
            return
        source = stack.enter_context(av.open(str(sound.path.absolute())))
        if not source.streams.audio:
            return
        stream: Any = source.streams.audio[0]
        if sound.codecs and stream.codec_context.name not in sound.codecs:
            log.warning(
                "%s: its sound (%s) cannot be stored in this format, the film is silent: .mkv holds all",
                *(sound.path, stream.codec_context.name),
            )
            return
        copy = film.add_stream_from_template(stream)
        self._packets = self._cut(source.demux(stream), copy, sound)

    def until(self, seconds: float) -> None:
        """Write the packets that begin before a time, in seconds of the new film."""
        while True:
            if self._next is None and (packet := next(self._packets, None)) is not None:
                self._next = packet
            if self._next is None or float(self._next.pts * self._next.time_base) > seconds:
                return
            packet, self._next = self._next, None
            self._film.mux(packet)

    @staticmethod
    def _cut(packets: Iterator[Any], copy: Any, sound: Sound) -> Iterator[Any]:
        """Yield the packets of a part of the sound, moved to its beginning."""
        for packet in packets:
            if packet.pts is None:
                continue
            begin = float(packet.pts * packet.time_base)
            if begin >= sound.end:
                return
            if begin < sound.start:
                continue
            moved = round(sound.start / packet.time_base)
            packet.pts -= moved
            packet.dts = packet.pts
            packet.stream = copy
            yield packet
