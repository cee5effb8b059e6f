"""Damaged and odd picture files of every kind: ``python -m tests.robustness.corpus`` reads each."""
