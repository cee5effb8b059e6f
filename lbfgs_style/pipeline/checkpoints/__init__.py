"""Save a run from time to time and resume it.

- checkpoint: when a run is saved, locked, resumed and deleted.
- snapshot: the file format: write and read the state of a run.
"""
