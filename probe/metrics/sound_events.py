"""Turn frame-wise probabilities into events with onset and offset, and match them with annotated ones."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

from einops import rearrange
from torch import Tensor
from torch.nn.functional import pad

from oscine.models.errors import OscineError
from oscine.probe.tasks.frame_task import Event

Files = Sequence[Sequence[Event]]  # of every file
MEDIAN = 3  # frames; that of BAT's probes on DCASE 2016 task 2 (arXiv 2602.16305)


class Matches(NamedTuple):
    """What was found of what is there, in events or segments."""

    matched: int
    annotated: int
    found: int

    @property
    def precision(self) -> float:
        """NaN where nothing was found."""
        return self.matched / self.found if self.found else math.nan

    @property
    def recall(self) -> float:
        """NaN where there is nothing to find."""
        return self.matched / self.annotated if self.annotated else math.nan

    @property
    def f1(self) -> float:
        """NaN where there is nothing to find and nothing was found."""
        both = self.annotated + self.found
        return 2 * self.matched / both if both else math.nan


def median_filter(probabilities: Tensor, size: int) -> Tensor:  # [frames, classes]
    """Take each class's running median over an odd number of frames; the file goes on for ever as it begins and ends."""
    if size < 1 or size % 2 == 0:
        raise OscineError(f"a median over {size} frames has no middle; choose an odd number")
    columns = rearrange(probabilities, "frames classes -> classes 1 frames")
    padded = pad(columns, (size // 2, size // 2), mode="replicate")
    return rearrange(padded.unfold(2, size, 1).median(-1).values, "classes 1 frames -> frames classes")


def find_events(
    probabilities: Tensor, hop: float, threshold: float | Tensor = 0.3, median: int = MEDIAN
) -> list[Event]:
    """Find the runs of frames, of every class, whose filtered probability reaches the threshold. [frames, classes].

    hop: seconds between frames; an event lasts from its first frame's left edge to its last one's, as its targets do.
    threshold: one for all, or [classes]. The defaults are those of BAT's probes on DCASE 2016 task 2.
    """
    active = median_filter(probabilities.detach().cpu(), median) >= threshold
    edges = pad(active.int(), (0, 0, 1, 1)).diff(dim=0)  # [frames + 1, classes]: 1 where a run begins, -1 after its end
    events = []
    for label, column in enumerate(edges.T):
        begins, ends = (column == 1).nonzero().flatten(), (column == -1).nonzero().flatten() - 1
        events += [
            Event(begin * hop, end * hop, label) for begin, end in zip(begins.tolist(), ends.tolist(), strict=True)
        ]
    return sorted(events)


def onset_matches(annotated: Files, found: Files, collar: float = 0.2) -> list[Matches]:
    """Match events of every file, by onset alone: same class, and onsets at most `collar` seconds apart.

    Each event matches one other at most, and as many match as can (DCASE 2016 task 2; doi 10.3390/app6060162).
    """
    return _per_file(annotated, found, lambda truth, guess: _paired(truth, guess, collar))


def segment_matches(annotated: Files, found: Files, seconds: float = 1.0) -> list[Matches]:
    """Match segments of every file: pairs of class and segment in which an event sounds (doi 10.3390/app6060162)."""

    def match(truth: Sequence[Event], guess: Sequence[Event]) -> Matches:
        there, said = _segments(truth, seconds), _segments(guess, seconds)
        return Matches(len(there & said), len(there), len(said))

    return _per_file(annotated, found, match)


def total(matches: Iterable[Matches]) -> Matches:
    """Add up all files, which is what precision, recall and F1 are published of (micro averages)."""
    return Matches(*(sum(column) for column in zip(*matches)))


def _per_file(
    annotated: Files, found: Files, match: Callable[[Sequence[Event], Sequence[Event]], Matches]
) -> list[Matches]:
    if len(annotated) != len(found) or not annotated:
        raise OscineError(
            f"annotations of {len(annotated)} files and findings of {len(found)}; give both of every file"
        )
    return [match(truth, guess) for truth, guess in zip(annotated, found)]


def _paired(truth: Sequence[Event], guess: Sequence[Event], collar: float) -> Matches:
    matched = 0
    for label in {event.label for event in truth}:
        there, said = (sorted(event.onset for event in events if event.label == label) for events in (truth, guess))
        at = 0
        # On a line, whoever comes first takes the first that is near enough: nobody loses a partner by it.
        for onset in there:
            while at < len(said) and said[at] < onset - collar - 1e-6:
                at += 1
            if at < len(said) and said[at] <= onset + collar + 1e-6:
                matched, at = matched + 1, at + 1
    return Matches(matched, len(truth), len(guess))


def _segments(events: Iterable[Event], seconds: float) -> set[tuple[int, int]]:
    """Return pairs of class and segment. An event that ends on a border does not sound in the segment after it."""
    pairs = set()
    for event in events:
        first = math.floor(event.onset / seconds + 1e-6)
        after = math.ceil(event.offset / seconds - 1e-6)
        pairs |= {(event.label, number) for number in range(first, max(first + 1, after))}
    return pairs
