"""What a run has done so far: parts that are whole or absent, in a folder beside the table that they will become."""

from __future__ import annotations

import io
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO

import pyarrow as pa
import pyarrow.parquet as pq

from oscine.models.errors import OscineError
from oscine.models.files import hold, write_whole
from oscine.models.table import Note, Summary, check_absent, errors_path, writing

PLAN, LOCK, NOTES = "plan.json", "lock", b"notes"
NAMES = r"(plan\.json|lock|\d{6,}\.parquet|table|errors|metadata)"
OWN = re.compile(rf"{NAMES}|\.{NAMES}\.\d+\.part")  # the second as `write_whole` leaves it when it is killed
Plan = dict[str, Any]
CONTINUE = "call it as then to continue, or with overwrite to start anew"


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
        """Of the run that was begun here, if it is not all over; without a finished part or table it binds nobody."""
        try:
            plan = json.loads((self.folder / PLAN).read_bytes())
        except (FileNotFoundError, NotADirectoryError):
            return None
        needed = self.target if plan.get("made") else self._part(0)
        return plan if needed.exists() else None

    def check_free(self, overwrite: bool) -> None:
        """An error where another's files are in the way of the table or of its journal."""
        others = sorted(path.name for path in self._files() if not OWN.fullmatch(path.name))
        if others:
            raise OscineError(
                f"{self.folder} holds {others[0]}, which is no part of a journal; move it away or choose another name"
            )
        if not overwrite and not self.plan():
            if self.target.exists() and self.folder.is_dir() and not self._files():
                self.folder.rmdir()  # all that was left to do by who made the table
            check_absent(self.target)

    def open(self, settings: dict[str, Any], recordings: dict[str, list[Any]], overwrite: bool) -> Summary | None:
        """Continue the run that was begun with this very plan, or begin one; another's is refused, and kept.

        settings: whatever changes the table; recordings: name to size, time and stretches. Where the table was made, and
        only the journal was left over, that is removed and the table's summary handed back.
        """
        plan = json.loads(json.dumps({"settings": settings, "recordings": recordings}))  # as it will be read again
        self.check_free(overwrite)
        with writing(self.target):
            self.folder.mkdir(exist_ok=True)
            self.held = hold(self.folder / LOCK, f"writing {self.target}", "name")
        begun = None if overwrite else self.plan()  # under the lock: it may be another one by now
        if begun:
            _check_same(self.target, begun, plan)
            if begun.get("made"):
                self._remove()
                return Summary(**begun["made"], out=self.target, errors=errors_path(self.target))
        else:
            with writing(self.target):
                self._clear()
                write_whole(self.folder / PLAN, json.dumps(plan).encode())
        while self._part(self.parts).exists():
            self._note(json.loads(pq.read_schema(self._part(self.parts)).metadata[NOTES]))
        return None

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

    def finish(self, summary: Summary) -> None:
        """When the table is in its place. Whoever is killed in here finds that it was made, and removes the rest."""
        plan = json.loads((self.folder / PLAN).read_bytes())
        made = {key: value for key, value in summary._asdict().items() if key not in ("out", "errors")}
        with writing(self.target):
            write_whole(self.folder / PLAN, json.dumps(plan | {"made": made}).encode())
        self._remove()

    def __enter__(self) -> Journal:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        if self.held:
            self.held.close()

    def _remove(self) -> None:
        self._clear()
        self.close()
        for name in (LOCK, PLAN):  # the plan last: it says that the table was made
            (self.folder / name).unlink(missing_ok=True)
        if not self._files():
            self.folder.rmdir()

    def _clear(self) -> None:
        """All but the plan and the lock, the first part first: without it, no plan binds."""
        for file in sorted(self._files()):
            if OWN.fullmatch(file.name) and file.name not in (PLAN, LOCK):
                file.unlink()

    def _files(self) -> list[Path]:
        return list(self.folder.iterdir()) if self.folder.is_dir() else []

    def _part(self, number: int) -> Path:
        return self.folder / f"{number:06d}.parquet"

    def _note(self, notes: Mapping[str, Sequence[Any]]) -> None:
        self.parts += 1
        self.notes |= {name: Note(*note) for name, note in notes.items()}


def _check_same(target: Path, begun: Plan, plan: Plan) -> None:
    """An error that says what differs."""
    old, new = begun["settings"], plan["settings"]
    keys = [key for key in old | new if key != "model"]  # which may be spelt in several ways; its fingerprint tells
    differ = [f"{key} {old.get(key)!r}, not {new.get(key)!r}" for key in keys if old.get(key) != new.get(key)]
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
        raise OscineError(f"{target} was begun when the folder or list held other recordings ({said}); {CONTINUE}")
