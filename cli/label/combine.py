"""`oscine label combine FILES --out labels.csv`: combine what several people said into one labelled table."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from rich.box import SIMPLE_HEAD
from rich.table import Table

from oscine.cli.console.command import say_loading
from oscine.cli.console.output import plain, print_table, progress_bar

if TYPE_CHECKING:
    from oscine.probe.label.votes.annotators import AnnotatorReport, Mistake


def combine(
    files: list[Path],
    /,
    out: Path,
    method: str | None = None,
    recordings: Path | None = None,
    embeddings: Path | None = None,
    column: str | None = None,
    classes: Path | None = None,
    without: str = "",
    unsure: str = "?",
    seconds: float | None = None,
    label_column: str | None = None,
    min_share: float = 0.0,
    targets: Path | None = None,
    opinions: Path | None = None,
    seed: int = 0,
    overwrite: bool = False,
) -> None:
    """Combine what several people said of the same clips into one labelled table.

    FILES are journals of oscine label page (.jsonl, or the folder of them); tables (.csv, .tsv, .parquet); a folder of
    Raven or Audacity tables of one person, or one such table (.txt), called after that person. A table has the columns
    path, start and end where clips are stretches, annotator (without it, the file is called after that person), and either
    label, one a row; or labels, with ";" between several and "?" behind one that is unsure, the others being absent, or
    unknown where "?" stands by itself; or a row a class with label and state (present, absent, unsure) or points. It may
    have seconds, that an answer took, and audit.

    OUT is what oscine probe --table takes: path, start, end, label (or labels), annotator (who was asked), share (how sure
    the label is) and audit. Left out are clips that nobody could judge, those of which a class was not asked for (--without
    leaves out the class instead), and those whose votes are tied. Printed is how each annotator did: agreement with what
    most others said; how often they name what sounds, and do not name what does not, by what the votes come to.

    Methods, for clips of one class: majority; dawid_skene, a confusion matrix an annotator, from 2 votes a clip on;
    one_coin, one skill an annotator; likelihoods, of points. With --embeddings, a probe helps: probe, on soft labels and out
    of fold, which was measured to be nearest to the truth; crowd_layer, trace_reg, geo_reg_w, geo_reg_f, union_net, conal,
    annot_mix, fitted to the votes themselves. For clips of several classes: majority; presence, two rates an annotator;
    probe.

    Args:
        files: journals, tables of votes, folders of selection tables.
        out: the labelled table to write, FILE.csv.
        method: how votes are combined; by default probe with --embeddings, likelihoods of points, else majority.
        recordings: folder that names of recordings are relative to; by default the one in which a table lies.
        embeddings: table of oscine embed with the clips.
        column: of several in that table.
        classes: text file of all classes, one a line, so that a vote for another one is refused.
        without: classes that are left out, with ";" between them.
        unsure: labels that mean that somebody could not tell, with ";" between them.
        seconds: of the clips that recordings with selection tables are cut into.
        label_column: of selection tables that holds the labels, if not Species.
        min_share: clips whose label is less sure are left out; 0.7 is usual, 0 keeps all.
        targets: also write how likely each class is of every clip, FILE.csv, to learn from softly.
        opinions: also write which clips should have a second opinion, FILE.csv, the most unsure first, and of whom.
        seed: of what is drawn: folds, first weights.
        overwrite: replace what is there.
    """
    from oscine.models.text.class_names import read_class_list
    from oscine.probe.label.votes.combine import CombineSettings
    from oscine.probe.label.votes.read import VoteSettings, read_votes
    from oscine.probe.label.votes.table import TableSettings, write_combined

    table = TableSettings(out, min_share, targets, opinions, overwrite)
    how = CombineSettings(method, embeddings, column, seed)
    known = read_class_list(classes) if classes else None
    votes = read_votes(files, VoteSettings(recordings, known, _parts(without), _parts(unsure), seconds, label_column))
    if embeddings:
        say_loading("label combine", str(embeddings))
    with progress_bar() as bar:
        written = write_combined(votes, how, table, progress=bar.task("fitting"))
    print_table(annotators(written.reports))
    print(f"{out}: {written.clips} clips, by {written.combined.method} ({written.combined.reason})")
    for reason, count in written.left_out.items():
        print(f"left out, since {reason}: {count}")
    for path in filter(None, (targets, opinions)):
        print(path)
    print(f"\noscine probe linear --encoder bird_mae_tiny --table {out}")


def annotators(reports: list[AnnotatorReport]) -> Table:
    """Make the table of the report an annotator; "" where nothing is known."""
    shown = Table(
        "annotator", "clips", "with others", "agreement", "sensitivity", "specificity", "seconds", "with self", "most often",
        box=SIMPLE_HEAD,
    )  # fmt: skip
    for one in reports:
        rates = (one.agreement, one.sensitivity, one.specificity)
        agreement, sensitivity, specificity = ("" if rate is None else f"{rate:.2f}" for rate in rates)
        shown.add_row(
            plain(one.name), str(one.votes), str(one.compared), agreement, sensitivity, specificity,
            "" if one.seconds is None else f"{one.seconds:.1f}",
            "" if one.consistency is None else f"{one.consistency:.2f}",
            plain("; ".join(map(_in_words, one.mistakes[:2]))),
        )  # fmt: skip
    return shown


def _in_words(mistake: Mistake) -> str:
    clips = f"({mistake.clips:.0f})"
    if not mistake.said:
        return f"misses {mistake.true} {clips}"
    return f"says {mistake.said}{f' for {mistake.true}' if mistake.true else ' where it is not'} {clips}"


def _parts(text: str) -> list[str]:
    return [part.strip() for part in text.split(";") if part.strip()]
