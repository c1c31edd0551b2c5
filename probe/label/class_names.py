"""Check names of classes that people are asked for: they go through tables, queues and search fields."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Sequence

from oscine.models.errors import OscineError
from oscine.models.json_text import shown
from oscine.models.text.class_names import check_class_names
from oscine.probe.tasks.class_names import means_no_class, plain

BETWEEN = ";"  # names of one clip, in the cells of tables
BREAKS = ("Cc", "Zl", "Zp")  # kinds of letters, as Unicode has them, that end a line or steer a terminal
UNSURE_MARK = "?"  # behind a name in a queue that somebody has filled in


def check_asked(names: Sequence[str], source: object, remedy: str, known: Iterable[str] = ()) -> None:
    """Raise where names cannot be asked for. known: those that are asked for already; source, remedy: for the error."""
    check_class_names(names, source, remedy)
    alike = {plain(name): name for name in known}
    for name in names:
        if fault := _fault(name):
            raise OscineError(f"{source} has the name {shown(name)}, {fault}; {remedy}")
        other = alike.setdefault(plain(name), name)
        if other != name:
            raise OscineError(f"{source} has the name {shown(name)}, which is nearly {shown(other)}; {remedy}")


def _fault(name: str) -> str:
    """Say what keeps a name from being asked for; "" where nothing does."""
    if BETWEEN in name:
        return f"and {BETWEEN!r} stands between the names of a clip in tables"
    if any(unicodedata.category(letter) in BREAKS for letter in name):
        return "with a line break or another control character"
    if name.endswith(UNSURE_MARK):
        return f"and {UNSURE_MARK!r} behind a name says that somebody is unsure"
    if means_no_class(name):
        return "which says that nothing sounds"
    return ""
