"""Open the page for a table: read it, find its recordings, and serve until somebody stops it."""

from __future__ import annotations

import secrets
import socket
from collections.abc import Callable
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from pathlib import Path

import uvicorn

from oscine.models.errors import OscineError
from oscine.models.files import check_name
from oscine.models.text.class_names import read_class_list
from oscine.probe.label.class_names import check_asked
from oscine.probe.label.journal import hold
from oscine.probe.label.loop.clips import find_recordings, read_clips
from oscine.probe.label.loop.known import Known, write_known
from oscine.probe.label.loop.loop import LabelLoop
from oscine.probe.label.loop.settings import LoopSettings
from oscine.probe.label.page.browser import open_page
from oscine.probe.label.page.server import Site, make_app

LOCAL_HOSTS = ("127.0.0.1", "localhost", "::1")
PATIENCE = 3  # seconds that a question may still take when the server is stopped
KEY_BYTES = 16  # of the token in the address


@dataclass(frozen=True)
class PageSettings:
    """What to label, and where the page is.

    table       of embeddings; column: of several, the one to choose by
    recordings  the folder, or list, that was embedded
    classes     a text file of names, one a line
    labels      the folder of the journals, and of all that comes of them
    who         the person's name
    host, port  where to serve; a port that is taken is replaced by a free one
    browser     open it in this account's browser
    command     that made the page, for its end
    """

    table: Path
    recordings: Path
    classes: Path
    labels: Path
    who: str
    host: str = LOCAL_HOSTS[0]
    port: int = 8765
    column: str | None = None
    loop: LoopSettings = field(default_factory=LoopSettings)
    browser: bool = False
    command: str = ""


def serve_page(settings: PageSettings, opened: Callable[[str], None]) -> Known | None:
    """Serve the page until it is stopped, then write what is known; None where nothing was answered.

    opened: told the page's address once it can be opened.
    """
    names = read_class_list(settings.classes)
    check_asked(names, settings.classes, "correct the list")
    local = settings.host in LOCAL_HOSTS
    who = check_name(settings.who)
    table = read_clips(settings.table, settings.column)
    places = find_recordings(table, settings.recordings)
    bound = bind(settings.host, settings.port)
    # Only one server knows who has which clip in their hands: two would ask for the same ones.
    asking, remedy = f"asking for labels in {settings.labels}", "open its page, under another name (&who=NAME)"
    with (
        LabelLoop(table, settings.labels, names, settings.loop, recordings=list(places)) as loop,
        hold(settings.labels / "page", asking, remedy),
    ):
        if local:
            loop.join(who)  # a journal that another process writes is refused before the page opens

        def finish() -> str:
            return write_known(loop, settings.recordings, settings.command).page

        _serve(Site(loop, places, who if local else "", finish), settings, bound, opened=opened)
        return write_known(loop, settings.recordings, settings.command) if loop.votes() else None


def _serve(site: Site, settings: PageSettings, bound: socket.socket, *, opened: Callable[[str], None]) -> None:
    """Serve a site until somebody stops it."""
    key = secrets.token_urlsafe(KEY_BYTES)
    app = make_app(site, key, () if settings.host in LOCAL_HOSTS else (settings.host,))
    server = Server(
        uvicorn.Config(app, log_level="warning", access_log=False, lifespan="off", timeout_graceful_shutdown=PATIENCE)
    )
    with ExitStack() as at_the_end, suppress(KeyboardInterrupt):  # which uvicorn hands on once it has ended

        def tell() -> None:
            here = address(settings.host, bound.getsockname()[1], key)
            opened(here)
            if settings.browser:
                at_the_end.enter_context(open_page(here, settings.labels))

        server.opened = tell
        server.run(sockets=[bound])


class Server(uvicorn.Server):
    """Says when it can be asked."""

    opened: Callable[[], None]

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self.opened()


def bind(host: str, port: int) -> socket.socket:
    """Take a port of a host: the one that is named, so that the page keeps its settings, or a free one."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    for one in (port, 0):
        bound = socket.socket(family)
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            bound.bind((host, one))
            return bound
        except OSError as error:
            bound.close()
            reason = error.strerror or str(error)
    raise OscineError(
        f"host {host} cannot be served on ({reason}); expected an address of this machine, such as 127.0.0.1"
    )


def address(host: str, port: int, key: str) -> str:
    """Return the address of the page; of a host that is all of a machine's addresses, with its name."""
    name = socket.gethostname() if host in ("0.0.0.0", "::") else f"[{host}]" if ":" in host else host
    return f"http://{name}:{port}/?key={key}"
