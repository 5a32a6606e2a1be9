"""Memory that nobody uses any more, given back to the system."""

import gc

import psutil


def trim_heap() -> None:
    """Give back what loading or measuring a model left free in the heap of the C library.

    It keeps freed pages for itself, more than a hundred megabytes after five small models. It takes tens of
    milliseconds, so it is for after such work, never between batches. Where the C library cannot, nothing happens.
    """
    gc.collect()
    # psutil has it for glibc, macOS, BSD and Windows; not for musl.
    if hasattr(psutil, "heap_trim"):
        psutil.heap_trim()
