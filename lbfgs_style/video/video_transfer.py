"""The public entry point for videos: `VideoTransfer`.

Ruder, Dosovitskiy and Brox, "Artistic Style Transfer for Videos" (GCPR 2016; extended in IJCV 2018): each
frame starts from the one before, moved along the optical flow, and a term of the loss holds it there where
the flow is reliable. Differs from the papers: one scale and a few iterations for each frame, because it
starts near its end; Lanczos' kernel in place of the bilinear one, which blurs; DIS flow; a frame that hardly
continues the one before begins a new shot by itself; and a shot keeps its sharpness and contrast.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from ..errors import ImageError, OptionError
from ..images import ImageLike
from ..networks.network import FeatureNetwork
from ..pipeline.inputs import FaceMask, Keep, OneStyle, check_content
from ..pipeline.results import IterateCallback
from ..pipeline.style_transfer import DEFAULT_NETWORK, StyleTransfer
from ..settings.options import Options
from ..settings.video_options import VideoOptions
from ..system.threads import Cancellation
from .clip_painter import ClipPainter
from .frames import Frame
from .passes import later_passes


class VideoTransfer:
    """Style transfer of videos; it keeps its network and sessions for the next clip.

    Parameters
    ----------
    network : str, Path or FeatureNetwork
        As for `lbfgs_style.StyleTransfer`.
    options : Options
        The settings of each frame.
    video : VideoOptions
        How frames are held together.

    Attributes
    ----------
    job : StyleTransfer
        Paints the frames.
    video : VideoOptions
        As given.

    Raises
    ------
    NetworkError
        The network is unknown, missing or unfit.
    """

    def __init__(
        self,
        network: str | Path | FeatureNetwork = DEFAULT_NETWORK,
        *,
        options: Options | None = None,
        video: VideoOptions | None = None,
    ) -> None:
        if not isinstance(video, VideoOptions | None):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise OptionError(f"video must be lbfgs_style.VideoOptions(…), got {type(video).__name__}.")
        self.job = StyleTransfer(network, options=options)
        self.video = video or VideoOptions()

    def run(
        self,
        frames: Iterable[ImageLike],
        styles: OneStyle | Sequence[OneStyle],
        *,
        keep: Keep | None = None,
        content_map: ImageLike | None = None,
        face_mask: FaceMask | None = None,
        on_iterate: IterateCallback | None = None,
        cancel: threading.Event | None = None,
    ) -> Iterator[Frame]:
        """Yield the painted frames of a clip: as they are ready, or after the last of several passes.

        Parameters
        ----------
        frames : iterable of (array, Picture or path)
            The frames in their order, all of one size. The next one is read, in a thread, while one is
            painted.
        styles
            As for `lbfgs_style.StyleTransfer.run`.
        keep, content_map, face_mask
            As there; one for all frames. Faces are found in the first frame of each shot.
        on_iterate : callable, optional
            Gets an `Iterate` after each iteration of each frame; ends the clip by returning `STOP`.
        cancel : threading.Event, optional
            Ends the clip within a moment once it is set; the frame in work is dropped.

        Raises
        ------
        ImageError
            A frame is not valid, or has another size than the one before.
        StyleError
            As `lbfgs_style.StyleTransfer.run`.
        """
        if isinstance(frames, str | Path) or not isinstance(frames, Iterable):  # pyright: ignore
            raise ImageError(
                f"frames must be the images of a clip one by one, got {frames!r}: read a film "
                "with cv2.VideoCapture."
            )
        clip = self.clip(
            styles,
            keep=keep,
            content_map=content_map,
            face_mask=face_mask,
            on_iterate=on_iterate,
            cancel=cancel,
        )
        if self.video.passes == 1 and not self.video.loop:
            return clip.paint(frames)
        return self._run_passes(clip, frames)

    def clip(
        self,
        styles: OneStyle | Sequence[OneStyle],
        *,
        keep: Keep | None = None,
        content_map: ImageLike | None = None,
        face_mask: FaceMask | None = None,
        on_iterate: IterateCallback | None = None,
        cancel: threading.Event | None = None,
    ) -> ClipPainter:
        """Return what paints the passes of a clip one by one; parameters as in `run`."""
        if isinstance(keep, str) and keep == "alpha":
            raise OptionError(
                "keep 'alpha' (--keep-mask alpha) is for single images: a video has one mask for all frames."
            )
        checked, held = self.job.check_styles(styles), (content_map, face_mask)
        cancellation = Cancellation(cancel)
        return ClipPainter(self.job, self.video, checked, keep, held, on_iterate, cancellation)

    def _run_passes(self, clip: ClipPainter, frames: Iterable[ImageLike]) -> Iterator[Frame]:
        """Yield the frames after all passes; they are held in memory."""
        contents = [check_content(frame, self.job.options) for frame in frames]
        painted = list(clip.paint(contents))
        for each in later_passes(len(painted), self.video):
            results = [frame.picture for frame in painted]
            for frame in clip.repaint(each, contents, results):
                index = each.order[frame.number]
                painted[index] = replace(frame, number=index)
        yield from painted
