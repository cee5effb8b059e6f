"""What the operating system gives: files, locks, memory, threads.

byte_sizes, files, locks, memory, npz, telemetry, threads
"""
