"""`oscine label page TABLE`: open the page on which people label clips."""

from __future__ import annotations

import getpass
import shlex
import sys
from pathlib import Path

from oscine.cli.console.command import say_loading
from oscine.models.errors import Misuse, OscineError


def page(
    table: Path,
    /,
    recordings: Path,
    classes: Path,
    labels: Path = Path("labels"),
    name: str = "",
    one_label: bool = False,
    strategy: str = "",
    batch: int = 10,
    overlap: float = 0.0,
    seed: int = 0,
    column: str | None = None,
    host: str = "127.0.0.1",
    port: int = 8765,
    no_browser: bool = False,
) -> None:
    """Open a page on which to label the clips of a table: spectrogram, sound, and a key for everything.

    A probe learns from the answers in the background and chooses what is asked next. Every answer is on disk, in
    LABELS/NAME.jsonl, before the next clip is shown; the same call goes on where the last one ended. Ctrl-C, or finish on
    the page, writes what is known by then into LABELS.

    Args:
        table: of embeddings, as oscine embed writes it, in Parquet.
        recordings: the folder, or the list, that was embedded.
        classes: a text file of names, one a line; more can be added on the page.
        labels: folder of the answers and of all that comes of them; one page at a time asks for them.
        name: of the person who labels; by default the one of this account.
        one_label: each clip has exactly one class.
        strategy: that chooses the clips; by default the one that does best for the kind of labels.
        batch: clips that are chosen at a time.
        overlap: share of the clips that go to two people.
        seed: of everything that is drawn.
        column: of the table to choose by, where it has several.
        host: address to serve on; 0.0.0.0 lets others in on the network, who need the key in the address as well.
        port: to serve on; a free one where it is taken.
        no_browser: only print the address.
    """
    try:
        import starlette  # noqa: F401
        import uvicorn  # noqa: F401
    except ImportError as error:
        raise OscineError(f"the page needs {error.name}; install it: pip install 'oscine[label]'") from None
    say_loading("label page", str(table))
    from oscine.probe.label.loop.batches import chosen_by
    from oscine.probe.label.loop.settings import LoopSettings
    from oscine.probe.label.page.serve import PageSettings, serve_page

    if not 0 <= port < 2**16:
        raise Misuse(f"port is {port}, expected 1 to 65535, or 0 for a free one")
    command = shlex.join(["oscine", "label", "page", *sys.argv[3:]])
    loop = LoopSettings(one_label=one_label, strategy=strategy, batch=batch, seed=seed, overlap=overlap)
    settings = PageSettings(
        table, recordings, classes, labels, name or getpass.getuser(),
        host=host, port=port, column=column, loop=loop, browser=not no_browser, command=command,
    )  # fmt: skip

    def opened(address: str) -> None:
        print(f"clips are chosen by {chosen_by(loop, blind=True)}")
        print(f"label here: {address}\nCtrl-C stops; every answer is kept in {labels}", flush=True)

    known = serve_page(settings, opened)
    if known:
        print("\n".join(["what is known now:", *map(str, known.files), *known.faults]))
