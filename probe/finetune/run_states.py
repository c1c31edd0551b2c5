"""Keep the state of a fine-tuning in files, so that a killed run goes on and ends with the same bits."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, MutableMapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from oscine.models.errors import OscineError
from oscine.models.files import write_whole
from oscine.models.hub.checksummed import load_checksummed, save_checksummed
from oscine.models.json_text import check_fields, check_same_settings, read_json
from oscine.models.locks import lock_exclusive
from oscine.probe.results.run_files import BEGUN

LOCK = "lock"


class TuningStates(MutableMapping[str, Any]):
    """The states in a folder by name, tensors on the CPU; one process at a time has them.

    settings: all that changes the result, by name, in JSON. resume: go on with states that are there, which have to be of
    the same settings; else there must be none, unless to overwrite them.
    """

    def __init__(
        self, folder: Path, settings: Mapping[str, Any], resume: bool = False, overwrite: bool = False
    ) -> None:
        self.folder, path = folder, folder / BEGUN
        given = json.loads(json.dumps(settings, default=str))
        if resume:
            self.check(given)
        elif path.exists() and not overwrite:
            raise OscineError(
                f"{folder} holds a fine-tuning that has not ended; --resume goes on, --overwrite begins anew"
            )
        elif not path.exists() and any(folder.glob("*.pt")):
            raise OscineError(f"{folder} holds states without {BEGUN}, of no fine-tuning; choose another --name")
        folder.mkdir(parents=True, exist_ok=True)
        self.lock = lock_exclusive(folder / LOCK, f"fine-tuning in {folder.parent}", "choose another name")
        if overwrite:
            self.clear()
        write_whole(path, (json.dumps(given, indent=2) + "\n").encode())

    def check(self, given: dict[str, Any]) -> None:
        path = self.folder / BEGUN
        try:
            begun = check_fields(read_json(path, "--overwrite begins anew"), {}, path, "--overwrite begins anew")
        except FileNotFoundError:
            raise OscineError(f"nothing to resume: no {path}; leave out --resume to begin") from None
        remedy = "give those it began with, or --overwrite instead of --resume"
        check_same_settings(begun, given, complaint="the run to resume was begun with", remedy=remedy)

    def path(self, name: str) -> Path:
        return self.folder / f"{name}.pt"

    def __getitem__(self, name: str) -> Any:
        try:
            return load_checksummed(self.path(name))
        except FileNotFoundError:
            raise KeyError(name) from None
        except OscineError as error:
            raise OscineError(f"{error}; --overwrite begins anew") from None

    def __contains__(self, name: object) -> bool:
        return self.path(str(name)).exists()

    def __setitem__(self, name: str, state: Any) -> None:
        self.sweep()
        try:
            save_checksummed(self.path(name), state)
        except OSError as error:
            raise OscineError(
                f"{self.path(name)} cannot be written ({error.strerror}); the state before is kept, --resume goes on with it"
            ) from None

    def __delitem__(self, name: str) -> None:
        self.path(name).unlink()

    def clear(self) -> None:
        """Delete all states, also those that cannot be read."""
        for path in self.folder.glob("*.pt"):
            path.unlink()

    def __iter__(self) -> Iterator[str]:
        return (path.stem for path in self.folder.glob("*.pt"))

    def __len__(self) -> int:
        return sum(1 for _ in self)

    def end(self) -> None:
        """Delete the folder of states: nothing is left to go on with."""
        (self.folder / BEGUN).unlink()
        self.clear()
        self.sweep()
        self.lock.close()
        with suppress(OSError):  # where there is something of somebody else's in it
            self.folder.rmdir()

    def sweep(self) -> None:
        """Delete half-written files of a killed process."""
        for left in self.folder.glob(".*.pt.*.part"):
            left.unlink()
