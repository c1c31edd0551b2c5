"""Nobody is let in without the address, by a foreign page, or with a question that is too large."""

from __future__ import annotations

from pathlib import Path

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Route
from starlette.testclient import TestClient

from oscine.probe.label.page.guard import KEY, LARGEST, Guard


async def tell(request: Request) -> PlainTextResponse:
    return PlainTextResponse("let in")


@pytest.fixture
def client() -> TestClient:
    routes = [Route(path, tell, methods=["GET", "POST"]) for path in ("/", "/api/answer", "/page.css")]
    return TestClient(Guard(Starlette(routes=routes), "secret", ("field.local",)), base_url="http://127.0.0.1:8765")


@pytest.mark.parametrize("key", ["", "Secret", "secret ", "secre", "größe", "secret\0"])
def test_another_key_is_refused(client: TestClient, key: str) -> None:
    left = client.get("/", params={"key": key})
    assert left.status_code == 403
    assert "open the one that oscine label page printed" in left.json()["error"]


def test_the_key_in_the_address_or_the_header_lets_in(client: TestClient) -> None:
    assert client.get("/", params={"key": "secret"}).text == "let in"
    assert client.get("/", headers={KEY: "secret"}).text == "let in"
    assert client.get("/page.css").text == "let in", "the same for everybody"


@pytest.mark.parametrize("host", ["127.0.0.1:8765", "localhost", "192.168.0.7:1", "[::1]:8765", "FIELD.local:8765"])
def test_the_host_is_asked_by_its_numbers_or_its_names(client: TestClient, host: str) -> None:
    assert client.get("/", params={"key": "secret"}, headers={"host": host}).status_code == 200


@pytest.mark.parametrize(
    "host", ["evil.example", "127.0.0.1.evil.example", "field.local.evil.example", "", "[::1", "a@b"]
)
def test_a_foreign_name_is_refused_even_with_the_key(client: TestClient, host: str) -> None:
    left = client.get("/", params={"key": "secret"}, headers={"host": host})
    assert left.status_code == 400
    assert "not asked by that name" in left.json()["error"]


def test_a_form_of_a_foreign_page_answers_nothing(client: TestClient) -> None:
    assert client.post("/api/answer", params={"key": "secret"}, data={"who": "anna"}).status_code == 403
    assert client.post("/api/answer", headers={KEY: "secret"}, content=b"{}").status_code == 200


def test_a_question_is_small_and_its_size_is_known(client: TestClient) -> None:
    large = client.post("/api/answer", headers={KEY: "secret"}, content=b" " * (LARGEST + 1))
    endless = client.post("/api/answer", headers={KEY: "secret"}, content=iter([b"{}"]))
    assert (large.status_code, endless.status_code) == (413, 413)


def test_what_is_served_may_run_nothing_of_others(client: TestClient) -> None:
    for left in (client.get("/", params={"key": "secret"}), client.get("/")):
        policy = left.headers["content-security-policy"]
        assert "default-src 'none'" in policy
        assert "script-src 'self';" in policy
        assert "frame-ancestors 'none'" in policy
        assert left.headers["x-content-type-options"] == "nosniff"
        assert left.headers["referrer-policy"] == "no-referrer"


def test_the_page_names_no_other_machine() -> None:
    import oscine.probe.label.page

    for name in ("index.html", "page.css", "page.js"):
        text = (Path(oscine.probe.label.page.__file__).parent / name).read_text(encoding="utf-8")
        assert "://" not in text, name
        assert "innerHTML" not in text, "names are text and never markup"
