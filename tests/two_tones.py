"""Write the smallest labelled table that folds can be made of."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import soundfile

RATE = 16_000


def write_two_tones(folder: Path, clips: int) -> Path:
    """Write clips of a low and a high tone, of half a second each, in two folds; return their table, tones.csv."""
    lines = ["path,label,fold"]
    for row in range(clips):
        tone = np.sin(2 * np.pi * (400, 4000)[row % 2] * np.arange(RATE // 2) / RATE)
        soundfile.write(folder / f"{row}.flac", 0.2 * tone, RATE)
        lines.append(f"{row}.flac,{('low', 'high')[row % 2]},{row // 2 % 2}")
    table = folder / "tones.csv"
    table.write_text("\n".join(lines), encoding="utf-8")
    return table
