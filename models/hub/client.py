"""Bound what huggingface_hub's client waits for and accepts while it works for oscine, and log it once.

The client takes a server at its word: it waits as long as it is told, writes what it fetches under the hash that it is told,
and reads on for as long as now and then a byte comes. A mirror or a proxy may be anybody's.
"""

from __future__ import annotations

import logging
import re
import socket
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from threading import Lock
from typing import Any
from urllib.request import getproxies

from huggingface_hub import constants, get_session, set_client_factory
from huggingface_hub.errors import OfflineModeIsEnabled

from oscine.models.compat import client_factory, httpx, leave_out_xet
from oscine.models.errors import OscineError

logger = logging.getLogger(__name__)

THE_HUB = "the Hub"
MAX_WAIT = 300  # seconds, the longest that a step waits for a busy Hub, all waits together
TRANSIENT_STATUS = {408, 429, 500, 502, 503, 504}  # statuses that pass
STALLED = 60.0  # seconds in which at least LEAST bytes must come; 100 a second are less than any line has
LEAST = 6000
EVERY = 10.0  # seconds between two lines on what is fetched, where there is no terminal for the client's bar
WORTH_A_LINE = 10**6  # bytes
LARGEST = 10**11  # bytes of a file; the largest encoder that can be built has 16 GB
COMMIT = re.compile("[0-9a-f]{40}")
HASH = re.compile("[0-9a-f]{40}|[0-9a-f]{64}")  # git's of a small file, sha256 of a large one
RESETS = re.compile(r"\br=0;t=(\d+)")  # seconds, in the header `ratelimit`, where no request is left until then

_work: ContextVar[Work | None] = ContextVar("_work", default=None)


@contextmanager
def careful_client(doing: str) -> Iterator[None]:
    """Check the answers that huggingface_hub gets in a block, and keep it silent. doing: such as "config.json of x/y"."""
    if _work.get():
        yield
        return
    _install()
    token = _work.set(Work(doing))
    try:
        with MUTE:
            yield
    finally:
        _work.reset(token)


def _install() -> None:
    """Let the clients that huggingface_hub makes call `_check`, whoever says how they are made, and do all that is fetched.

    Where hf_xet is installed, it would fetch large files by itself: it has no bound for a server that sends next to nothing,
    what it calls on progress cannot end it, and its `abort` ends whatever else the process fetches.
    """
    leave_out_xet(lambda: _work.get() is not None)
    factory = client_factory()
    if factory is None:  # then the one that it makes after a broken connection is not watched until the next block
        _checked(get_session())
        return
    if getattr(factory, "careful", False):
        return

    def client() -> Any:
        return _checked(factory())

    client.careful = True  # type: ignore[attr-defined]
    set_client_factory(client)


def _checked(client: Any) -> Any:
    """Return a client that calls `_ask` with every request and `_check` with every answer."""
    asking, answering = (client.event_hooks.get(kind, []) for kind in ("request", "response"))
    if _check not in answering:
        client.event_hooks = client.event_hooks | {"request": [_ask, *asking], "response": [_check, *answering]}
    return client


def _ask(request: Any) -> None:
    """Look at a request if it is one of oscine's."""
    if work := _work.get():
        work.ask(request)


def _check(response: Any) -> None:
    """Check an answer if it is one to oscine."""
    if work := _work.get():
        work.check(response)


class Mute:
    """Keeps huggingface_hub's log silent while any thread is in a block: it has every retry, twice."""

    def __init__(self) -> None:
        self.log = logging.getLogger("huggingface_hub")
        self.lock, self.blocks, self.level = Lock(), 0, logging.NOTSET

    def __enter__(self) -> None:
        with self.lock:
            if not self.blocks:
                self.level = self.log.level
                self.log.setLevel(logging.CRITICAL)
            self.blocks += 1

    def __exit__(self, *_: object) -> None:
        with self.lock:
            self.blocks -= 1
            if not self.blocks:
                self.log.setLevel(self.level)


MUTE = Mute()


class UnknownHost(OfflineModeIsEnabled):
    """Raised where a host has no address: the client then looks into its cache, and does not try for half a minute."""

    def __init__(self, request: Any, reason: str) -> None:
        super().__init__(reason)
        self.request = request


def why_unknown(host: str) -> str:
    """Return why a host's name has no address, "" where it has one, or where a proxy is asked for it."""
    if getproxies():
        return ""
    try:
        socket.getaddrinfo(host, None)
    except OSError as error:
        return error.strerror or "its name has no address"
    return ""


