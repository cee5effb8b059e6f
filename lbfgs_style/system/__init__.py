"""What the operating system provides: files, locks, memory, threads, the cache folder.

byte_sizes   parse and format numbers of bytes such as ``2GB``
cache        the user's cache folder
files        read whole files, write them atomically
locks        locks between processes and threads
memory       free memory; return unused heap
npz          read untrusted NumPy archives
telemetry    switch off onnxruntime's telemetry
threads      cancel work; limit BLAS to one thread
workers      threads that are used again
"""
