"""Say counts and durations in words."""

from __future__ import annotations


def counted(number: int, noun: str, many: str = "") -> str:
    """Return a number and its noun: 1 clip, 2 clips. many: the noun where it takes more than an s."""
    return f"{number} {noun if number == 1 else many or noun + 's'}"


def length(seconds: float) -> str:
    """Say how long sound is, from one hour on in hours, however many: 2.5 s, 12 min, 1234.50 hours."""
    if seconds < 60:
        return f"{seconds:.3g} s"
    return duration(seconds) if seconds < 3600 else f"{seconds / 3600:.2f} hours"


def duration(seconds: float) -> str:
    """Say a duration in words, in two parts at most: 3 d 4 h, 2 h 5 min, 40 s."""
    minutes, hours = round(seconds / 60), round(seconds / 3600)
    if round(seconds) < 60:
        return f"{max(1, round(seconds))} s"
    if minutes < 60:
        return f"{minutes} min"
    return f"{minutes // 60} h {minutes % 60} min" if hours < 48 else f"{hours // 24} d {hours % 24} h"
