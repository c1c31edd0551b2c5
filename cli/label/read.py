"""`oscine label read FILES --table TABLE`: take filled-in queues back."""

from __future__ import annotations

import getpass
from pathlib import Path

from oscine.cli.console.command import say_loading
from oscine.cli.label.next_call import LABELS, next_call


def read(
    files: list[Path],
    /,
    table: Path,
    labels: Path = LABELS,
    name: str = "",
    classes: Path | None = None,
    recordings: Path | None = None,
    one_label: bool = False,
    seed: int = 0,
    column: str | None = None,
) -> None:
    """Read queues that somebody has filled in, into that person's journal, LABELS/NAME.jsonl.

    FILES are those of oscine label suggest: CSV, a Raven selection table, a folder of Audacity labels; Hoplite's
    annotations; or a folder of snippets that the review of BirdNET-Analyzer has sorted, SPECIES/Positive and
    SPECIES/Negative, which say nothing of other species. Rows without a label are left out, clips that have an answer in
    the journal keep it: the same file can be read again when more of it is filled in. oscine label page and suggest go on
    from there.

    Args:
        files: queues with labels filled in.
        table: of embeddings that they were made of.
        labels: folder of the answers.
        name: of the person who has filled them in; by default the one of this account.
        classes: text file of all classes, one a line, so that a misspelt one is refused.
        recordings: the folder, or list, that was embedded; for Raven and Audacity.
        one_label: each clip has exactly one class.
        seed: that the queue was made with.
        column: of the table, where it has several.
    """
    say_loading("label read", str(table))
    from oscine.models.text.class_names import read_class_list
    from oscine.probe.label.loop.clips import read_clips
    from oscine.probe.label.queue.filled import FilledSettings, read_filled

    known = read_class_list(classes) if classes else ()
    who = name or getpass.getuser()
    settings = FilledSettings(read_clips(table, column), labels, who, recordings, known, one_label, seed)
    came = read_filled(files, settings)
    print(
        f"{labels / who}.jsonl: {came.taken} answers taken, {came.before} there before, {came.empty} clips not filled in"
    )
    shared = {"labels": labels, "column": column, "seed": seed}
    print("\n" + next_call("suggest", table, options={"out": "next.csv", **shared}))
