"""`oscine embed RECORDINGS`: turn recordings into a table of embeddings."""

from __future__ import annotations

import time
from pathlib import Path

from oscine.cli.console.command import LISTED, say_if_slow, say_loading
from oscine.cli.console.output import progress_bar
from oscine.cli.encode.messages import Reporter, print_summary, say_if_lost
from oscine.models.embed.settings import SHORTEST_CLIP
from oscine.models.errors import Misuse


def embed(
    recordings: list[Path],
    /,
    out: Path,
    model: str | None = None,
    checkpoint: Path | None = None,
    probe: Path | None = None,
    hop: float | None = None,
    layers: str | None = None,
    pools: str = "pooled",
    dtype: str = "float32",
    precision: str = "auto",
    clock: str | None = None,
    channel: str = "mix",
    shortest: float = SHORTEST_CLIP,
    shard: str | None = None,
    batch_size: int | None = None,
    workers: int | None = None,
    device: str = "auto",
    compile: bool = False,
    random_weights: bool = False,
    overwrite: bool = False,
) -> int:
    """Turn recordings into a table of embeddings, one row a clip.

    RECORDINGS is a folder, which is searched with all folders below it for WAV, FLAC, Ogg, Opus, MP3, AIFF, CAF and other
    recordings, of any rate, length and number of channels; or one recording; or a list of them: a table (.csv, .tsv,
    .parquet) with a column path, or a text (.txt) with a path a line, relative to the list's folder. Rows of a table with
    start and end, in seconds, are stretches, each cut into clips by itself. Or several folders and recordings, one after the
    other, such as night/*.wav; each is then named as it is given.

    OUT gets the columns file, start_time, end_time (seconds) and embedding. file is the name below the folder, a single
    recording's own name, or the path as the list has it. The last clip of a recording is filled up as in the encoder's
    training; its end_time is where the sound ends. Where files could not be used, or are cut short, OUT.errors.csv lists
    them; of the latter the readable part is embedded.

    First it says what it found and what it will cost. Whatever stops it before its end (a crash, a full disk, kill -9,
    Ctrl-C): the same call goes on where it was, and the table comes out the same; a call with other arguments is refused,
    --overwrite starts anew. Until the table is finished, its parts lie in OUT.journal. Meanwhile a second call with this OUT
    is refused and names the first, also from another machine, if the disk that they share passes locks on (NFS 4, SMB).

    Exit code: 0 every recording is in the table, whole; 3 finished, but OUT.errors.csv lists some; 1 failed.

    Args:
        recordings: a folder, a recording, or a list of recordings; several folders and recordings, too.
        out: the table to write, FILE.parquet; FILE.npz and FILE.csv are possible.
        model: an encoder of the zoo (see oscine models), hf-hub:OWNER/REPOSITORY, local-dir:PATH for one that was saved, or
            onnx-file:FILE.onnx that says of itself what it takes (of another oscine convert makes a folder).
        checkpoint: a file of weights for the encoder, instead of those that would be fetched.
        probe: a fitted probe's folder, in place of --model: the table gets what its last linear map reads, for oscine label.
        hop: seconds from the start of one clip to the next; a clip's length by default.
        layers: of the pools cls and mean, with commas (--layers=5,-1), from 0 or back from -1; the last by default.
        pools: with commas: pooled (the model's own vector, column embedding), cls, mean (columns such as cls_11, mean_11).
        dtype: of the numbers in the table, float32 or float16, which halves it.
        precision: of the encoder: float32, bfloat16, or auto: bfloat16 on a GPU that has it, else float32.
        clock: adds the column recorded: when a clip began by its recorder's file name, in UTC, local or such as Europe/Rome.
        channel: that is read: mix (the mean of all), left, right, a number from 1, or each, a row a channel.
        shortest: share of a clip that a recording's last one must have to be a row, unless it is the only one; 0 keeps all.
        shard: only one of several jobs' share, such as 2/8; oscine merge joins their tables.
        batch_size: clips that the encoder takes at a time; 16 on a CPU, else 64.
        workers: processes that read ahead, 0 to read in between; by default what the machine has to spare.
        device: where the encoder runs: cpu, cuda, mps; auto: the best that is there.
        compile: make the encoder faster with torch.compile, which takes minutes at first and a C++ compiler.
        random_weights: leave the encoder untrained, for tests; the table says so.
        overwrite: replace OUT and what an unfinished call has left.
    """
    from oscine.models.audio.shard import ALL, parse_shard
    from oscine.models.embed.journal import Journal
    from oscine.models.embed.settings import EmbedSettings
    from oscine.models.embed.table import check_target
    from oscine.models.encoders.base.devices import check_device, moved
    from oscine.models.encoders.base.features import check_layers, check_pools
    from oscine.models.encoders.base.precision import check_precision
    from oscine.models.recordings.inputs import find_inputs
    from oscine.models.zoo import check_encoder, open_encoder, outline_of
    from oscine.probe.deploy.named_probe import check_probe

    if (model is None) == (probe is None):
        raise Misuse("give --model, an encoder, or --probe, a fitted one with its encoder")
    if probe and (layers or checkpoint or random_weights or compile or pools != "pooled"):
        raise Misuse(
            "--probe says what is read; leave out --layers, --pools, --checkpoint, --random-weights, --compile"
        )
    called, target = time.monotonic(), check_target(out, recordings)
    Journal(target).check_free(overwrite)
    chosen = None if layers is None else _layers(layers)
    share = ALL if shard is None else parse_shard(shard)
    check_pools(pools.split(","), chosen)
    settings = EmbedSettings(
        hop=hop, dtype=dtype, clock=clock, channel=channel, shortest=shortest, shard=share, overwrite=overwrite,
        batch_size=batch_size, workers=workers,
    )  # fmt: skip
    check_precision(precision)
    check_device(device)
    if model:
        check_encoder(model, checkpoint, random_weights)
        if chosen is not None and (depth := outline_of(model).depth):
            check_layers(chosen, depth)
    elif probe:
        check_probe(probe)
    with say_if_slow("embed", "finding the recordings"):
        inputs = find_inputs(recordings[0] if len(recordings) == 1 else recordings)
    say_loading("embed", model or str(probe))

    from oscine.models.embed.embed import embed_to_table
    from oscine.models.embed.extractor import EmbeddingExtractor, Extractor

    extractor: Extractor
    if model:
        encoder = open_encoder(model, checkpoint, random_weights, device)
        extractor = EmbeddingExtractor(encoder, chosen, pools.split(","), precision, compile)
    else:
        from oscine.probe.deploy.saved_probe import load_probe
        from oscine.probe.label.probe_input import ProbeInputs

        fitted = load_probe(str(probe))
        moved(fitted.encoder, device)
        fitted.probe.to(fitted.encoder.device)
        extractor = ProbeInputs(fitted, precision)
    with say_if_lost(target), progress_bar() as bar:
        summary = embed_to_table(extractor, inputs, target, settings=settings, watcher=Reporter(bar, called))
    print_summary(summary)
    if random_weights:
        print(f"the embeddings are of {model} with random weights, for tests: it has learnt nothing")
    return LISTED if summary.listed else 0


def _layers(text: str) -> list[int]:
    try:
        return [int(number) for number in text.split(",")]
    except ValueError:
        raise Misuse(f"layers {text!r}: expected numbers with commas, such as --layers=5,-1") from None
