"""What cannot be read is left out and counted, and stops a run where it is more than a stated share."""

from __future__ import annotations

import logging

from torch.multiprocessing import get_context

from oscine.models.audio.load import AudioError
from oscine.models.errors import OscineError
from oscine.models.words import counted
from oscine.pretrain.data.spans import Source, Span

logger = logging.getLogger(__name__)
# Bad ones before their share is looked at: fewer may be chance, and a small folder's few are no reason to stop.
ENOUGH = 20


class Tally:
    """Counts clips, and those whose own recording could not be read, over all processes that read for one rank."""

    def __init__(self, bad_share: float) -> None:
        self.bad_share = bad_share
        self.counts = get_context().Array("q", 2)  # clips, bad ones

    def add(self, error: AudioError | None) -> None:
        with self.counts.get_lock():
            total, bad = self.counts[0] + 1, self.counts[1] + (error is not None)
            self.counts[0], self.counts[1] = total, bad
        if error is not None:
            logger.warning("skipped for another recording (%s of %s clips so far): %s", bad, total, error)
            check_share(bad, total, "clips", error, self.bad_share)


def check_share(bad: int, total: int, what: str, last: AudioError, bad_share: float) -> None:
    if bad >= ENOUGH and bad > bad_share * total:
        raise OscineError(
            f"{bad} of {total} {what} cannot be read, more than data.bad_share={bad_share:g} allows; the last is {last}; "
            "`oscine embed` and `oscine shards` list what is wrong with recordings"
        )


def readable(source: Source, bad_share: float) -> list[Span]:
    """What may be heard of a source; what cannot be read is logged and left out."""
    spans: list[Span] = []
    refused: list[AudioError] = []
    for found in source.spans():
        if isinstance(found, Span):
            spans.append(found)
            continue
        refused.append(found)
        logger.warning("left out: %s", found)
    total = len(spans) + len(refused)
    if refused:
        check_share(len(refused), total, "recordings", refused[-1], bad_share)
    if not spans:
        raise OscineError(
            f"none of {counted(total, 'recording')} can be read; `oscine embed` lists what is wrong with them"
        )
    return spans
