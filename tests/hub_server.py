"""A small Hub on loopback: the part of the real one's protocol that huggingface_hub speaks, and faults on demand.

Answered are downloads (resolve, with ETag, X-Repo-Commit, and for large files a redirect to a store that takes ranges),
model_info, the tree, paths, the log, branches and tags, publishing (create, preupload, large files in one piece or several,
commit, branch, tag, visibility, delete), lists, and the errors of the real Hub with their X-Error-Code. Another request is
one more line of `ROUTES`.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Event, Thread
from typing import Any
from urllib.parse import parse_qs, unquote

import pytest
import yaml
from huggingface_hub import constants

LARGE = 1000  # bytes from which a file goes to the large file store, as .safetensors always do
PART = 100_000  # bytes of one part of a large file; one that fits is uploaded in one piece
TEXT = (".md", ".yaml", ".json", ".gitattributes")
Files = dict[str, bytes]
# What a card may give as `license`.
LICENCES = set(
    """
    afl-3.0 agpl-3.0 apache-2.0 apple-amlr apple-ascl artistic-2.0 bigcode-openrail-m bigscience-bloom-rail-1.0
    bigscience-openrail-m bsd bsd-2-clause bsd-3-clause bsd-3-clause-clear bsl-1.0 c-uda cc cc-by-2.0 cc-by-2.5 cc-by-3.0
    cc-by-4.0 cc-by-nc-2.0 cc-by-nc-3.0 cc-by-nc-4.0 cc-by-nc-nd-3.0 cc-by-nc-nd-4.0 cc-by-nc-sa-2.0 cc-by-nc-sa-3.0
    cc-by-nc-sa-4.0 cc-by-nd-4.0 cc-by-sa-3.0 cc-by-sa-4.0 cc0-1.0 cdla-permissive-1.0 cdla-permissive-2.0 cdla-sharing-1.0
    creativeml-openrail-m deepfloyd-if-license ecl-2.0 epl-1.0 epl-2.0 etalab-2.0 eupl-1.1 eupl-1.2 gemma gfdl gpl gpl-2.0
    gpl-3.0 h-research intel-research isc lgpl lgpl-2.1 lgpl-3.0 lgpl-lr llama2 llama3 llama3.1 llama3.2 llama3.3 llama4
    lppl-1.3c mit mpl-2.0 ms-pl ncsa odbl odc-by ofl-1.1 openmdw-1.0 openrail openrail++ osl-3.0 other pddl postgresql
    unknown unlicense wtfpl zlib
    """.split()
)


def is_large(path: str, content: bytes) -> bool:
    return large(path, len(content))


def large(path: str, size: int) -> bool:
    return path.endswith((".safetensors", ".pt", ".ckpt")) or (size >= LARGE and not path.endswith(TEXT))


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def git_oid(content: bytes) -> str:
    return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()


@dataclass
class Repository:
    """Commits, each with all of its files, and the branches and tags that name them."""

    private: bool = False
    gated: bool = False
    commits: dict[str, Files] = field(default_factory=dict)
    parents: dict[str, str | None] = field(default_factory=dict)
    titles: dict[str, str] = field(default_factory=dict)
    refs: dict[str, str] = field(default_factory=dict)
    tags: set[str] = field(default_factory=set)  # those of the refs that are

    def commit(
        self, files: Files, branch: str = "main", gone: frozenset[str] = frozenset(), title: str = "by hand"
    ) -> str:
        """A commit on top of a branch; its number."""
        before = self.commits.get(self.refs.get(branch, ""), {})
        whole = {path: content for path, content in before.items() if path not in gone} | files
        told = json.dumps([len(self.commits), *sorted((path, sha256(content)) for path, content in whole.items())])
        number = hashlib.sha1(told.encode()).hexdigest()
        self.commits[number] = whole
        self.parents[number] = self.refs.get(branch)
        self.titles[number] = title
        self.refs[branch] = number
        return number

    def log(self, revision: str = "main") -> list[str]:
        """The commits that led to one, the newest first."""
        found, number = [], self.at(revision)
        while number:
            found.append(number)
            number = self.parents[number]
        return found

    def at(self, revision: str) -> str | None:
        """The commit that a branch, tag or commit means."""
        return self.refs.get(revision, revision if revision in self.commits else None)


@dataclass
class Fault:
    """What the next requests whose method and path match meet.

    A status with its headers; an answer that is cut off, has a byte flipped, says otherwise in its headers (`claims`), or
    comes a byte every so many seconds (`drip`); or a connection that breaks when so many bytes of what is sent have come
    (`heard`), or when all is done but the answer (`deaf`).
    """

    where: str
    status: int | None = None
    headers: dict[str, str] = field(default_factory=dict)
    cut_after: int | None = None
    flip: int | None = None
    heard: int | None = None
    deaf: bool = False
    claims: dict[str, str] = field(default_factory=dict)
    drip: float = 0.0
    times: int = 1


class Refusal(Exception):
    """An answer that is an error, with the Hub's code for it."""

    def __init__(self, status: int, code: str = "", **headers: str) -> None:
        self.status = status
        self.headers = ({"X-Error-Code": code} if code else {}) | headers


