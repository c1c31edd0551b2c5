"""Tell how far an embed job is, what it found and what it will cost."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from oscine.models.recordings.headers import HeaderScan


class Forecast(NamedTuple):
    """A forecast of a job: what has been found and what it will cost.

    clips_done: of an earlier call with the same arguments. seconds: of reading and encoding the others, by a timed trial
    of them; what `torch.compile` takes is over by then. size: bytes of the table; until it is finished, the journal takes
    about as much again. free: bytes on that disk. left_out: last clips that have less than the share `shortest` of a clip.
    """

    found: HeaderScan
    clips: int
    clips_done: int
    precision: str
    seconds: float
    size: int
    free: int
    left_out: int = 0
    shortest: float = 0.0


class Progress(NamedTuple):
    """How far it has come: recordings, clips and seconds of sound, done and of all."""

    files: int
    of_files: int
    clips: int
    of_clips: int
    seconds: float
    of_seconds: float

    def plus(self, files: int, clips: int, seconds: float) -> Progress:
        return self._replace(files=self.files + files, clips=self.clips + clips, seconds=self.seconds + seconds)


class Watcher:
    """Looks on while `embed_folder` works; this one says nothing."""

    def scanned(self, files: int, of_files: int) -> None:
        """Take how many headers have been read."""

    def forecast(self, forecast: Forecast) -> None:
        """Take the forecast, once, before the first clip of the table is read."""

    def progress(self, progress: Progress) -> None:
        """Take how far it is, at the start, and again and again."""


SILENT = Watcher()
