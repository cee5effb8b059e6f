"""Save a run on the way and resume it.

checkpoint, snapshot
"""
