"""`oscine merge OUT SHARD...`: join the tables of several jobs into one."""

from __future__ import annotations

from pathlib import Path

from oscine.cli.console.command import LISTED
from oscine.cli.encode.messages import print_summary


def merge(out: Path, shard: list[Path], /, overwrite: bool = False) -> int:
    """Join the tables that `oscine embed --shard 1/N` to `N/N` have written into one.

    OUT is FILE.parquet, FILE.npz or FILE.csv, in the order of file and time, as one job alone would have written it; its
    error list, OUT.errors.csv, lies beside it where there is one. Shards that were made with other arguments or of another
    content of the folder are refused, as are missing or damaged ones and the same one twice. Exit code: 0 every recording
    is in the table, whole; 3 some are in the error list.

    Args:
        out: the table to write.
        shard: a shard's table, FILE.parquet, in any order.
        overwrite: replace OUT if it exists.
    """
    from oscine.models.embed.merge import merge_tables

    summary = merge_tables(out, shard, overwrite)
    print_summary(summary)
    return LISTED if summary.listed else 0
