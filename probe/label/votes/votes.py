"""Hold what several people said of the same clips."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from pandas import DataFrame

from oscine.probe.label.votes.shares import NOBODY


@dataclass(frozen=True)
class Votes:
    """What several people said of the same clips.

    clips       path, and where they are stretches start and end in seconds
    annotators  their names; classes: the names of what was asked for
    said        class numbers [clips, annotators]; where a clip may have several classes, 1 and 0 [clips, annotators,
                classes]; `NOBODY` where somebody was not asked, or could not tell
    seconds     [clips, annotators] that an answer took, NaN where nobody measured it
    points      [clips, annotators, classes] that people spread over classes, negative where there are none; or None
    audit       [clips] whether a clip was drawn from all clips alike, to judge by
    repeats     annotator to how many clips came to them again, and of how many they said the same
    """

    clips: DataFrame
    annotators: list[str]
    classes: list[str]
    said: np.ndarray
    seconds: np.ndarray
    audit: np.ndarray
    points: np.ndarray | None = None
    repeats: dict[str, tuple[int, int]] = field(default_factory=dict)

    @property
    def several(self) -> bool:
        """Whether a clip may have several classes."""
        return self.said.ndim == 3

    @property
    def heard(self) -> np.ndarray:  # [clips, annotators]
        """Who has said something of which clip."""
        return (self.said != NOBODY).any(2) if self.several else self.said != NOBODY