def sibling(path: str, content: bytes) -> dict[str, object]:
    """A file as model_info tells of it."""
    told: dict[str, object] = {"rfilename": path, "size": len(content), "blobId": git_oid(content)}
    if is_large(path, content):
        told["lfs"] = {"sha256": sha256(content), "size": len(content), "pointerSize": 134}
    return told


def entry(path: str, content: bytes) -> dict[str, object]:
    """A file as the tree tells of it."""
    told: dict[str, object] = {"type": "file", "oid": git_oid(content), "size": len(content), "path": path}
    if is_large(path, content):
        told["lfs"] = {"oid": sha256(content), "size": len(content), "pointerSize": 134}
    return told


class Hub(ThreadingHTTPServer):
    """The server, its repositories, and what it has been asked for: requests as (method, path)."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server_port}"
        self.store_url = (
            f"http://localhost:{self.server_port}/store"  # another host: the client leaves its token behind
        )
        self.repositories: dict[str, Repository] = {}
        self.tokens: dict[str, str] = {}  # token: the user it belongs to
        self.readers: set[str] = set()  # tokens that may not write
        self.uploaded: dict[str, bytes] = {}  # large files by their sha256
        self.parts: dict[tuple[str, int], bytes] = {}  # of large files that are not whole yet
        self.watch: Callable[[str, bool], None] = lambda request, done: None  # told of every request, before and after
        self.faults: list[Fault] = []
        self.requests: list[tuple[str, str]] = []

    def add(self, name: str, files: Files, private: bool = False, gated: bool = False) -> str:
        """A repository with one commit; its number."""
        self.repositories[name] = Repository(private, gated)
        return self.repositories[name].commit(files)

    def fault_for(self, request: str) -> Fault | None:
        fault = next((fault for fault in self.faults if re.search(fault.where, request)), None)
        if fault:
            fault.times -= 1
            if not fault.times:
                self.faults.remove(fault)
        return fault

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that went away is no news."""


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True  # else every body waits 40 ms until its headers are acknowledged
    server: Hub

    def handle_request(self) -> None:
        path = self.path.partition("?")[0]
        request = f"{self.command} {path}"
        self.server.requests.append((self.command, path))
        self.fault = self.server.fault_for(request)
        self.server.watch(request, False)
        size = int(self.headers.get("Content-Length") or 0)
        heard = self.fault.heard if self.fault and self.fault.heard is not None else size
        self.body = self.rfile.read(min(heard, size))
        if len(self.body) < size:  # whoever sent it is gone, or is hung up on
            self.close_connection = True
            return
        try:
            if self.fault and self.fault.status:
                raise Refusal(self.fault.status, **self.fault.headers)
            for methods, pattern, answer in ROUTES:
                match = re.fullmatch(pattern, path)
                if match and self.command in methods.split():
                    return answer(self, **{name: unquote(value) for name, value in match.groupdict().items()})
            raise Refusal(404)
        except Refusal as refusal:
            self.answer(b'{"error":"refused"}', refusal.status, **refusal.headers)

    do_HEAD = do_GET = do_POST = do_PUT = do_DELETE = handle_request  # the names that http.server calls

    def answer(self, body: bytes, status: int = 200, **headers: str) -> None:
        """Send an answer; to HEAD without its body."""
        self.server.watch(f"{self.command} {self.path}", True)
        if self.fault and self.fault.deaf:
            self.close_connection = True
            return
        self.send_response(status)
        claims = self.fault.claims if self.fault else {}
        for name, value in ({"Content-Length": str(len(body))} | headers | claims).items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        if self.command == "HEAD":
            return
        if self.fault and self.fault.flip is not None:
            body = body[: self.fault.flip] + bytes([body[self.fault.flip] ^ 1]) + body[self.fault.flip + 1 :]
        if self.fault and self.fault.cut_after is not None:
            self.close_connection = True
            body = body[: self.fault.cut_after]
        if self.fault and self.fault.drip:
            for byte in body:
                Event().wait(self.fault.drip)  # also where a test does without time.sleep
                self.wfile.write(bytes([byte]))
            return
        self.wfile.write(body)

    def answer_json(self, content: object, status: int = 200, **headers: str) -> None:
        self.answer(json.dumps(content).encode(), status, Content_Type="application/json", **headers)

    def user(self) -> str | None:
        """Whose token came along."""
        given = (self.headers.get("Authorization") or "").removeprefix("Bearer ")
        if given and given not in self.server.tokens:
            raise Refusal(401, X_Error_Message="Invalid credentials in Authorization header")
        return self.server.tokens.get(given)

    def repository(self, name: str) -> Repository:
        """A repository that the user may read; to others, what is private and what is not there look alike."""
        user, found = self.user(), self.server.repositories.get(name)
        owns = user == name.partition("/")[0]
        if found is None or (found.private and not owns):
            raise Refusal(404 if user else 401, "RepoNotFound")
        if found.gated and not owns:
            raise Refusal(403 if user else 401, "GatedRepo")
        return found

    def own(self, name: str) -> Repository:
        """A repository that the user may write to."""
        found = self.repository(name)
        self.check_writer(name.partition("/")[0])
        return found

    def check_writer(self, owner: str) -> None:
        given = (self.headers.get("Authorization") or "").removeprefix("Bearer ")
        if self.user() != owner or given in self.server.readers:
            raise Refusal(403, X_Error_Message=f"You don't have the rights to write to {owner}")

    def commit(self, name: str, revision: str) -> tuple[str, Files]:
        found = self.repository(name)
        number = found.at(revision)
        if number is None:
            raise Refusal(404, "RevisionNotFound")
        return number, found.commits[number]

    def resolve(self, name: str, revision: str, path: str) -> None:
        number, files = self.commit(name, revision)
        if path not in files:
            raise Refusal(404, "EntryNotFound", X_Repo_Commit=number)
        content = files[path]
        if not is_large(path, content):
            return self.answer(content, X_Repo_Commit=number, ETag=f'"{git_oid(content)}"')
        digest = sha256(content)
        self.answer(
            b"",
            302,
            Location=f"{self.server.store_url}/{digest}",
            X_Repo_Commit=number,
            X_Linked_ETag=f'"{digest}"',
            X_Linked_Size=str(len(content)),
        )

    def store(self, digest: str) -> None:
        """A large file by its sha256, from where the client says; to whoever knows the hash."""
        assert "Authorization" not in self.headers
        everything = (files for found in self.server.repositories.values() for files in found.commits.values())
        content = next(content for files in everything for content in files.values() if sha256(content) == digest)
        wanted = re.match(r"bytes=(\d+)-", self.headers.get("Range") or "")
        if not wanted:
            return self.answer(content, ETag=f'"{digest}"')
        start = int(wanted[1])
        where = f"bytes {start}-{len(content) - 1}/{len(content)}"
        self.answer(content[start:], 206, ETag=f'"{digest}"', Content_Range=where)

    def info(self, name: str, revision: str = "main") -> None:
        number, files = self.commit(name, revision)
        found = self.server.repositories[name]
        told = sibling if "blobs=true" in self.path else lambda path, content: {"rfilename": path}
        self.answer_json(
            {
                "_id": git_oid(name.encode())[:24], "id": name, "author": name.partition("/")[0], "sha": number,
                "lastModified": "2026-11-21T00:00:00.000Z", "createdAt": "2026-11-21T00:00:00.000Z",
                "private": found.private, "gated": "manual" if found.gated else False, "disabled": False,
                "downloads": 0, "likes": 0, "tags": [],
                "siblings": [told(path, content) for path, content in sorted(files.items())],
            }
        )  # fmt: skip

    def tree(self, name: str, revision: str) -> None:
        _, files = self.commit(name, revision)
        self.answer_json([entry(path, content) for path, content in sorted(files.items())])

    def paths(self, name: str, revision: str) -> None:
        """Those of the paths asked for that are there."""
        _, files = self.commit(name, revision)
        asked = parse_qs(self.body.decode())["paths"]
        self.answer_json([entry(path, files[path]) for path in asked if path in files])

    def refs(self, name: str) -> None:
        found, told = self.repository(name), {"branches": [], "tags": [], "converts": []}
        for ref, number in found.refs.items():
            kind, where = ("tags", "tags") if ref in found.tags else ("branches", "heads")
            told[kind].append({"name": ref, "ref": f"refs/{where}/{ref}", "targetCommit": number})
        self.answer_json(told)

    def models(self) -> None:
        """An owner's repositories that the user may read."""
        [author] = parse_qs(self.path.partition("?")[2])["author"]
        user, everything = self.user(), self.server.repositories.items()
        shown = [
            (name, found)
            for name, found in everything
            if name.startswith(f"{author}/") and (user == author or not found.private)
        ]
        self.answer_json([{"id": name, "modelId": name, "private": found.private} for name, found in shown])

    def log(self, name: str, revision: str) -> None:
        """The commits that led to one, the newest first."""
        number, _ = self.commit(name, revision)
        date = "2026-11-21T00:00:00.000Z"
        about: dict[str, object] = {"authors": [{"user": name.partition("/")[0]}], "date": date, "message": ""}
        found = self.server.repositories[name]
        self.answer_json([about | {"id": one, "title": found.titles[one]} for one in found.log(number)])

    def whoami(self) -> None:
        user = self.user()
        if user is None:
            raise Refusal(401)
        role = "read" if self.headers["Authorization"].removeprefix("Bearer ") in self.server.readers else "write"
        self.answer_json({"type": "user", "name": user, "auth": {"accessToken": {"role": role}}})

    def create(self) -> None:
        asked = json.loads(self.body)
        name = f"{asked['organization']}/{asked['name']}"
        self.check_writer(asked["organization"])
        there = name in self.server.repositories
        if not there:
            self.server.add(name, {".gitattributes": b"*.safetensors filter=lfs\n"}, asked["visibility"] == "private")
        self.answer_json({"url": f"{self.server.url}/{name}"}, 409 if there else 200)

    def delete(self) -> None:
        asked = json.loads(self.body)
        name = f"{asked['organization']}/{asked['name']}"
        self.own(name)
        del self.server.repositories[name]
        self.answer_json({})

    def set_visibility(self, name: str) -> None:
        self.own(name).private = json.loads(self.body)["visibility"] == "private"
        self.answer_json({})

    def validate(self) -> None:
        """A card's metadata, as far as the Hub is known to look at them."""
        metadata = yaml.safe_load(json.loads(self.body)["content"].split("---")[1])
        errors = []
        if metadata["license"] not in LICENCES:
            errors.append({"message": '"license" must be one of the known ones'})
        for model in metadata.get("model-index", []):
            for result in model["results"]:
                if not {"task", "dataset", "metrics"} <= result.keys():
                    errors.append({"message": '"model-index" is not complete'})
        self.answer_json({"errors": errors, "warnings": []}, 400 if errors else 200)

    def preupload(self, name: str, revision: str) -> None:
        found = self.own(name)
        here = found.commits[found.refs[revision]]
        answers = []
        for asked in json.loads(self.body)["files"]:
            path, mode = asked["path"], "lfs" if large(asked["path"], asked["size"]) else "regular"
            hashed = sha256 if mode == "lfs" else git_oid
            oid = hashed(here[path]) if path in here else None
            answers.append({"path": path, "uploadMode": mode, "shouldIgnore": False, "oid": oid})
        self.answer_json({"files": answers})

    def batch(self, name: str) -> None:
        """Where to upload large files: each in one piece or in parts; without actions is what is there."""
        self.own(name)
        self.answer_json(
            {"transfer": "basic", "objects": [self.place(name, **one) for one in json.loads(self.body)["objects"]]}
        )

    def place(self, name: str, oid: str, size: int) -> dict[str, object]:
        if oid in self.server.uploaded:
            return {"oid": oid, "size": size}
        where = f"{self.server.store_url}/{oid}"
        upload: dict[str, object] = {"href": where}
        if size > PART:
            numbers = range(1, -(-size // PART) + 1)
            upload["header"] = {"chunk_size": str(PART)} | {str(number): f"{where}/{number}" for number in numbers}
        verify = {"href": f"{self.server.url}/{name}.git/info/lfs/verify"}
        return {"oid": oid, "size": size, "actions": {"upload": upload, "verify": verify}}

    def upload(self, digest: str) -> None:
        assert "Authorization" not in self.headers
        if sha256(self.body) != digest:
            raise Refusal(400)
        self.server.uploaded[digest] = self.body
        self.answer(b"")

    def upload_part(self, digest: str, number: str) -> None:
        assert "Authorization" not in self.headers
        self.server.parts[digest, int(number)] = self.body
        self.answer(b"", ETag=f'"{git_oid(self.body)}"')

    def complete(self, digest: str) -> None:
        """Join the parts of a large file."""
        parts = sorted(json.loads(self.body)["parts"], key=lambda part: part["partNumber"])
        whole = b"".join(self.server.parts[digest, part["partNumber"]] for part in parts)
        if sha256(whole) != digest:
            raise Refusal(400)
        self.server.uploaded[digest] = whole
        self.answer(b"")

    def verify(self, name: str) -> None:
        self.own(name)
        asked = json.loads(self.body)
        if len(self.server.uploaded.get(asked["oid"], b"")) != asked["size"]:
            raise Refusal(404)
        self.answer_json({})

    def add_commit(self, name: str, revision: str) -> None:
        """All of a commit or nothing, on top of the parent that it names."""
        found = self.own(name)
        files: Files = {}
        gone: set[str] = set()
        title = ""
        for line in self.body.splitlines():
            key, value = (json.loads(line)[part] for part in ("key", "value"))
            if key == "header":
                title = value["summary"]
                if value.get("parentCommit", found.refs[revision]) != found.refs[revision]:
                    raise Refusal(412)
            if key == "file":
                files[value["path"]] = base64.b64decode(value["content"])
            if key == "lfsFile":
                files[value["path"]] = self.server.uploaded[value["oid"]]
            if key == "deletedFile":
                gone.add(value["path"])
            if key == "deletedFolder":
                gone |= {path for path in found.commits[found.refs[revision]] if path.startswith(value["path"])}
        number = found.commit(files, revision, frozenset(gone), title)
        url = f"{self.server.url}/{name}/commit/{number}"
        self.answer_json({"success": True, "commitOid": number, "commitUrl": url, "hookOutput": ""})

    def add_tag(self, name: str, revision: str) -> None:
        found, tag = self.own(name), json.loads(self.body)["tag"]
        if tag in found.refs:
            raise Refusal(409)
        found.refs[tag], _ = self.commit(name, revision)
        found.tags.add(tag)
        self.answer_json({})

    def add_branch(self, name: str, branch: str) -> None:
        found, start = self.own(name), json.loads(self.body).get("startingPoint", "main")
        if branch in found.refs:
            raise Refusal(409)
        found.refs[branch], _ = self.commit(name, start)
        self.answer_json({})

    def remove_branch(self, name: str, branch: str) -> None:
        if branch == "main" or self.own(name).refs.pop(branch, None) is None:
            raise Refusal(404, "RevisionNotFound")
        self.answer_json({})

    def log_message(self, format: str, *args: object) -> None:
        """Tests read `Hub.requests`."""


NAME = "(?P<name>[^/]+/[^/]+)"
ROUTES = [
    ("GET HEAD", f"/{NAME}/resolve/(?P<revision>[^/]+)/(?P<path>.+)", Handler.resolve),
    ("GET HEAD", "/store/(?P<digest>[0-9a-f]{64})", Handler.store),
    ("GET", f"/api/models/{NAME}", Handler.info),
    ("GET", f"/api/models/{NAME}/revision/(?P<revision>[^/]+)", Handler.info),
    ("GET", f"/api/models/{NAME}/tree/(?P<revision>[^/]+)", Handler.tree),
    ("POST", f"/api/models/{NAME}/paths-info/(?P<revision>[^/]+)", Handler.paths),
    ("GET", f"/api/models/{NAME}/refs", Handler.refs),
    ("GET", "/api/models", Handler.models),
    ("GET", f"/api/models/{NAME}/commits/(?P<revision>[^/]+)", Handler.log),
    ("GET", "/api/whoami-v2", Handler.whoami),
    ("POST", "/api/repos/create", Handler.create),
    ("DELETE", "/api/repos/delete", Handler.delete),
    ("PUT", f"/api/models/{NAME}/settings", Handler.set_visibility),
    ("POST", "/api/validate-yaml", Handler.validate),
    ("POST", f"/api/models/{NAME}/preupload/(?P<revision>[^/]+)", Handler.preupload),
    ("POST", rf"/{NAME}\.git/info/lfs/objects/batch", Handler.batch),
    ("PUT", "/store/(?P<digest>[0-9a-f]{64})", Handler.upload),
    ("PUT", "/store/(?P<digest>[0-9a-f]{64})/(?P<number>[0-9]+)", Handler.upload_part),
    ("POST", "/store/(?P<digest>[0-9a-f]{64})", Handler.complete),
    ("POST", rf"/{NAME}\.git/info/lfs/verify", Handler.verify),
    ("POST", f"/api/models/{NAME}/commit/(?P<revision>[^/]+)", Handler.add_commit),
    ("POST", f"/api/models/{NAME}/tag/(?P<revision>[^/]+)", Handler.add_tag),
    ("POST", f"/api/models/{NAME}/branch/(?P<branch>[^/]+)", Handler.add_branch),
    ("DELETE", f"/api/models/{NAME}/branch/(?P<branch>[^/]+)", Handler.remove_branch),
]


@contextmanager
def serving(home: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    """A running Hub that huggingface_hub talks to in this process, with an empty cache of its own and no token.

    huggingface_hub reads its addresses from the environment when it is imported, which was long ago: its constants are set.
    """
    hub = Hub()
    Thread(target=hub.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
    monkeypatch.setattr(constants, "ENDPOINT", hub.url)
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", hub.url + "/{repo_id}/resolve/{revision}/{filename}")
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(home / "hub"))
    monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(home / "token"))
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
    monkeypatch.delenv("HF_TOKEN", raising=False)
    try:
        yield hub
    finally:
        hub.shutdown()
        hub.server_close()


def environment(hub: Hub, home: Path) -> dict[str, str]:
    """The same for another process."""
    return {"HF_ENDPOINT": hub.url, "HF_HOME": str(home), "HF_HUB_DISABLE_XET": "1"}
