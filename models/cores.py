"""How many processors this process may use."""

from __future__ import annotations

import os


def cores() -> int:
    """That this process may use, which a cluster's job may have fewer of than its machine."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
