"""Work on many pictures at once."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from rich.console import Console
from rich.progress import track

Item = TypeVar("Item")
Result = TypeVar("Result")


def in_threads(work: Callable[[Item], Result], items: Sequence[Item], what: str) -> list[Result]:
    """What the work gives for each item (Pillow computes outside Python's lock); in a terminal a bar with the name `what` shows how far it is."""
    console = Console(stderr=True)
    with ThreadPoolExecutor(max_workers=min(8, os.cpu_count() or 1)) as pool:
        return list(track(pool.map(work, items), what, len(items), console=console, disable=not console.is_terminal))
