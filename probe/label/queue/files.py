"""Write a queue for other programs: a table, a Raven selection table, Audacity labels, snippets of sound."""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Mapping
from pathlib import Path

import soundfile
from pandas import DataFrame

from oscine.models.audio.load import audio_info, load_audio
from oscine.models.files import write_whole
from oscine.models.progress import ShowProgress, show_nothing
from oscine.models.text.safe_text import as_cell
from oscine.probe.label.journal import Clip
from oscine.probe.label.queue.queue import Queue
from oscine.probe.tasks.selection_tables import write_audacity, write_raven

COLUMNS = ["path", "start", "end", "labels", "strategy", "batch", "table"]  # labels is empty, to be filled in


def write_queue(queue: Queue, out: Path) -> None:
    """Write a queue as CSV, to be filled in and read back."""
    text = io.StringIO()
    rows = csv.writer(text, lineterminator="\n")
    rows.writerow(COLUMNS)
    for chosen in queue.chosen:
        recording, start, end = queue.table.clips[chosen.number]
        rows.writerow([as_cell(recording), start, end, "", chosen.strategy, chosen.batch, queue.table.fingerprint])
    write_whole(out, text.getvalue().encode())


def write_queue_for_raven(queue: Queue, out: Path, places: Mapping[str, Path]) -> None:
    """Write a queue as a selection table, to be opened with the recordings that it is about, in the order of their names."""
    clips = in_order(queue)
    recordings = {str(places[name].absolute()): audio_info(places[name]) for name in _names(clips)}
    write_raven(out, _annotations(clips, places), recordings)


def write_queue_for_audacity(queue: Queue, folder: Path, places: Mapping[str, Path]) -> None:
    """Write a queue as a label track for each recording, NAME.txt, in a new folder."""
    clips = in_order(queue)
    for name in _names(clips):
        path = folder / f"{name}.txt"
        path.parent.mkdir(parents=True, exist_ok=True)
        write_audacity(path, _annotations([clip for clip in clips if clip.recording == name], places))


def write_queue_for_label_studio(queue: Queue, out: Path, places: Mapping[str, Path]) -> None:
    """Write a queue as Label Studio imports tasks: the recording, and where in it the clip is."""
    clips = [queue.table.clips[chosen.number] for chosen in queue.chosen]
    tasks = [{"data": {"audio": str(places[clip.recording].absolute()), **clip._asdict()}} for clip in clips]
    write_whole(out, json.dumps(tasks, indent=1, ensure_ascii=False).encode())


def write_snippets(
    queue: Queue, folder: Path, places: Mapping[str, Path], progress: ShowProgress = show_nothing
) -> list[Path]:
    """Write each clip of a queue as a WAV file of its own, in its order."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for number, chosen in enumerate(queue.chosen, start=1):
        clip = queue.table.clips[chosen.number]
        rate = audio_info(places[clip.recording]).sample_rate
        waveform = load_audio(places[clip.recording], rate, clip.start, clip.end - clip.start)
        name = re.sub(r"[^\w.-]+", "_", Path(clip.recording).stem)[:80]
        paths.append(folder / f"{number:04d}_{name}_{clip.start:g}s_{clip.end:g}s.wav")
        file = io.BytesIO()
        soundfile.write(file, waveform.numpy(), rate, format="WAV")
        write_whole(paths[-1], file.getvalue())
        progress(number, len(queue.chosen))
    return paths


def in_order(queue: Queue) -> list[Clip]:
    """Return the clips of a queue by recording and time."""
    return sorted(queue.table.clips[chosen.number] for chosen in queue.chosen)


def _names(clips: list[Clip]) -> list[str]:
    return list(dict.fromkeys(clip.recording for clip in clips))


def _annotations(clips: list[Clip], places: Mapping[str, Path]) -> DataFrame:
    rows = [(str(places[clip.recording].absolute()), clip.start, clip.end, "") for clip in clips]
    return DataFrame(rows, columns=["path", "start", "end", "label"])
