"""Calls that do not depend on each other, made several at a time.

A thread of the pool only sends a request: what is logged, counted or hidden from logs is up to the caller, because
the keys of a logger and the secrets of an invocation belong to the thread that handles it.
"""

from concurrent.futures import Executor, ThreadPoolExecutor

CALLS_AT_ONCE = 16
"""The most calls at a time, and the most connections that each client keeps."""


def new_pool() -> Executor:
    """Return a pool of threads. It has none before its first use."""
    return ThreadPoolExecutor(max_workers=CALLS_AT_ONCE)
