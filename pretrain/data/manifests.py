"""Manifests: lists that say which recordings, and which stretches of them, clips are cut from."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from oscine.models.audio.channels import MIX, Channel
from oscine.models.recordings.tables import read_list
from oscine.pretrain.data.spans import Files, Span


def read_manifest(path: Path, channel: Channel = MIX) -> Files:
    """Read the recordings and stretches of a list; a recording, and a stretch, counts as often as it has rows."""
    listed = read_list(path)
    if missing := listed.missing():
        raise listed.lost(missing)
    numbers, names = pd.factorize(pd.Series(listed.names))
    return Files(
        [listed.place(name) for name in names],
        [Span(*row) for row in zip(numbers.tolist(), listed.starts, listed.ends)],
        channel,
    )
