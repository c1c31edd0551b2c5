"""Serve the page on which people label one table: its files, its clips' sounds and pictures, and the questions it asks."""

from __future__ import annotations

import logging
import socket
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import FileResponse, HTMLResponse, JSONResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp

from oscine.models.errors import OscineError
from oscine.models.json_text import check_fields, parse_json
from oscine.probe.label.journal import STATES, marked
from oscine.probe.label.loop.loop import Given, LabelLoop
from oscine.probe.label.page.guard import Guard
from oscine.probe.label.page.sounds import SLOWER, Sounds
from oscine.probe.label.page.words import describe
from oscine.probe.report.html import STYLE

FILES = {"/": "index.html", "/page.css": "page.css", "/page.js": "page.js"}
HERE = Path(__file__).parent
ANSWER = {
    "clip": int, "position": int, "states": dict[str, str], "skipped": bool, "heard": float, "taken": float,
}  # fmt: skip
TOPS = (0, 16_000, 8_000, 4_000, 2_000)  # Hz that a picture may reach to; 0 is all
RELOAD = "load the page again"

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Site:
    """What the page is of.

    who        the person who labels, where the page does not name another; "" asks for a name
    finish     writes what is known now, and returns the page that says it
    """

    loop: LabelLoop
    places: Mapping[str, Path]
    who: str
    finish: Callable[[], str]


def make_app(site: Site, key: str, names: tuple[str, ...] = ()) -> ASGIApp:
    """Make the server. key: that its address has; names: of the host, beside its numbers."""
    questions = Questions(site)
    routes = [Route(path, _file(HERE / name)) for path, name in FILES.items()]
    routes += [
        Route("/report.css", _file(STYLE)),
        Route("/known.html", lambda request: HTMLResponse(questions.known), name="known"),
        Route("/sound/{clip:int}.wav", questions.sound),
        Route("/picture/{clip:int}.png", questions.picture),
        *(Route(f"/api/{name}", questions.route(name), methods=["POST"]) for name in Questions.ASKED),
    ]
    return Guard(Starlette(routes=routes), key, (*names, socket.gethostname()))


def _file(path: Path) -> Callable[[Request], FileResponse]:
    return lambda request: FileResponse(path)


class Questions:
    """Answers what the page asks, each in a thread of its own."""

    ASKED = ("begin", "answer", "undo", "class", "finish")

    def __init__(self, site: Site) -> None:
        self.site, self.sounds = site, Sounds(site.places)
        self.known = "<!doctype html><title>nothing yet</title><p>Nothing is known yet: label some clips, then finish."

    def route(self, name: str) -> Callable[[Request], Any]:
        act = getattr(self, f"_{name}")

        async def endpoint(request: Request) -> Response:
            body = await request.body()
            try:
                content = check_fields(parse_json(body, "the question", RELOAD), {"who": str}, "the question", RELOAD)
                return JSONResponse(await run_in_threadpool(act, content))
            except OscineError as error:
                return JSONResponse({"error": str(error)}, 409)
            except OSError as error:
                return JSONResponse({"error": f"{error.strerror or error}; make room, then try again"}, 409)

        return endpoint

    def _begin(self, content: dict[str, Any]) -> dict[str, Any]:
        who = content["who"].strip() or self.site.who
        if not who:
            return {"ask_name": True}
        self.site.loop.join(who)
        return self._describe(who)

    def _answer(self, content: dict[str, Any]) -> dict[str, Any]:
        check_fields(content, ANSWER, "the answer", RELOAD)
        who, loop = self._person(content), self.site.loop
        states, skipped = content["states"], content["skipped"]
        if wrong := next((state for state in states.values() if state not in STATES), None):
            raise OscineError(f"a class is {wrong[:20]!r}, expected {', '.join(STATES)}; {RELOAD}")
        with loop.changed:
            own = loop.journals[who].content.answers
            clip = loop.table.clips[content["clip"]] if 0 <= content["clip"] < len(loop.table.clips) else None
            # The very answer was written, and the word that it was did not reach the page.
            written = (
                len(own) == content["position"] + 1
                and (own[-1].clip, own[-1].skipped) == (clip, skipped)
                and own[-1].marked == ({} if skipped else marked(states))
            )
            if not written:
                loop.answer(who, content["clip"], Given(states, skipped, content["heard"], content["taken"]))
        return self._describe(who)

    def _undo(self, content: dict[str, Any]) -> dict[str, Any]:
        who = self._person(content)
        with self.site.loop.changed:  # what was said is of the clip that is described first
            if name := self.site.loop.take_back_class(who):
                return self._describe(who, f"The class {name} is asked for no more.")
            undone = self.site.loop.undo(who)
            notice = "" if undone else "There is no answer to take back."
            return self._describe(who, notice) | {"given": undone.answer.states if undone else {}}

    def _class(self, content: dict[str, Any]) -> dict[str, Any]:
        check_fields(content, {"name": str}, "the class", RELOAD)
        who = self._person(content)
        self.site.loop.add_class(content["name"], who)
        return self._describe(who)

    def _finish(self, content: dict[str, Any]) -> dict[str, Any]:
        self.known = self.site.finish()
        return {}

    def _person(self, content: dict[str, Any]) -> str:
        who = content["who"]
        self.site.loop.join(who)
        return who

    def _describe(self, who: str, notice: str = "") -> dict[str, Any]:
        return describe(self.site.loop, self.site.places, who, notice)

    def sound(self, request: Request) -> Response:
        slower = SLOWER if request.query_params.get("slower") == str(SLOWER) else 1
        return self._made(request, lambda clip: self.sounds.sound(clip, slower), "audio/wav")

    def picture(self, request: Request) -> Response:
        asked = request.query_params.get("top", "0")
        top = int(asked) if asked.isdecimal() and int(asked) in TOPS else 0
        return self._made(request, lambda clip: self.sounds.picture(clip, top), "image/png")

    def _made(self, request: Request, make: Callable[..., bytes], kind: str) -> Response:
        """Make a sound or picture of the clip of that number: no other file can be asked for."""
        number, loop = request.path_params["clip"], self.site.loop
        if not 0 <= number < len(loop.table.clips) or not loop.may_ask[number]:
            return JSONResponse({"error": f"no clip {number} in {loop.table.path.name}"}, 404)
        try:
            return Response(make(loop.table.clips[number]), media_type=kind)
        except OscineError as error:
            return JSONResponse({"error": getattr(error, "reason", str(error))}, 422)
