"""Put what the loop knows into the words and numbers that the page shows."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

from oscine.models.audio.load import AudioError, audio_info
from oscine.models.recordings.timestamps import LOCAL, Clock
from oscine.models.text.safe_text import escape_controls
from oscine.models.text.words import counted, duration
from oscine.probe.label.journal import PRESENT, UNSURE, Answer, Clip
from oscine.probe.label.loop.batches import Chosen
from oscine.probe.label.loop.loop import LabelLoop
from oscine.probe.label.page.sounds import AROUND, SLOWER, ULTRASOUND

VIEW = 9  # classes that keys toggle

CLOCK = Clock(LOCAL)


def describe(loop: LabelLoop, places: Mapping[str, Path], who: str, notice: str = "") -> dict[str, Any]:
    """Describe to somebody's page what there is to see: the clip to show, those that follow, and how far it is."""
    with loop.changed:
        ahead = loop.ahead(who)
        contents = loop.contents()
        own = loop.journals[who].content.answers
        answers = [answer for content in contents for answer in content.first_answers]
        counts = count_states(answers, loop.classes)
        position = len(own)
        said = {
            "who": who,
            "notice": notice or loop.notice,
            "answered": position,
            "classes": [*loop.classes],
            "one_label": loop.settings.one_label,
            "slower": SLOWER,
            "progress": progress_line(own, answers, len(contents)),
            "told": told(counts),
            "counts": [[name, present, unsure] for name, (present, unsure) in counts.items()],
            "signs": loop.progress.lines,
        }
        views = [describe_choice(loop, one, counts) for one in ahead]
    # Recordings are opened while others may answer.
    clips = [describe_clip(loop, one, places) for one in ahead]
    pairs = enumerate(zip(clips, views, strict=True), start=position)
    return said | {"ahead": [{"position": place, **clip, **view} for place, (clip, view) in pairs]}


def describe_choice(loop: LabelLoop, chosen: Chosen, counts: Mapping[str, tuple[int, int]]) -> dict[str, Any]:
    """Describe what the probe thinks of a clip, which classes keys toggle, and why it was chosen."""
    p = loop.thinks(chosen.number)
    view = in_view(p, counts, loop.classes)
    return {"probabilities": p, "view": view, "why": why(chosen, p, one_label=loop.settings.one_label)}


def describe_clip(loop: LabelLoop, chosen: Chosen, places: Mapping[str, Path]) -> dict[str, Any]:
    """Describe a clip: its name, when it was recorded, and how its stretch lies in the recording."""
    clip = loop.table.clips[chosen.number]
    made = {"id": chosen.number, "name": escape_controls(Path(clip.recording).name), "when": moment(clip)}
    stretch = {"start": clip.start, "end": clip.end, "first": max(0.0, clip.start - AROUND), "last": clip.end + AROUND}
    try:
        info = audio_info(places[clip.recording])
    except AudioError as error:
        return {**made, **stretch, "highest": 1, "ultrasound": False, "error": error.reason}
    stretch["last"] = min(stretch["last"], info.seconds)
    return {**made, **stretch, "highest": info.sample_rate / 2, "ultrasound": info.sample_rate >= ULTRASOUND}


def moment(clip: Clip) -> str:
    """Say where in which recording a clip is, when that was, and in which folder: often the site."""
    began = CLOCK.start_time(clip.recording)
    when = f"{began + timedelta(seconds=clip.start):%Y-%m-%d %H:%M:%S}" if began else ""
    folder = escape_controls(Path(clip.recording).parent.as_posix())
    return " · ".join(
        part for part in (when, f"{clip.start:g} to {clip.end:g} s", folder if folder != "." else "") if part
    )


def in_view(p: Mapping[str, float], counts: Mapping[str, tuple[int, int]], classes: Sequence[str]) -> list[str]:
    """Return the classes that keys toggle: the likeliest, before there is a probe the most frequent; in their own order."""
    rank = sorted(classes, key=lambda name: (-p.get(name, 0.0), -counts[name][0]))
    return [name for name in classes if name in {*rank[:VIEW]}]


def why(chosen: Chosen, p: Mapping[str, float], *, one_label: bool) -> str:
    """Say why a clip was chosen; one to judge by, or one that comes again, looks like the others of its batch."""
    by = f"batch {chosen.batch + 1} by {chosen.strategy.replace('_', ' ')} and chance"
    if not p:
        return by
    unsure = 1 - max(p.values()) if one_label else max(1 - 2 * abs(share - 0.5) for share in p.values())
    return f"{by} · the probe is unsure by {unsure:.0%}"


def count_states(answers: Sequence[Answer], classes: Sequence[str]) -> dict[str, tuple[int, int]]:
    """Count in how many answers each class is present, and unsure."""
    counts = Counter(marked for answer in answers for marked in answer.marked.items())
    return {name: (counts[name, PRESENT], counts[name, UNSURE]) for name in classes}


def progress_line(own: Sequence[Answer], answers: Sequence[Answer], people: int) -> str:
    """Say how far it is: answers, minutes, and what others have answered."""
    seconds = sum(answer.taken for answer in own)
    parts = [f"{len(own)} answered", duration(seconds)] if own else ["press ? for the keys"]
    if people > 1:
        parts.append(f"{counted(len(answers), 'answer')} by {people} people")
    return " · ".join(parts)


def told(counts: Mapping[str, tuple[int, int]]) -> str:
    """Sum up the labels in a line."""
    heard = sum(present > 0 for present, _ in counts.values())
    return f"{heard} of {counted(len(counts), 'class', 'classes')} heard, and whether to go on"