class Work:
    """One step on the Hub, watched: how long it may still wait, and whether answers make sense."""

    def __init__(self, doing: str) -> None:
        self.doing, self.left = doing, float(MAX_WAIT)
        self.unanswered: tuple[str, Any] | None = None  # the request that was sent last, until its answer comes
        self.tries = 0

    def ask(self, request: Any) -> None:
        """Note a request; of one that got no answer before say so, or give up where its host has no address."""
        asked = request.method, request.url
        if asked != self.unanswered:
            self.unanswered, self.tries = asked, 1
            return
        if reason := why_unknown(request.url.host):
            raise UnknownHost(request, reason)
        self.tries += 1
        logger.info("%s does not answer for %s: try %d", answerer(request.url), self.doing, self.tries)

    def check(self, response: Any) -> None:
        """Look at an answer before the client acts upon it: refuse it, bound its wait, and watch its body come."""
        self.unanswered = None
        commit = response.headers.get("X-Repo-Commit")
        if commit is not None and not COMMIT.fullmatch(commit):
            self.refuse(response, f"names the commit {commit[:60]!r}, expected 40 hexadecimal digits")
        if response.status_code in TRANSIENT_STATUS:
            self.bound_wait(response)
        elif response.request.method == "HEAD" and response.status_code < 400:
            self.check_file(response)
        response.stream = Watched(response, self.doing)

    def check_file(self, response: Any) -> None:
        """Refuse a hash that is none, since a file is written under it, and a size that no file of oscine has."""
        headers = response.headers
        given = headers.get("X-Linked-ETag") or headers.get("ETag")
        if given is not None and not HASH.fullmatch(given.removeprefix("W/").strip('"')):
            self.refuse(response, f"names {given[:60]!r} as its hash, expected 40 or 64 hexadecimal digits")
        size = headers.get("X-Linked-Size") or headers.get("Content-Length") or "0"
        if (count := number(size)) is None or count > LARGEST:
            self.refuse(response, f"says that it has {size[:30]} bytes, expected a number up to {LARGEST:,}")

    def refuse(self, response: Any, reason: str) -> None:
        raise OscineError(f"{address_of(response.url)} {reason}, for {self.doing}; check HF_ENDPOINT and the proxy")

    def bound_wait(self, response: Any) -> None:
        """Say in a line who is busy; end here if too much patience is asked for."""
        asked, who = retry_after(response.headers), answerer(response.url)
        if asked > self.left:
            raise OscineError(
                f"{who} answered {response.status_code} for {self.doing} and asks to wait {asked:,.0f} s; oscine waits "
                f"{MAX_WAIT} s in all: try again after that time"
            )
        self.left -= asked
        wait = f", and asks to wait {asked} s" if asked else ""
        logger.info("%s answered %d for %s%s", who, response.status_code, self.doing, wait)


def address_of(url: Any) -> str:
    """Return whose a URL is, without what gives access: large files are not the Hub's own, but another host's."""
    return f"{url.scheme}://{url.netloc.decode('ascii')}"


def answerer(url: Any) -> str:
    """Return who answers at a URL, in words: the Hub, or another host by its address."""
    return THE_HUB if address_of(url) == address_of(httpx.URL(constants.ENDPOINT)) else address_of(url)


def retry_after(headers: Any) -> int:
    """Return the seconds that an answer asks to wait; 0 where it does not say."""
    found = RESETS.search(headers.get("ratelimit", ""))
    return max(number(headers.get("Retry-After", "")) or 0, number(found[1]) or 0 if found else 0)


def number(text: str) -> int | None:
    """Return the whole number that a header says; None where it says none."""
    return int(text[:30]) if text.isascii() and text.isdigit() else None


class Watched(httpx.SyncByteStream):
    """The body of an answer. Bytes that hardly come end it, for each single one is in time for the client."""

    def __init__(self, response: Any, doing: str) -> None:
        self.stream, self.doing, self.sender = response.stream, doing, address_of(response.url)
        self.size = number(response.headers.get("Content-Length", "")) or 0

    def __iter__(self) -> Iterator[bytes]:
        begun = said = since = time.monotonic()
        done = before = 0
        if self.size >= WORTH_A_LINE:
            self.say("%s", progress(self.size))
        for piece in self.stream:
            done += len(piece)
            now = time.monotonic()
            if now - since > STALLED:
                if done - before < LEAST:
                    raise OscineError(
                        f"{self.sender} sent {done - before} bytes of {self.doing} in {now - since:.0f} s; check the "
                        "network and try again"
                    )
                since, before = now, done
            if now - said > EVERY:
                self.say("%s after %.0f s", progress(self.size, done), now - begun)
                said = now
            yield piece

    def say(self, text: str, *numbers: object) -> None:
        if not sys.stderr.isatty():  # where the client has a bar
            logger.info(f"fetching %s: {text}", self.doing, *numbers)

    def close(self) -> None:
        self.stream.close()


def progress(size: int, done: int | None = None) -> str:
    """Return how large a file is, and how much of it is there; 0 is a size that is not known."""
    unit, name = (1e6, "MB") if max(done or 0, size) >= 1e6 else (1.0, "bytes")
    numbers = [f"{number / unit:,.0f}" for number in (done, size) if number is not None and (number or done is None)]
    return f"{' of '.join(numbers)} {name}"
