"""Settings of clips and tasks, and the names of published tasks, without torch."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from oscine.models.errors import Misuse, OscineError
from oscine.models.files import as_path
from oscine.models.settings_checks import check_kind

FOLDER, ANNOTATED = "folder", "annotated"
BIRDSET = ("hsn", "nbp", "nes", "per", "pow", "sne", "ssw", "uhh")
BEANS = ("watkins", "bats", "cbi", "dogs", "humbugdb")
PUBLISHED = ("esc50", "esc10", "speech_commands", "audioset_20k", "audioset_2m", *BIRDSET, *BEANS)
FRAME_TASKS = ("dcase2016",)  # of which frames are asked, not clips


@dataclass(frozen=True)
class TaskSettings:
    """Settings of the task that is asked of the encoder.

    Args:
        name: of what lies in --data, a published task such as esc50 or hsn; or folder, a class for each folder in it; or
            annotated, Raven or Audacity tables beside the recordings.
        valid: share of the clips to learn from that is held out to choose thresholds and scalings by, where the task has
            no such clips, such as 0.2; null is none.
        shots: learn from so many clips a class, for each of these numbers; null is all clips.
        draws: how often the clips are drawn for each number of shots.
    """

    name: str | None = None
    valid: float | None = None
    shots: list[int] | None = None
    draws: int = 3

    def __post_init__(self) -> None:
        if self.valid is not None and not 0 < self.valid <= 0.5:
            raise OscineError(
                f"task.valid is {self.valid:g}, expected a share above 0 and up to a half of the rows; 0.2 is usual"
            )
        if self.draws < 1 or (self.shots is not None and min(self.shots, default=0) < 1):
            raise OscineError(
                f"task.shots is {self.shots}, task.draws {self.draws}: expected 1 clip a class and 1 draw at least, such as "
                "[1, 5, 10] and 3"
            )


@dataclass(frozen=True, kw_only=True)
class ClipSettings:
    """Settings of labelled clips: where they are, how they are read, and what is asked of them.

    Args:
        table: your labelled table.
        data: instead of a table: the folder in which task.name lies.
        folds: how many are made, 5 where it is left out: of a table without a column fold or split, and of task.name folder
            and annotated.
        group: column of the table, such as site, whose clips of one value are all in one fold; where it is left out,
            recording, recordist and site are such columns, or one of a like name.
        column: of Raven's tables that holds the labels, if not Species.
        unsure: labels that mean "who knows", separated by ";", such as "?".
        skip_bad_tables: go on without tables of annotations that cannot be used, and without the recordings that they are
            about.
        negatives: how labels and folders called background, noise, silence, other, non-event and the like, or beginning
            with -, are read in recordings of your own: named: as clips in which no class sounds; none: as classes like all
            others.
        background: folder of field recordings, without labels, in which none of your classes sounds: the probe that is kept
            for predict learns from them, as it does from silence and noise in any case.
        task: what is asked.
    """

    table: Path | None = None
    data: Path | None = None
    folds: int | None = None
    group: str | None = None
    column: str | None = None
    unsure: str = ""
    skip_bad_tables: bool = False
    negatives: Literal["named", "none"] = "named"
    background: Path | None = None
    task: TaskSettings = field(default_factory=TaskSettings)

    def __post_init__(self) -> None:
        for name in ("table", "data", "background"):
            as_path(self, name)
        check_kind(self, "task", TaskSettings)
        if self.folds is not None and self.folds < 1:
            raise Misuse(f"folds is {self.folds}, expected at least 1; leave it out for 5")

    @property
    def source(self) -> Path:
        """Return the table, or the folder of the task; raise unless one of them is given."""
        if self.table is not None and self.data is None:
            return self.table
        if self.data is not None and self.table is None:
            return self.data
        raise Misuse(
            "give --table FILE.csv, your labelled table, or --data FOLDER, where the task of --task.name lies; one of them"
        )

    @property
    def own(self) -> bool:
        """Tell whether the clips are the user's, not a published task's."""
        return bool(self.table) or self.task.name in (FOLDER, ANNOTATED)

    @property
    def named_negatives(self) -> bool:
        """Tell whether labels that mean by their name that no class sounds are no classes."""
        return self.negatives == "named"
