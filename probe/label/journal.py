"""Keep what one person said of clips: a line an answer, on disk before the next clip is shown.

A journal, `labels/NAME.jsonl`, is only ever appended to. Its lines are objects of JSON with a `kind`:

    begin    annotator, one_label, classes; the first line
    class    a name that was added later on, `own` by this person; no earlier answer was asked for it
    remove   a name that was added by mistake; no answer was asked for it
    answer   what `Answer` holds
    audit    a clip, answered before, that is one of those that are judged by
    undo     takes back the last answer that stands

Reading is replaying. Whoever is killed at any moment loses at most the answer on the screen: half a line at the end is
nobody's answer.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass, field, fields, replace
from datetime import datetime
from functools import cached_property
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

from oscine import __version__
from oscine.models.errors import OscineError
from oscine.models.files import check_name
from oscine.models.json_text import as_record, check_fields, check_version, fits, parse_json, shown
from oscine.models.locks import Lock, lock_exclusive
from oscine.models.text.class_names import check_class_names, is_name

SUFFIX = ".jsonl"
PRESENT, ABSENT, UNSURE = STATES = "present", "absent", "unsure"  # of a class in a clip, where it was asked for
BEGIN = {"oscine": str, "annotator": str, "one_label": bool, "classes": list[str]}
MEND = "mend that line, or move the journal away to begin anew"
PUT_BACK = "put it back and answer again, or stop and begin again without it"


class Clip(NamedTuple):
    """A stretch of a recording, in seconds; the recording is named as in the table of embeddings."""

    recording: str
    start: float
    end: float

    def __str__(self) -> str:
        return f"{self.recording} from {self.start:g} s"


@dataclass(frozen=True)
class Answer:
    """What somebody said of a clip, and how it came to be asked.

    states     of every class that was asked for: PRESENT, ABSENT or UNSURE; none where the clip was skipped
    heard      seconds of sound that were played
    taken      seconds from the clip on the screen to the answer
    strategy   that chose the clip; batch: the how manieth it chose, with which seed
    audit      whether it is one of the clips that are judged by
    again      whether the same person had answered it before
    predicted  probability of every class, of a probe that had not learnt this answer; none without a probe
    probe      fingerprint of that probe, table: of the table of embeddings
    time       of the day, with its zone, in ISO 8601
    """

    clip: Clip
    annotator: str
    states: dict[str, str]
    heard: float = 0.0
    taken: float = 0.0
    strategy: str = ""
    batch: int = 0
    seed: int = 0
    audit: bool = False
    again: bool = False
    predicted: dict[str, float] = field(default_factory=dict)
    probe: str = ""
    table: str = ""
    time: str = ""

    @property
    def skipped(self) -> bool:
        """Whether the clip cannot be judged, as that person says."""
        return not self.states

    @cached_property
    def marked(self) -> dict[str, str]:
        """The classes that are not absent, with their states."""
        return marked(self.states)

    def named(self, state: str) -> list[str]:
        """Return the classes that were said to be PRESENT, ABSENT or UNSURE."""
        return [name for name, said in self.states.items() if said == state]


def marked(states: Mapping[str, str]) -> dict[str, str]:
    """Return the classes that are not absent, with their states."""
    return {name: state for name, state in states.items() if state != ABSENT}


@dataclass(frozen=True)
class JournalContent:
    """A journal as it stands: answers that were taken back are gone.

    classes  of the last line, in the order in which they came up
    added    classes that this person has added, with how many answers stood by then
    """

    annotator: str
    one_label: bool
    classes: list[str]
    answers: list[Answer]
    added: dict[str, int] = field(default_factory=dict)

    @property
    def last_added(self) -> str:
        """The class that this person has added since their last answer that stands; "" where there is none."""
        return next((name for name, stood in reversed(self.added.items()) if stood >= len(self.answers)), "")

    @property
    def first_answers(self) -> list[Answer]:
        """Answers to clips that the person had not answered before; those that came again measure consistency alone."""
        return [answer for answer in self.answers if not answer.again]


def journal_path(folder: str | Path, annotator: str) -> Path:
    """Return where somebody's journal lies."""
    if not is_name(check_name(annotator)):
        raise OscineError(f"the name {shown(annotator)} has half a letter, or too many; choose another")
    return Path(folder) / f"{annotator}{SUFFIX}"


def find_journals(folder: str | Path) -> list[Path]:
    """Return the journals in a folder, by name."""
    return sorted(Path(folder).glob(f"*{SUFFIX}"))


def read_journal(path: str | Path) -> JournalContent:
    """Read a journal as it stands."""
    path = Path(path)
    return _replay(path, _whole_lines(_read(path)))


