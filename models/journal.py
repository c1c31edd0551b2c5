"""What a run has done so far: parts that are whole or absent, in a folder beside the table that they will become."""

from __future__ import annotations

import io
import json
import logging
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO

import pyarrow as pa
import pyarrow.parquet as pq

from oscine.models.errors import OscineError
from oscine.models.files import write_whole
from oscine.models.parts import Note
from oscine.models.table import check_absent, writing

try:
    import fcntl
except ImportError:  # no such locks on Windows
    fcntl = None  # type: ignore[assignment]

PLAN, LOCK, NOTES = "plan.json", "lock", b"notes"
Plan = dict[str, Any]
CONTINUE = "call it as then to continue, or with --overwrite (overwrite=True) to start anew"

logger = logging.getLogger(__name__)


class Journal:
    """The folder OUT.journal: the plan of a run, and its finished parts, 000000.parquet and on.

    Each file is there complete or not at all, and parts are made in order: whoever is killed at any moment finds everything
    up to the last finished part. `open` begins or continues; then one process alone holds the journal until it is closed.
    """

    def __init__(self, target: Path) -> None:
        self.target = target
        self.folder = target.with_name(f"{target.name}.journal")
        self.notes: dict[str, Note] = {}
        self.parts = 0
        self.held: BinaryIO | None = None  # the lock, while this process has it

    def plan(self) -> Plan | None:
        """Of the run that was begun here and not finished, if there is one; without a finished part it binds nobody."""
        try:
            plan = json.loads((self.folder / PLAN).read_bytes())
        except FileNotFoundError:
            return None
        return plan if self._part(0).exists() else None

    def open(self, settings: dict[str, Any], recordings: dict[str, tuple[int, int]], overwrite: bool) -> None:
        """Continue the run that was begun with this very plan, or begin one; another's is refused, and kept.

        settings: whatever changes the table; recordings: name to size and time.
        """
        plan = json.loads(json.dumps({"settings": settings, "recordings": recordings}))  # as it will be read again
        begun = self.plan()
        if begun and not overwrite:
            _check_same(self.target, begun, plan)
        elif not overwrite:
            check_absent(self.target)
        with writing(self.target):
            self.folder.mkdir(exist_ok=True)
            self._lock()
            if overwrite or not begun:
                self._clear()
                write_whole(self.folder / PLAN, json.dumps(plan).encode())
        while self._part(self.parts).exists():
            self._note(json.loads(pq.read_schema(self._part(self.parts)).metadata[NOTES]))

    def add(self, rows: pa.Table, notes: dict[str, Note]) -> None:
        """Put the next part on disk."""
        metadata = {**rows.schema.metadata, NOTES: json.dumps(notes)}
        buffer = io.BytesIO()
        pq.write_table(rows.replace_schema_metadata(metadata), buffer, compression="none")
        with writing(self.target):
            write_whole(self._part(self.parts), buffer.getvalue())
        self._note(notes)

    def rows(self, columns: Sequence[str] | None) -> Iterator[pa.Table]:
        """Part by part, without the rows of recordings that were refused later on."""
        refused = {name for name, note in self.notes.items() if note.refused}
        wanted = None if columns is None else list(dict.fromkeys([*columns, "file"]))
        for number in range(self.parts):
            with pq.ParquetFile(self._part(number)) as part:
                table = part.read(wanted)
            if refused:
                table = table.filter(pa.array([name not in refused for name in table["file"].to_pylist()], pa.bool_()))
            yield (table if columns is None else table.select(columns)).replace_schema_metadata(None)

    def remove(self) -> None:
        """When the table is in its place. Whoever is killed in here finds a journal to finish again, or none."""
        self._clear()
        self.close()
        (self.folder / LOCK).unlink(missing_ok=True)
        self.folder.rmdir()

    def __enter__(self) -> Journal:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        if self.held:
            self.held.close()

    def _lock(self) -> None:
        # Of the process, not inherited by those that read for it: when it dies, however it dies, another may go on.
        self.held = (self.folder / LOCK).open("ab")
        try:
            if fcntl:
                fcntl.lockf(self.held, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except (BlockingIOError, PermissionError):
            raise OscineError(
                f"another process is writing {self.target}; wait for it, or choose another name"
            ) from None
        except OSError:
            logger.info("no locks on the disk of %s; do not write it twice at the same time", self.target)

    def _clear(self) -> None:
        (self.folder / PLAN).unlink(missing_ok=True)  # first: without it the rest is nothing
        for file in self.folder.iterdir():
            if file.name != LOCK:
                file.unlink()

    def _part(self, number: int) -> Path:
        return self.folder / f"{number:06d}.parquet"

    def _note(self, notes: Mapping[str, Sequence[Any]]) -> None:
        self.parts += 1
        self.notes |= {name: Note(*note) for name, note in notes.items()}


def _check_same(target: Path, begun: Plan, plan: Plan) -> None:
    """An error that says what differs."""
    old, new = begun["settings"], plan["settings"]
    differ = [f"{key} {old.get(key)!r}, not {new.get(key)!r}" for key in old | new if old.get(key) != new.get(key)]
    if differ:
        raise OscineError(f"{target} was begun with {'; '.join(differ)}; {CONTINUE}")
    was, now = begun["recordings"], plan["recordings"]
    changes = {
        "new": sorted(now.keys() - was.keys()),
        "gone": sorted(was.keys() - now.keys()),
        "changed": sorted(name for name in was.keys() & now.keys() if was[name] != now[name]),
    }
    if any(changes.values()):
        said = "; ".join(f"{len(names)} {how}, such as {names[0]}" for how, names in changes.items() if names)
        raise OscineError(f"{target} was begun when the folder held other recordings ({said}); {CONTINUE}")
