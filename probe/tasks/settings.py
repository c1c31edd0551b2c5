"""What is asked of an encoder: the settings of a task and the names of the published ones, without torch."""

from __future__ import annotations

from dataclasses import dataclass

from oscine.models.errors import OscineError

FOLDER, ANNOTATED = "folder", "annotated"
BIRDSET = ("hsn", "nbp", "nes", "per", "pow", "sne", "ssw", "uhh")
BEANS = ("watkins", "bats", "cbi", "dogs", "humbugdb")


@dataclass(frozen=True)
class TaskSettings:
    """What is asked of the encoder.

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
