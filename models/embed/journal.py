"""Keep what a run has done so far: parts that are whole or absent, in a folder beside its table."""

from __future__ import annotations

import io
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from oscine.models.embed.table import FileError, Summary, check_absent, check_ours, writing
from oscine.models.embed.table_metadata import errors_path, reading
from oscine.models.errors import OscineError
from oscine.models.files import write_whole
from oscine.models.json_text import check_fields, check_same_settings, parse_json, read_json
from oscine.models.locks import Lock, lock_exclusive
from oscine.models.replace_outputs import is_litter

PLAN, LOCK, NOTES, ROWS = "plan.json", "lock", b"notes", b"rows"
NAMES = r"(plan\.json|lock(\.json)?|\d{6,}\.parquet|table|errors|metadata)"
OWN = re.compile(rf"{NAMES}|\.{NAMES}\.\d+\.part")  # the second as `write_whole` leaves it when it is killed
Plan = dict[str, Any]
CONTINUE = "call it as then to continue, or with overwrite to start anew"
ANEW = "call it with overwrite to start anew"
FIELDS = {"settings": dict[str, Any], "recordings": dict[str, list[Any]]}
MADE = {"rows": int, "files": int, "seconds": float, "listed": dict[str, str]}


class Journal:
    """The folder OUT.journal: the plan of a run, and its finished parts, 000000.parquet and on.

    Each file is there complete or not at all, and parts are made in order: whoever is killed at any moment finds everything
    up to the last finished part. `open` begins or continues; then one process alone holds the journal until it is closed.
    """

    def __init__(self, target: Path) -> None:
        self.target = target
        self.folder = target.with_name(f"{target.name}.journal")
        self.errors: dict[str, FileError] = {}
        self.parts = 0
        self.held: Lock | None = None  # while this process has it

    def plan(self) -> Plan | None:
        """Return the plan of the run that was begun here, if that is not over and has a finished part."""
        path = self.folder / PLAN
        try:
            plan = check_fields(read_json(path, ANEW), FIELDS, path, ANEW, {"made": dict[str, Any]})
        except FileNotFoundError:
            return None
        needed = self.target if plan.get("made") else self._part(0)
        if not needed.exists():
            return None
        if not {"shortest", "parts"} <= plan["settings"].keys():
            raise OscineError(f"{self.folder} is of an older oscine, which read recordings in another way; {ANEW}")
        return plan

    def keeps(self) -> bool:
        """Return whether a call that was stopped has left something to go on with, or the finished table."""
        try:
            return bool(self.plan()) or (self.target.exists() and not (self.folder / PLAN).exists())
        except OscineError:
            return False

    def check_free(self, overwrite: bool) -> None:
        """Raise where another's files are in the way of the table or of its journal."""
        others = sorted(path.name for path in self._files() if not OWN.fullmatch(path.name) and not is_litter(path))
        if others:
            raise OscineError(
                f"{self.folder} holds {others[0]}, which is no part of a journal; move it away or choose another name"
            )
        if overwrite:
            check_ours(self.target)
        elif not self.plan():
            if self.target.exists() and not self.held:
                self._sweep()
            check_absent(self.target)

    def open(
        self, settings: dict[str, Any], recordings: dict[str, list[Any]], *, overwrite: bool, schema: pa.Schema
    ) -> Summary | None:
        """Continue the run that was begun with this very plan, or begin one; another's is refused, and kept.

        settings: whatever changes the table; recordings: name to size, time and stretches; schema: of the parts. Where the
        table was made, and only the journal was left over, that is removed and the table's summary handed back.
        """
        plan = json.loads(json.dumps({"settings": settings, "recordings": recordings}))  # as it will be read again
        self._lock()
        self.check_free(overwrite)  # under the lock: another call may have begun, or ended, since it was asked
        begun = None if overwrite else self.plan()
        if begun:
            _check_plan(self.target, begun, plan)
            if made := begun.get("made"):
                check_fields(made, MADE, self.folder / PLAN, ANEW)
                self._remove()
                return Summary(**{key: made[key] for key in MADE}, out=self.target, errors=errors_path(self.target))
        else:
            with writing(self.target):
                self._clear()
                write_whole(self.folder / PLAN, json.dumps(plan).encode())
        while self._part(self.parts).exists():
            self._count_part(_read_errors(self._part(self.parts), schema))
        return None

    def add(self, rows: pa.Table, errors: dict[str, FileError]) -> None:
        """Put the next part on disk."""
        metadata = {**rows.schema.metadata, NOTES: json.dumps(errors), ROWS: str(len(rows))}
        buffer = io.BytesIO()
        pq.write_table(rows.replace_schema_metadata(metadata), buffer, compression="none", write_page_checksum=True)
        with writing(self.target):
            write_whole(self._part(self.parts), buffer.getvalue())
        self._count_part(errors)

    def rows(self, columns: Sequence[str] | None) -> Iterator[pa.Table]:
        """Yield rows part by part, without those of recordings that were refused later on."""
        refused = {name for name, error in self.errors.items() if error.refused}
        wanted = None if columns is None else list(dict.fromkeys([*columns, "file"]))
        for number in range(self.parts):
            path = self._part(number)
            with reading(path), pq.ParquetFile(path, page_checksum_verification=True) as part:
                table = part.read(wanted)
            if refused:
                table = table.filter(pa.array([name not in refused for name in table["file"].to_pylist()], pa.bool_()))
            yield (table if columns is None else table.select(columns)).replace_schema_metadata(None)

    def finish(self, summary: Summary) -> None:
        """Remove the journal of a table that is in its place; after a kill in here the next call finds that it was made."""
        plan = json.loads((self.folder / PLAN).read_bytes())
        made = {key: value for key, value in summary._asdict().items() if key not in ("out", "errors")}
        with writing(self.target):
            write_whole(self.folder / PLAN, json.dumps(plan | {"made": made}).encode())
        self._remove()

    def close(self) -> None:
        held, self.held = self.held, None
        if held:
            held.close()
            with suppress(OSError):  # where there is something left to go on with, or somebody else's
                self.folder.rmdir()

    def _lock(self) -> None:
        with writing(self.target):
            self.folder.mkdir(exist_ok=True)
            self.held = lock_exclusive(self.folder / LOCK, f"writing {self.target}", "choose another name")

    def _sweep(self) -> None:
        """Remove a folder in which a killed call that made the table has left nothing but the lock."""
        if self.folder.is_dir() and {path.name for path in self._files()} <= {LOCK, f"{LOCK}.json"}:
            with suppress(OSError, OscineError):  # it is in the way of nothing
                self._lock()
                self.close()

    def _remove(self) -> None:
        self._clear()
        (self.folder / PLAN).unlink(missing_ok=True)  # last: it says that the table was made
        self.close()

    def _clear(self) -> None:
        """All but the plan and the lock with its holder, the first part first: without it, no plan binds."""
        for file in sorted(self._files()):
            if OWN.fullmatch(file.name) and file.name not in (PLAN, LOCK, f"{LOCK}.json"):
                file.unlink()

    def _files(self) -> list[Path]:
        return list(self.folder.iterdir()) if self.folder.is_dir() else []

    def _part(self, number: int) -> Path:
        return self.folder / f"{number:06d}.parquet"

    def _count_part(self, errors: Mapping[str, Sequence[Any]]) -> None:
        self.parts += 1
        self.errors |= {name: FileError(*error) for name, error in errors.items()}


