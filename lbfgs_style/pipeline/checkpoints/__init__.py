"""Save a run from time to time and resume it.

checkpoint, snapshot
"""
