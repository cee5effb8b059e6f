"""Moving pictures: a clip in, the clip painted, without flicker.

- video_transfer: the public `VideoTransfer`.
- clip_painter, passes: one pass over a clip, and which passes there are.
- frames: painted frames, and content frames with the flow to those before them.
- flow, drift: optical flow and where it is reliable; what must not drift in a shot.
- clips: reading films, animated images and sequences of images.
- films, encoder: writing films with OpenCV, and with PyAV.
- clip_run, working_folder: a clip painted into a folder, which can be resumed.
"""