def check_kind(content: JournalContent, path: Path, *, one_label: bool) -> None:
    """Raise where a journal is of another kind of labels: of one class a clip, or of any number."""
    if content.one_label != one_label:
        was, now = ("one class" if one else "any number of classes" for one in (content.one_label, one_label))
        raise OscineError(f"{path} was begun with {was} a clip, this call asks for {now} a clip; call it as then")


def hold(path: Path, doing: str, remedy: str) -> Lock:
    """Hold a file in a folder of labels alone, which is made; an error names who has it. doing, remedy: for that."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        return lock_exclusive(path.with_name(f".{path.name}.lock"), doing, remedy)
    except OSError as error:
        raise OscineError(f"{path} cannot be written: {error.strerror or error}; choose another folder") from None


class Journal(AbstractContextManager["Journal"]):
    """A journal that this process alone writes, until it is closed.

    one_label: whether a clip has exactly one class. classes: to ask for, beside those of earlier calls.
    """

    def __init__(self, path: str | Path, classes: Sequence[str], *, one_label: bool = False) -> None:
        self.path = Path(path)
        check_class_names(classes, "the list of classes", "give names, each once")
        self.held: Lock | None = hold(self.path, f"writing {self.path}", "take another name")
        try:
            self._open(classes, one_label)
        except BaseException:
            self.close()
            raise

    def _open(self, classes: Sequence[str], one_label: bool) -> None:
        """Take up what is there, or begin; half a line at the end, of a call that was killed, is cut off."""
        content = _read(self.path) if self.path.exists() else b""
        lines = _whole_lines(content)
        self.size = sum(len(line) + 1 for line in lines)
        if not lines:
            self.content = JournalContent(check_name(self.path.stem), one_label, [*classes], [])
            begin = {"annotator": self.content.annotator, "one_label": one_label, "classes": [*classes]}
            return self._append("begin", {"oscine": __version__, **begin})
        self.content = _replay(self.path, lines)
        check_kind(self.content, self.path, one_label=one_label)
        for name in classes:
            self.add_class(name)

    def add_class(self, name: str, *, own: bool = False) -> None:
        """Ask for one more class from now on; one that is known already changes nothing. own: as this person wants."""
        if name in self.content.classes:
            return
        check_class_names([name], "the new class", "give another name")
        self._append("class", {"name": name, "own": own})
        _add_class(self.content, name, own=own)

    def remove_class(self, name: str) -> None:
        """Ask for a class no more, and as if no answer had been asked for it."""
        if name in self.content.classes:
            self._append("remove", {"name": name})
            _remove_class(self.content, name)

    def add(self, answer: Answer) -> Answer:
        """Put an answer on disk, with the time of the day; return it so."""
        answer = replace(answer, annotator=self.content.annotator, time=_now())
        self._append("answer", {one.name: getattr(answer, one.name) for one in fields(answer)})
        self.content.answers.append(answer)
        return answer

    def mark_audit(self, clip: Clip) -> None:
        """Make the first answer to a clip one of those that are judged by."""
        place = _unmarked(self.content.answers, clip)
        if place is not None:
            self._append("audit", {"clip": clip})
            _mark(self.content.answers, place)

    def undo(self) -> Answer | None:
        """Take back the last answer that stands, and return it; None where there is none."""
        if not self.content.answers:
            return None
        self._append("undo", {"time": _now()})
        return self.content.answers.pop()

    def _append(self, kind: str, said: dict[str, Any]) -> None:
        """Write a line through to the disk; where that fails, nothing of it stays."""
        line = json.dumps({"kind": kind, **said}, ensure_ascii=False).encode() + b"\n"
        try:
            if not self.size:
                self.path.touch()
            with open(self.path, "r+b") as file:
                self._check_untouched(file)
                try:
                    file.truncate(self.size)  # what a write that failed, or a killed call, has left
                    file.write(line)
                    file.flush()
                    os.fsync(file.fileno())
                except OSError:
                    with suppress(OSError):
                        os.truncate(self.path, self.size)
                    raise
        except FileNotFoundError:
            raise OscineError(f"{self.path} is not there any more; {PUT_BACK}") from None
        except OSError as error:
            raise OscineError(
                f"{self.path} cannot be written: {error.strerror or error}; make room, then answer again"
            ) from None
        self.size += len(line)

    def _check_untouched(self, file: BinaryIO) -> None:
        """Raise where the file does not end a line where this journal did, and go there: nobody else may write it."""
        file.seek(max(self.size - 1, 0))
        if self.size and file.read(1) != b"\n":
            raise OscineError(f"{self.path} was changed by another program; {PUT_BACK}")

    def close(self) -> None:
        held, self.held = self.held, None
        if held:
            held.close()

    def __exit__(self, *_: object) -> None:
        self.close()


def _now() -> str:
    return datetime.now().astimezone().isoformat(timespec="milliseconds")


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        raise OscineError(f"no journal {path}; oscine label page writes one") from None
    except OSError as error:
        raise OscineError(f"{path} cannot be read: {error.strerror}; check the disk") from None


def _whole_lines(content: bytes) -> list[bytes]:
    """Return the lines that were written to their end."""
    return content.split(b"\n")[:-1]


def _replay(path: Path, lines: Sequence[bytes]) -> JournalContent:
    if not lines:
        raise OscineError(f"{path} is empty; oscine label page begins it anew")
    begin = _line(path, 1, lines[0])
    if begin["kind"] != "begin":
        raise OscineError(f"{path}:1 is no beginning of a journal, but {shown(begin['kind'])}; {MEND}")
    check_fields(begin, BEGIN, f"{path}:1", MEND)
    check_version(begin["oscine"], path)
    check_class_names(begin["classes"], f"{path}:1", MEND)
    content = JournalContent(begin["annotator"], begin["one_label"], [*begin["classes"]], [])
    for number, text in enumerate(lines[1:], start=2):
        _take(content, _line(path, number, text), f"{path}:{number}")
    return content


def _line(path: Path, number: int, text: bytes) -> dict[str, Any]:
    source = f"{path}:{number}"
    return check_fields(parse_json(text, source, MEND), {"kind": str}, source, MEND)


def _take(content: JournalContent, line: dict[str, Any], source: str) -> None:
    """Take one line into what the lines before it came to."""
    kind = line.pop("kind")
    if kind == "answer":
        content.answers.append(_answer(line, source, content.classes))
    elif kind == "audit":
        place = _unmarked(content.answers, _clip(line, source))
        if place is not None:
            _mark(content.answers, place)
    elif kind == "undo" and content.answers:
        content.answers.pop()
    elif kind == "class":
        check_fields(line, {"name": str}, source, MEND)
        check_class_names([*content.classes, line["name"]], source, MEND)
        _add_class(content, line["name"], own=line.get("own") is True)
    elif kind == "remove":
        check_fields(line, {"name": str}, source, MEND)
        _remove_class(content, line["name"])
    else:
        nothing = kind == "undo"
        raise OscineError(f"{source} is {'an undo of nothing' if nothing else f'of kind {shown(kind)}'}; {MEND}")


def _add_class(content: JournalContent, name: str, *, own: bool) -> None:
    content.classes.append(name)
    if own:
        content.added[name] = len(content.answers)


def _remove_class(content: JournalContent, name: str) -> None:
    content.classes[:] = [one for one in content.classes if one != name]
    content.added.pop(name, None)
    for place, answer in enumerate(content.answers):
        if name in answer.states:
            states = {one: state for one, state in answer.states.items() if one != name}
            content.answers[place] = replace(answer, states=states)


def _answer(line: dict[str, Any], source: str, classes: Sequence[str]) -> Answer:
    check_fields(line, {"states": dict[str, str], "predicted": dict[str, float]}, source, MEND)
    clip = _clip(line, source)
    if unknown := next((name for name in line["states"] if name not in classes), None):
        raise OscineError(f"{source} answers for a class {shown(unknown)}, which no line before has; {MEND}")
    if wrong := next((state for state in line["states"].values() if state not in STATES), None):
        raise OscineError(f"{source}: a class is {shown(wrong)}, expected {', '.join(STATES)}; {MEND}")
    return as_record(Answer, line | {"clip": clip}, source, MEND)


def _clip(line: dict[str, Any], source: str) -> Clip:
    check_fields(line, {"clip": list[Any]}, source, MEND)
    clip = Clip(*line["clip"]) if len(line["clip"]) == len(Clip._fields) else None
    if clip is None or not all(map(fits, clip, (str, float, float))):
        raise OscineError(f"{source}: clip is {shown(line['clip'])}, expected recording, start and end; {MEND}")
    return clip


def _unmarked(answers: Sequence[Answer], clip: Clip) -> int | None:
    """Find the first answer to a clip; None where there is none, or it is one of those that are judged by already."""
    place = next((place for place, answer in enumerate(answers) if answer.clip == clip and not answer.again), None)
    return None if place is None or answers[place].audit else place


def _mark(answers: list[Answer], place: int) -> None:
    """Mark an answer as one that is judged by."""
    answers[place] = replace(answers[place], audit=True)
