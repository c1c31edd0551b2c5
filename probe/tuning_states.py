"""Where a fine-tuning stands, in files that are whole or absent: a killed run goes on, and ends with the same bits."""

from __future__ import annotations

import io
import json
import shutil
from collections.abc import Iterator, Mapping, MutableMapping
from pathlib import Path
from typing import Any

import torch

from oscine.models.errors import OscineError
from oscine.models.files import hold, write_whole

SETTINGS, LOCK = "settings.json", "lock"


class TuningStates(MutableMapping[str, Any]):
    """The states in a folder by name, tensors on the CPU; one process at a time has them.

    settings: all that changes the result, by name, in JSON. resume: go on with states that are there, which have to be of
    the same settings; else there must be none, unless to overwrite them.
    """

    def __init__(
        self, folder: Path, settings: Mapping[str, Any], resume: bool = False, overwrite: bool = False
    ) -> None:
        self.folder, path = folder, folder / SETTINGS
        given = json.loads(json.dumps(settings, default=str))
        if resume:
            self.check(given)
        elif path.exists() and not overwrite:
            raise OscineError(
                f"{folder} holds a fine-tuning that has not ended; --resume goes on, --overwrite begins anew"
            )
        folder.mkdir(parents=True, exist_ok=True)
        self.lock = hold(folder / LOCK, f"fine-tuning in {folder.parent}", "name")
        if overwrite:
            self.clear()
        write_whole(path, (json.dumps(given, indent=2) + "\n").encode())

    def check(self, given: dict[str, Any]) -> None:
        path = self.folder / SETTINGS
        try:
            begun = json.loads(path.read_bytes())
        except FileNotFoundError:
            raise OscineError(f"nothing to resume: no {path}; leave out --resume to begin") from None
        differ = [
            f"{name} {given.get(name)}, not {begun.get(name)}"
            for name in sorted(given.keys() | begun.keys())
            if given.get(name) != begun.get(name)
        ]
        if differ:
            raise OscineError(
                f"the run to resume was begun with other settings: now {'; '.join(differ[:5])}; give those it began "
                "with, or --overwrite instead of --resume"
            )

    def path(self, name: str) -> Path:
        return self.folder / f"{name}.pt"

    def __getitem__(self, name: str) -> Any:
        try:
            return torch.load(self.path(name), map_location="cpu", weights_only=True)
        except FileNotFoundError:
            raise KeyError(name) from None
        except Exception as error:  # whatever a damaged file makes of unpickling
            reason = str(error).partition("\n")[0]
            raise OscineError(f"{self.path(name)} cannot be read ({reason}); --overwrite begins anew") from None

    def __setitem__(self, name: str, state: Any) -> None:
        for left in self.folder.glob(".*.part"):  # by who was killed while writing it
            left.unlink()
        content = io.BytesIO()
        torch.save(state, content)
        try:
            write_whole(self.path(name), content.getvalue())
        except OSError as error:
            raise OscineError(
                f"{self.path(name)} cannot be written ({error.strerror}); the state before is kept, --resume goes on with it"
            ) from None

    def __delitem__(self, name: str) -> None:
        self.path(name).unlink()

    def __iter__(self) -> Iterator[str]:
        return (path.stem for path in self.folder.glob("*.pt"))

    def __len__(self) -> int:
        return sum(1 for _ in self)

    def end(self) -> None:
        """Nothing is left to go on with."""
        (self.folder / SETTINGS).unlink()
        self.lock.close()
        shutil.rmtree(self.folder)
