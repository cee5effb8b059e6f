"""Clips for tests: frames of a pan, and films made of frames."""

from __future__ import annotations

import struct
from pathlib import Path

import cv2
import numpy as np

from lbfgs_style import images


def texture(side: int, seed: int) -> np.ndarray:
    """Return a picture of blobs and lines, float32 in [0,1], which flow can follow."""
    rng = np.random.default_rng(seed)
    layers = [
        cv2.resize(rng.random((side // step, side // step, 3)).astype(np.float32), (side, side))
        for step in (4, 16, 48)
    ]
    return np.clip(0.3 * layers[0] + 0.3 * layers[1] + 0.4 * layers[2], 0, 1).astype(np.float32)


def pan(count: int, size: tuple[int, int] = (96, 128), step: float = 3.0, seed: int = 0) -> list[np.ndarray]:
    """Return frames of a view that moves to the right by `step` pixels a frame."""
    height, width = size
    ground = texture(2 * max(size) + int(step * count), seed)
    return [
        cv2.getRectSubPix(ground, (width, height), (width / 2 + step * i + 8, height / 2 + 8))
        for i in range(count)
    ]


def as_bytes(frames: list[np.ndarray]) -> list[np.ndarray]:
    return [np.rint(255 * each).astype(np.uint8) for each in frames]


def save_film(path: Path, frames: list[np.ndarray], rate: float = 25.0) -> Path:
    """Write frames of uint8 RGB as MPEG-4."""
    height, width = frames[0].shape[:2]
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"mp4v"), rate, (width, height))
    for frame in frames:
        writer.write(np.ascontiguousarray(frame[..., ::-1]))
    writer.release()
    return path


def turn(path: Path) -> None:
    """Say in an MP4 file that players turn it by 90°, as phones do (ISO 14496-12, the matrix of tkhd)."""
    data = path.read_bytes()
    begin = data.index(b"tkhd") + 44  # after version, times, track, duration, layer and volume
    matrix = struct.pack(">9i", 0, 1 << 16, 0, -(1 << 16), 0, 0, 0, 0, 1 << 30)
    path.write_bytes(data[:begin] + matrix + data[begin + len(matrix) :])


def save_images(folder: Path, frames: list[np.ndarray]) -> Path:
    folder.mkdir()
    for number, frame in enumerate(frames, 1):
        images.write(folder / f"view-{number}.png", images.from_array(frame))
    return folder


def read_film(path: Path) -> list[np.ndarray]:
    """Return the frames of a film as uint8 RGB."""
    capture, frames = cv2.VideoCapture(str(path)), []
    while (read := capture.read())[0]:
        frames.append(read[1][..., ::-1])
    return frames
