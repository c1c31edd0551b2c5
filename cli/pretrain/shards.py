"""`oscine shards FOLDER OUT`: pack a folder of recordings into a few large files, to pretrain from on a cluster.

`oscine shards --check OUT` says whether they are still what they were.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Literal

from oscine.cli.console.command import LISTED, call, say_loading
from oscine.cli.console.output import progress_bar
from oscine.models.errors import Misuse
from oscine.models.text.words import counted, length

UNITS = {"kB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12}


def main(arguments: list[str]) -> int | None:
    if "--check" in arguments and not {"-h", "--help"} & set(arguments):
        return check([argument for argument in arguments if argument != "--check"])
    return call(shards, arguments)


def check(arguments: list[str]) -> int:
    """Compare every shard with the sha256 that index.json has of it; those that differ are an error that names them."""
    if len(arguments) != 1 or arguments[0].startswith("-"):
        raise Misuse("--check takes one folder and nothing else: oscine shards --check OUT")
    from oscine.pretrain.data.shards import check_shards

    out = Path(arguments[0])
    with progress_bar() as bar:
        count = check_shards(out, bar.task("check shards"))
    print(f"{out}: {counted(count, 'shard is as it was', 'shards are as they were')} packed")
    return 0


def shards(
    folder: Path,
    out: Path,
    /,
    rate: int,
    format: Literal["flac", "ogg"] = "flac",
    size: str = "1GB",
    workers: int | None = None,
    channel: str = "mix",
) -> int:
    """Pack a folder of recordings into shards: large tar files, mono, at the rate that a recipe's encoder takes.

    OUT gets 000000.tar and on, in webdataset's layout (KEY.flac and KEY.json, which holds name, sample_rate and seconds);
    index.parquet says where in them each recording lies; index.json has the sha256 of each shard and of index.parquet;
    errors.csv lists the recordings that were left out, and those that are cut short, of which the readable part is packed,
    if there are any. Then --data.recordings OUT pretrains from it.

    Clips are cut at random from all shards, a small read each. A disk on the network may be slow at that: take more
    --data.workers, or copy OUT to the node's own disk first.

    Whatever stops it (a crash, a full disk, kill -9, Ctrl-C): the same call goes on after the last whole shard, and the
    shards come out the same; a call with other arguments, or another folder's content in OUT, is refused.

    oscine shards --check OUT reads all shards and their index, as after copying them, and names what is not as packed.

    Exit code: 0 every recording is packed, whole; 3 finished, but errors.csv lists some; 1 failed.

    Args:
        folder: the recordings, searched at every depth.
        out: a new folder for the shards.
        rate: Hz of the packed recordings, such as 32000 for Bird-MAE and 16000 for BAT.
        format: flac, the same samples in 16 bits, or ogg (Vorbis), which takes a fraction of that and loses some.
        size: of a shard at most, such as 500MB; a recording that is larger has a shard of its own.
        workers: processes that decode and encode, 0 for none but this one; by default one a core.
        channel: that is packed: mix (the mean of all), left, right, a number from 1, or each, a recording a channel.
    """
    from oscine.models.audio.channels import parse_channel
    from oscine.models.audio.scan import scan_folder
    from oscine.models.files import bytes_in_words
    from oscine.pretrain.data.packing import check_packing, pack_shards
    from oscine.pretrain.data.shards import ERRORS

    most = parse_size(size)
    which = parse_channel(channel)
    check_packing(out, rate, format, most, workers, which)
    scan_folder(folder)
    say_loading("shards", str(folder))
    with progress_bar() as bar:
        packed = pack_shards(folder, out, rate, format, most, workers, bar.task("pack recordings"), channel=which)
    print(
        f"{packed.out}: {counted(packed.recordings, 'recording')}, {length(packed.seconds)}, in "
        f"{counted(packed.shards, 'shard')}, "
        f"{bytes_in_words(packed.size)}"
    )
    if packed.listed:
        print(f"{packed.out / ERRORS}: {counted(len(packed.listed), 'file')} cut short or impossible to use")
    return LISTED if packed.listed else 0


def parse_size(text: str) -> int:
    """Read a number of bytes: "1.5GB", "500 MB"."""
    match = re.fullmatch(r"(\d+(?:\.\d+)?) ?(kB|MB|GB|TB)", text)
    if not match:
        raise Misuse(f"size {text!r}: expected a number and {', '.join(UNITS)}, such as 500MB")
    return round(float(match[1]) * UNITS[match[2]])
