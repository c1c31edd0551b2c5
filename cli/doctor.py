"""`oscine doctor`: say what is installed, what is missing and whether it works, on one screen for a bug report."""

from __future__ import annotations

import json as json_format
import shutil
from textwrap import fill

LABEL = 11  # characters before a fact


def doctor(json: bool = False) -> int:
    """Examine this installation: versions, devices, what is missing, and whether audio, torch and an encoder work.

    Nothing is fetched and nothing changed. Put what it prints into a bug report. Exit code: 0 all that is needed works; 1
    something does not.

    Args:
        json: print a list of facts as JSON instead.
    """
    from oscine.models.doctor import Fact, examine

    found: list[Fact] = []
    if not json:
        print("oscine doctor: examines this installation; torch may take half a minute\n", flush=True)
    for fact in examine():
        found.append(fact)
        if not json:
            print_fact(fact.name, fact.text if fact.works else f"DOES NOT WORK: {fact.text}")
    faults = [fact for fact in found if not fact.works]
    if json:
        print(json_format.dumps([fact._asdict() for fact in found], indent=2))
    elif faults:
        print(f"\n{len(faults)} of what oscine needs does not work: {', '.join(fact.name for fact in faults)}")
    else:
        print("\nall that oscine needs works")
    return 1 if faults else 0


def print_fact(name: str, text: str) -> None:
    """Print a fact under its name, as wide as the terminal."""
    width = max(40, shutil.get_terminal_size().columns - 1)
    indent = " " * LABEL
    print(
        fill(text, width, initial_indent=name.ljust(LABEL), subsequent_indent=indent, break_on_hyphens=False),
        flush=True,
    )
