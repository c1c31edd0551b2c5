"""Read when a recording began from the name that its recorder gave it."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timezone
from pathlib import Path
from zoneinfo import ZoneInfo

from aru_metadata_parser.parse import audiomoth_start_time, owlsense_start_time, songmeter_start_time, swift_start_time

from oscine.models.errors import OscineError

LOCAL = "local"
# AudioMoth: 20240501_043000, or seconds since 1970 in 8 hexadecimal digits, one of them a letter; Song Meter:
# SMM03873_20240501_043000; OwlSense: OWL_12_2024-05-01_T04-30-00; Swift: SwiftOne_20240501_043000_-0400.
NAMES: tuple[Callable[[str], datetime], ...] = (
    audiomoth_start_time,
    songmeter_start_time,
    owlsense_start_time,
    swift_start_time,
)
FIRST_YEAR = 2000  # eight letters and digits that are nobody's clock may also be read as hexadecimal seconds


class Clock:
    """Which clock the recorders ran on: a time zone such as "UTC" or "Europe/Berlin", or "local" where none is known.

    With a zone, `start_time` is in UTC, also where a name brings its own zone. Without one it is what the name says and has
    no zone; the hexadecimal names of old AudioMoths are in UTC always.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        try:
            self.zone = None if name == LOCAL else ZoneInfo(name)
        except (KeyError, ValueError, OSError):  # ZoneInfoNotFoundError is a KeyError; a folder's name an OSError
            raise OscineError(
                f"no time zone {name!r}; expected UTC, a name such as Europe/Berlin, or {LOCAL}"
            ) from None

    def start_time(self, name: str) -> datetime | None:
        """Return the moment at which a recording of this name begins; None where the name does not tell."""
        moment = next(filter(None, (_try(read, Path(name).stem) for read in NAMES)), None)
        if moment is None or self.zone is None:
            return moment and moment.replace(tzinfo=None)
        return (moment if moment.tzinfo else moment.replace(tzinfo=self.zone)).astimezone(timezone.utc)


def _try(read: Callable[[str], datetime], stem: str) -> datetime | None:
    if stem.isdecimal():  # a catalogue's number or a date, far more often than hexadecimal seconds
        return None
    try:
        moment = read(stem)
    except (ValueError, IndexError, OverflowError):  # another recorder's name, or nobody's
        return None
    return moment if FIRST_YEAR <= moment.year <= datetime.now().year + 1 else None
