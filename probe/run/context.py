"""Hold what one run works with, and get the features of its clips."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from oscine.models.encoders.base.encoder import Encoder
from oscine.models.files import bytes_in_words
from oscine.models.progress import Bar, ShowProgress
from oscine.probe.features.embedding_table import read_embedded
from oscine.probe.features.encoding import Encoding, encode_task
from oscine.probe.features.store import bytes_below, open_store
from oscine.probe.fit.judge import FeatureSource
from oscine.probe.fit.search import Search
from oscine.probe.heads.probe import Needs, Probe
from oscine.probe.run.settings import ProbeRunSettings
from oscine.probe.tasks.task import Task


@dataclass(frozen=True)
class RunContext:
    """A probe, an encoder and the settings of one run; whatever else it makes goes into its folder.

    batch_size: clips that are encoded at once. background: recordings without labels. searched: what chose the settings, by
    the names of the task's parts. command: the call that began it, as it is typed; "" from Python.
    """

    probe: type[Probe]
    encoder: Encoder
    settings: ProbeRunSettings
    bar: Bar
    batch_size: int
    background: Sequence[Path] = ()
    searched: Mapping[str, Search] = field(default_factory=dict)
    command: str = ""

    @property
    def folder(self) -> Path:
        return self.settings.folder

    @property
    def device(self) -> str:
        return str(self.encoder.device)

    def preparing(self) -> ShowProgress:
        """Show the progress of clips that a fit prepares; where no store had room they are encoded then."""
        return when_begun(self.bar, "prepare clips")

    def title(self, name: str) -> str:
        tuned = ", fine-tuned" if self.settings.finetune else ""
        return f"{self.settings.encoder}, {self.probe.__name__} on {name}{tuned}"

    def maker(self, task: Task) -> Callable[[], Probe]:
        return partial(self.probe, self.encoder, len(task.classes), **self.settings.head)

    def features(self, task: Task, needs: Needs, seconds: float | None = None) -> FeatureSource:
        """Get the features of a task's rows: from a table of embeddings, from the store, which may encode them first, or
        from memory where there is no store."""
        settings = self.settings
        if settings.embeddings:
            return read_embedded(settings.embeddings, self.encoder, task, needs)
        return self.encoded(task, needs, seconds)

    def encoded(self, task: Task, needs: Needs, seconds: float | None = None) -> FeatureSource:
        """Get the features of a task's rows from the store, or from memory."""
        settings = self.settings
        progress = when_begun(self.bar, "encode")
        if settings.store is None:
            return encode_task(self.encoder, task, needs, seconds, self.batch_size, settings.workers, progress=progress)
        encoding = Encoding(self.encoder, task, needs, seconds, self.batch_size)
        self.bar.say(f"features of {len(task.rows)} clips: {bytes_in_words(encoding.nbytes)} below {settings.store}")
        limit = round(settings.store_gb * 1e9)
        source = open_store(encoding, settings.store, limit=limit, workers=settings.workers, progress=progress)
        taken = bytes_in_words(bytes_below(settings.store))
        self.bar.say(f"all stores below {settings.store}: {taken} of {bytes_in_words(limit)}")
        return source


def when_begun(bar: Bar, description: str) -> ShowProgress:
    """Return the callback of a task that is added to the display only once it is called."""
    begun: list[ShowProgress] = []

    def update(done: int, total: int, note: str = "") -> None:
        if not begun:
            begun.append(bar.task(description))
        begun[0](done, total, note)

    return update
