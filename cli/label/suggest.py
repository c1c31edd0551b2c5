"""`oscine label suggest TABLE --out queue.csv`: write which clips to label next, for other programs."""

from __future__ import annotations

from pathlib import Path

from oscine.cli.console.command import say_loading
from oscine.cli.console.output import progress_bar
from oscine.cli.label.next_call import LABELS, next_call
from oscine.models.errors import Misuse, OscineError


def suggest(
    table: Path,
    /,
    out: Path,
    count: int = 50,
    probe: Path | None = None,
    labels: Path = LABELS,
    recordings: Path | None = None,
    raven: Path | None = None,
    audacity: Path | None = None,
    label_studio: Path | None = None,
    snippets: Path | None = None,
    strategy: str = "",
    one_label: bool = False,
    audit: float = 0.1,
    seed: int = 0,
    column: str | None = None,
    overwrite: bool = False,
) -> None:
    """Write which clips of a table to label next, without the page: for spreadsheets, Raven, Audacity, any player.

    Fill in the column labels of OUT, or the labels of Raven's or Audacity's file: names with ";" between them, "?" behind
    one that you are unsure of, "-" where nothing sounds, "?" alone where the clip cannot be judged, nothing where you have
    not listened. oscine label read takes it back. Clips are chosen by what was labelled so far, or by what a probe says; a
    tenth of them at random, by which everything is judged later on.

    Args:
        table: of embeddings, as oscine embed writes it, in Parquet.
        out: the queue to write, FILE.csv.
        count: clips to choose.
        probe: folder of a fitted probe, whose answers choose in place of the labels.
        labels: folder of what was labelled so far, if anything was.
        recordings: the folder, or list, that was embedded; for Raven, Audacity and snippets. Clips are of what is there.
        raven: also write a Raven selection table, FILE.txt.
        audacity: also write Audacity labels, a file a recording, in this folder.
        label_studio: also write tasks for Label Studio to import, FILE.json.
        snippets: also write each clip as a WAV file, in this folder.
        strategy: that chooses; by default the one that does best for the kind of labels.
        one_label: each clip has exactly one class, where there are no labels or probe to tell.
        audit: share of the clips that come at random.
        seed: of everything that is drawn.
        column: of the table to choose by, where it has several.
        overwrite: replace what is there.
    """
    if out.suffix != ".csv":
        raise Misuse(f"{out} must end in .csv; call it {out.with_suffix('.csv').name}")
    if not recordings and (raven or audacity or label_studio or snippets):
        raise Misuse(
            "files for Raven and Audacity, and snippets, are of recordings; give their folder with --recordings"
        )
    for path in filter(None, (out, raven, audacity, label_studio, snippets)):
        if path.exists() and not overwrite:
            raise OscineError(f"{path} exists already; choose another name, or replace it with --overwrite")
    say_loading("label suggest", str(table))
    from oscine.probe.label.loop.settings import LoopSettings
    from oscine.probe.label.queue import files
    from oscine.probe.label.queue.queue import QueueSettings, make_queue

    loop = LoopSettings(one_label=one_label, strategy=strategy, batch=count, seed=seed, audit=audit)
    queue = make_queue(QueueSettings(table, count, labels, probe, column, recordings, loop))
    places = queue.places
    files.write_queue(queue, out)
    print(f"{out}: {len(queue.chosen)} clips, chosen by {queue.reason}")
    if raven:
        files.write_queue_for_raven(queue, raven, places)
        print(f"{raven}: the same for Raven, to be opened with the recordings in the order of their names")
    if audacity:
        files.write_queue_for_audacity(queue, audacity, places)
        print(f"{audacity}: the same for Audacity, a label track a recording")
    if label_studio:
        files.write_queue_for_label_studio(queue, label_studio, places)
        print(f"{label_studio}: the same for Label Studio")
    if snippets:
        with progress_bar() as bar:
            files.write_snippets(queue, snippets, places, bar.task("snippets"))
        print(f"{snippets}: the same as sounds")
    shared = {"labels": labels, "column": column, "seed": seed, "one-label": queue.one_label}
    more = {"table": table, "recordings": recordings if raven else None}
    print("\n" + next_call("read", raven or out, options={**more, **shared}))
