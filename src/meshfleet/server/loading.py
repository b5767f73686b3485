"""Libraries are loaded without the garbage collector looking on: what they define stays as long as the process."""

from __future__ import annotations

import gc
from collections.abc import Generator
from contextlib import contextmanager


@contextmanager
def loading() -> Generator[None]:
    """Have the collector pass over what is loaded meanwhile, now and for ever.

    A library makes a hundred thousand objects, none of them garbage. The collector would look at them again and again
    while they come to be, and once more for each that goes when the process ends: a quarter of what the SDK takes.
    """
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        gc.enable()
