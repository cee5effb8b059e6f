"""Compile the native operators when the package is built."""
