"""Let nobody in but who has the address: the key in it, the host's name, and how large a question may be."""

from __future__ import annotations

import ipaddress
import secrets
from collections.abc import Collection
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders, QueryParams
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

KEY = "X-Oscine-Key"
LARGEST = 1_000_000  # bytes of a question
OPEN = ("/report.css", "/page.css", "/page.js")  # the same for everybody, and in the wheel
HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' blob: data:; "
        "media-src 'self' blob: data:; connect-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
}


class Guard:
    """Stands before a server, and answers itself where a question does not come from its page.

    key: that every question must bring, in its address or its header. names: of the host, beside its numbers, by which it
    may be asked: another name is a foreign page that has led its visitor's browser here.
    """

    def __init__(self, app: ASGIApp, key: str, names: Collection[str]) -> None:
        self.app, self.key, self.names = app, key, {name.lower() for name in names} | {"localhost"}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return await self.app(scope, receive, send)

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message).update(HEADERS)
            await send(message)

        refusal = self.refusal(scope)
        await (refusal or self.app)(scope, receive, send_with_headers)

    def refusal(self, scope: Scope) -> JSONResponse | None:
        """Return what a question is refused with, or None."""
        headers, query = Headers(scope=scope), QueryParams(scope["query_string"])
        if not self.is_host(headers.get("host", "")):
            return _refuse(
                400, "this server is not asked by that name; open the address that oscine label page printed"
            )
        given = headers.get(KEY) or query.get("key", "")
        if scope["path"] not in OPEN and not secrets.compare_digest(given.encode(), self.key.encode()):
            return _refuse(
                403, "the key in the address is of another server; open the one that oscine label page printed"
            )
        if scope["method"] == "POST" and headers.get(KEY) is None:  # a form of a foreign page cannot send it
            return _refuse(403, f"a question without its header {KEY}")
        length = headers.get("content-length", "0")
        if headers.get("transfer-encoding") or not length.isdecimal() or int(length) > LARGEST:
            return _refuse(413, f"more than {LARGEST} bytes, or nobody knows how many")
        return None

    def is_host(self, header: str) -> bool:
        """Whether a Host header has a number, or one of the host's names; foreign pages cannot use either."""
        try:
            name = urlsplit(f"//{header}").hostname or ""
        except ValueError:
            return False
        try:
            ipaddress.ip_address(name)
        except ValueError:
            return name.lower() in self.names
        return True


def _refuse(code: int, error: str) -> JSONResponse:
    return JSONResponse({"error": error}, code)