def _read_errors(path: Path, schema: pa.Schema) -> dict[str, list[Any]]:
    """Read the errors of a finished part, whose columns and number of rows are as it was written."""
    with reading(path), pq.ParquetFile(path) as part:
        own, rows = part.schema_arrow, part.metadata.num_rows
    said = own.metadata or {}
    notes = parse_json(said.get(NOTES, b"null"), path, ANEW)
    check_fields(notes, {}, path, ANEW)
    for name, note in notes.items():
        kinds = [type(value) for value in note] if isinstance(note, list) else []
        if kinds != [str, bool, str]:
            raise OscineError(f"{path}: its note of {name} is {str(note)[:60]!r}, expected a reason; {ANEW}")
    if own.names != schema.names or own.types != schema.types or said.get(ROWS, b"%d" % rows) != b"%d" % rows:
        raise OscineError(f"{path} has other columns, or fewer rows, than it was written with; {ANEW}")
    return notes


def _check_plan(target: Path, begun: Plan, plan: Plan) -> None:
    """An error that says what differs."""
    # A model may be spelt in several ways; its fingerprint tells.
    complaint = f"{target} was begun with"
    check_same_settings(begun["settings"], plan["settings"], complaint=complaint, remedy=CONTINUE, aside=["model"])
    was, now = begun["recordings"], plan["recordings"]
    changes = {
        "new": sorted(now.keys() - was.keys()),
        "gone": sorted(was.keys() - now.keys()),
        "changed": sorted(name for name in was.keys() & now.keys() if was[name] != now[name]),
    }
    if {*map(_hashed, was.values())} != {*map(_hashed, now.values())} and not changes["new"] + changes["gone"]:
        raise OscineError(f"{target} was begun by a version that tells recordings apart by other bytes; {ANEW}")
    if any(changes.values()):
        said = "; ".join(f"{len(names)} {how}, such as {names[0]}" for how, names in changes.items() if names)
        raise OscineError(f"{target} was begun when the folder or list held other recordings ({said}); {CONTINUE}")


def _hashed(stamp: Sequence[Any]) -> int:
    """Return how many digits the hash of a recording's stamp has, which says by which version it was made."""
    return len(stamp[2]) if len(stamp) > 2 and isinstance(stamp[2], str) else 0
