"""`oscine predict RECORDINGS`: write what a fitted probe says of recordings."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING

from oscine.cli.console.command import LISTED, say_if_slow, say_loading
from oscine.cli.console.output import progress_bar
from oscine.cli.encode.messages import Reporter, print_summary, say_if_lost
from oscine.models.embed.settings import SHORTEST_CLIP
from oscine.models.errors import Misuse
from oscine.models.text.words import counted

if TYPE_CHECKING:
    from oscine.probe.deploy.fitted_probe import FittedProbe


def predict(
    recordings: list[Path],
    /,
    probe: Path,
    out: Path | None = None,
    detections: Path | None = None,
    threshold: float | None = None,
    classes: Path | None = None,
    hop: float | None = None,
    precision: str = "auto",
    clock: str | None = None,
    channel: str = "mix",
    shortest: float = SHORTEST_CLIP,
    shard: str | None = None,
    batch_size: int | None = None,
    workers: int | None = None,
    device: str = "auto",
    overwrite: bool = False,
) -> int:
    """Write what a fitted probe says of recordings: a table of probabilities, and what was heard when.

    RECORDINGS is a folder, a recording, a list or several of the first two, as oscine embed takes them. OUT gets the columns
    file, start_time, end_time (seconds) and one for every class: its probability in that clip, or in that frame if the probe
    answers frame by frame. Where files could not be used, or are cut short, OUT.errors.csv lists them.

    With --detections, rows in which a class reaches its threshold become one detection as long as they follow one another.
    FILE.txt is a selection table that Raven opens together with all the recordings, in the order of their names; any other
    name is a new folder with a track of labels for Audacity, NAME.txt, for every recording NAME. OUT may then be left out:
    the table is FILE.parquet beside FILE.txt, or beside the folder.

    Whatever stops it, the same call goes on where it was, and the table comes out the same; a call with other arguments is
    refused, --overwrite starts anew. A table that is finished is not made again for its detections: another threshold takes
    seconds. Nor does --overwrite make it again where FILE.txt is there to be replaced, and the table is what this call would
    make of the same recordings; without --detections it does.

    Exit code: 0 every recording is in the table, whole; 3 finished, but OUT.errors.csv lists some; 1 failed.

    Args:
        recordings: a folder, a recording, or a list of recordings; several folders and recordings, too.
        probe: the folder of a run of oscine probe, or of a fitted probe; its encoder is opened with it. Or weights by
            name that a classifier comes with, such as convnext_base.xcl: thousands of birds, without a label of yours.
            It calls them by eBird's codes; oscine models says how others do.
        out: the table to write, FILE.parquet, or FILE.csv for Excel and R; FILE.npz is possible without --detections.
        detections: what was heard, FILE.txt for Raven or a new folder for Audacity's labels.
        threshold: probability that makes a detection, of all classes; by default each class's own in the probe, else 0.5.
        classes: a text file of the probe's own names of classes, one a line: only these have columns and detections.
        hop: seconds from the start of one clip to the next; a clip's length by default.
        precision: of the encoder: float32, bfloat16, or auto: bfloat16 on a GPU that has it, else float32.
        clock: adds the column recorded: when a clip began by its recorder's file name, in UTC, local or such as Europe/Rome.
        channel: that is read: mix (the mean of all), left, right, a number from 1, or each, a row a channel.
        shortest: share of a clip that a recording's last one must have to be a row, unless it is the only one; 0 keeps all.
        shard: only one of several jobs' share, such as 2/8; oscine merge joins their tables.
        batch_size: clips that the encoder takes at a time; 16 on a CPU, else 64.
        workers: processes that read ahead, 0 to read in between; by default what the machine has to spare.
        device: where the encoder runs: cpu, cuda, mps; auto: the best that is there.
        overwrite: replace OUT, a selection table, and what an unfinished call has left.
    """
    from oscine.models.audio.shard import ALL, parse_shard
    from oscine.models.embed.journal import Journal
    from oscine.models.embed.settings import EmbedSettings
    from oscine.models.embed.table import check_target, read_listed
    from oscine.models.encoders.base.devices import check_device, moved
    from oscine.models.encoders.base.precision import FLOAT32, check_precision
    from oscine.models.recordings.inputs import find_inputs
    from oscine.models.text.class_names import read_class_list
    from oscine.probe.deploy.arguments import check_class_columns, check_detections, check_threshold
    from oscine.probe.deploy.named_probe import check_probe
    from oscine.probe.tasks.class_names import as_known

    called = time.monotonic()
    target, share = check_target(table_of(out, detections), recordings), ALL if shard is None else parse_shard(shard)
    journal = Journal(target)
    made = detections is not None and target.exists() and (overwrite or not journal.plan())
    if overwrite or not made:
        journal.check_free(overwrite)
    check_options(target, detections, threshold, shard)
    if detections:
        check_detections(detections, overwrite)
    check_threshold(threshold)
    settings = EmbedSettings(
        hop=hop, dtype=FLOAT32, clock=clock, channel=channel, shortest=shortest, shard=share, overwrite=overwrite,
        batch_size=batch_size, workers=workers,
    )  # fmt: skip
    check_precision(precision)
    check_device(device)
    facts = check_probe(probe)
    check_class_columns(facts["classes"] if facts else [])
    wanted = read_class_list(classes) if classes else None
    if wanted and facts:
        wanted = as_known(wanted, facts["classes"])
    with say_if_slow("predict", "finding the recordings"):
        inputs = find_inputs(recordings[0] if len(recordings) == 1 else recordings)
    say_loading("predict", str(probe))

    from oscine.models.embed.embed import embed_to_table
    from oscine.probe.deploy.detections import is_current, write_detections
    from oscine.probe.deploy.negatives import describe_false_positives
    from oscine.probe.deploy.predict import Probabilities, check_hop
    from oscine.probe.deploy.saved_probe import load_probe

    fitted = load_probe(probe)
    if wanted:
        fitted = fitted.only(wanted)
    check_hop(fitted, hop)
    moved(fitted.encoder, device)
    fitted.probe.to(fitted.encoder.device)
    if made and overwrite and detections:
        made = (
            detections.exists()
            and not journal.folder.exists()
            and is_current(fitted, target, inputs, precision, settings=settings)
        )
        if made:
            print(f"{target}: is what this call would make, and not made again")
    if made:
        listed = read_listed(target)
    else:
        with say_if_lost(target), progress_bar() as bar:
            extractor = Probabilities(fitted, precision)
            summary = embed_to_table(extractor, inputs, target, settings=settings, watcher=Reporter(bar, called))
        listed = summary.listed
        print_summary(summary, "frame" if fitted.frame_seconds else "clip")
    if detections:
        count = write_detections(fitted, target, inputs, detections, threshold=threshold, settings=settings)
        print(
            f"{detections}: {counted(count, 'detection')}, of probabilities from {describe_thresholds(fitted, threshold)}"
        )
        if threshold is None and (said := describe_false_positives(fitted)):
            print(said)
    return LISTED if listed else 0


def describe_thresholds(fitted: FittedProbe, threshold: float | None) -> str:
    """Say from which probability on there is a detection."""
    from oscine.probe.deploy.detections import thresholds_of
    from oscine.probe.tasks.class_names import listed

    found = thresholds_of(fitted, threshold).tolist()
    if len(set(found)) == 1:
        return f"{found[0]:.3g} on"
    return listed([f"{value:.2f} on ({name})" for name, value in zip(fitted.classes, found, strict=True)])


def check_options(target: Path, detections: Path | None, threshold: float | None, shard: str | None) -> None:
    if threshold is not None and detections is None:
        raise Misuse("--threshold is for detections, the table has every probability; name them with --detections")
    if detections and shard:
        raise Misuse("detections are of all shards; join the tables with oscine merge, then call without --shard")
    if detections and target.suffix not in (".parquet", ".csv"):
        raise Misuse(
            f"detections are read from a table FILE.parquet or FILE.csv, not {target.name}; call it one of these"
        )


def table_of(out: Path | None, detections: Path | None) -> Path:
    """Return the table to write: beside the detections, under their name, where none is named."""
    if out:
        return out
    if not detections:
        raise Misuse("nothing to write; name a table (--out birds.csv), detections (--detections birds.txt), or both")
    return detections.with_name(f"{detections.name.removesuffix('.txt')}.parquet")
