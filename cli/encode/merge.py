"""`oscine merge OUT SHARD...`: join the tables of several jobs into one."""

from __future__ import annotations

from pathlib import Path

from oscine.cli.console.command import LISTED, Help, Parser
from oscine.cli.encode.messages import print_summary

PURPOSE = """Join the tables that `oscine embed --shard 1/N` to `N/N` have written into one.

OUT is FILE.parquet, FILE.npz or FILE.csv, in the order of file and time, as one job alone would have written it; its error
list, OUT.errors.csv, lies beside it where there is one. Shards that were made with other arguments or of another content of
the folder are refused, as are missing or damaged ones and the same one twice. Exit code: 0 every recording is in the table,
whole; 3 some are in the error list."""


def main(arguments: list[str]) -> int | None:
    # A row of arguments of any length is more than `call` can make of a signature.
    made = Parser(prog="oscine merge", description=PURPOSE, formatter_class=Help)
    made.add_argument("out", metavar="OUT", type=Path, help="the table to write")
    made.add_argument(
        "shards", metavar="SHARD", type=Path, nargs="+", help="a shard's table, FILE.parquet, in any order"
    )
    made.add_argument("--overwrite", action="store_true", help="replace OUT if it exists")
    settings = made.parse_args(arguments)
    return merge(settings.out, settings.shards, settings.overwrite)


def merge(out: Path, shards: list[Path], overwrite: bool = False) -> int:
    from oscine.models.embed.merge import merge_tables

    summary = merge_tables(out, shards, overwrite)
    print_summary(summary)
    return LISTED if summary.listed else 0
