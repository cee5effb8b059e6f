"""The frames of a clip: painted ones, and content frames with the flow to those before them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from numpy.typing import NDArray

from ..errors import ImageError
from ..images import FloatImage, ImageLike, Picture, resize, to_array
from ..pipeline.inputs import check_content
from ..pipeline.plan.scales import result_size
from ..settings.options import Options
from .drift import Anchor, Gain
from .flow import Flow, Motion, exclude_nearer, find_flow, find_motion, with_likeness

# Share of visible pixels below which a frame begins a new shot: between neighbours of four clips it is 0.76
# to 0.99, across cuts between them below 0.03.
CUT = 0.35

# How much frames are enlarged to find the flow to the frame before, and to those farther back.
_ENLARGED = 3.0, 2.0


@dataclass(frozen=True, slots=True, eq=False)
class VideoState:
    """What the next frame depends on.

    Attributes
    ----------
    number : int
        How many frames are painted.
    shot : int
        Number of the current shot, 0-based.
    first : array, float32, H×W×3
        The first content frame of the shot, at the size of the result.
    anchor : Anchor
        Sharpness and contrast of that frame.
    gain : Gain
        By how much optimising the latest frames has changed their sharpness and contrast.
    contents, results : tuple of array, float32, H×W×3
        The latest content frames at the size of the result, and what was painted of them in the colours of
        the network, the latest first.
    """

    number: int
    shot: int
    first: FloatImage
    anchor: Anchor
    gain: Gain
    contents: tuple[FloatImage, ...]
    results: tuple[FloatImage, ...]


@dataclass(frozen=True, slots=True, eq=False)
class Frame:
    """A painted frame.

    Attributes
    ----------
    number : int
        Of the frame, 0-based.
    shot : int
        Number of its shot, 0-based.
    picture : Picture
        The frame before rounding; `image` is the array.
    reliable : float
        Share of its pixels that continue the frame before; 0 for the first frame of a shot.
    evaluations : int
        Evaluations of loss and gradient.
    loss : float
        The loss that was reached; NaN for a frame that a later pass leaves as it is.
    seconds : float
        Wall time of the frame.
    state : VideoState
        What the next frame depends on.
    """

    number: int
    shot: int
    picture: Picture = field(repr=False)
    reliable: float
    evaluations: int
    loss: float
    seconds: float
    state: VideoState = field(repr=False)

    @property
    def image(self) -> NDArray[Any]:
        """The frame as an array of the kind of the content frame."""
        return to_array(self.picture)


@dataclass(frozen=True, slots=True, eq=False)
class ContentFrame:
    """A content frame, and how it continues those before it.

    Attributes
    ----------
    picture : Picture
        The content frame.
    small : array, float32, H×W×3
        The same at the size of the result.
    motions : list of Motion
        Motion to each frame that it is held to, nearest first, without what nearer frames show; empty for
        the first frame of a shot.
    back : list of int
        How many frames back these are.
    reliable : float
        Share of the pixels that continue the frame before.
    """

    picture: Picture
    small: FloatImage
    motions: list[Motion]
    back: list[int]
    reliable: float


class ContentFrames:
    """Reads the content frames of a clip, and finds the flow of each to those before it.

    Parameters
    ----------
    frames : iterable of (array, Picture or path)
        The frames.
    options : Options
        They give the size of the result.
    long_term : sequence of int
        The frames that a frame is held to, in frames back.
    earlier : sequence of array
        Content frames before the first one, the latest first.
    """

    def __init__(
        self,
        frames: Iterable[ImageLike],
        options: Options,
        long_term: tuple[int, ...],
        earlier: tuple[FloatImage, ...],
    ) -> None:
        self._frames, self._options, self._long_term = iter(frames), options, long_term
        self._history, self._count = list(earlier), 0

    def next(self) -> ContentFrame | None:
        """Return the next frame, or None after the last one.

        Raises
        ------
        ImageError
            The frame is not valid, or has another size than those before.
        """
        try:
            frame = next(self._frames)
        except StopIteration:
            return None
        self._count += 1
        picture = check_content(frame, self._options)
        small = resize(picture.rgb, result_size(picture, self._options))
        if self._history and self._history[0].shape != small.shape:
            expected, got = ("×".join(map(str, x.shape[1::-1])) for x in (self._history[0], small))
            raise ImageError(
                f"Frame {self._count} has another size than the one before: expected {expected} at the size "
                f"of the result, got {got}; give clips of one size each."
            )
        earlier = self._history
        back = [each for each in self._long_term if each <= len(earlier)]
        motions = [find_motion(*_flows(small, earlier[each - 1], each)) for each in back]
        visible = float(motions[0].visible.mean()) if back else 0.0
        if visible < CUT:
            self._history, motions, back, visible = [], [], [], 0.0
        self._history = [small, *self._history][: max(self._long_term)]
        if motions:
            pairs = zip(motions, back, strict=True)
            motions = exclude_nearer([with_likeness(each, small, earlier[n - 1]) for each, n in pairs])
        return ContentFrame(picture, small, motions, back, visible)


def _flows(frame: FloatImage, other: FloatImage, frames_back: int) -> tuple[Flow, Flow]:
    """Return the flow to an earlier frame and the flow back, less exact for one that only fills holes."""
    enlargement = _ENLARGED[0 if frames_back == 1 else 1]
    return find_flow(frame, other, enlargement), find_flow(other, frame, enlargement)
