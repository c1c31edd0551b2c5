"""Tell from the name of an encoder where it comes from: the zoo, the Hub, a folder or an ONNX file."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from pathlib import Path

from oscine.models.errors import OscineError
from oscine.models.plugins.named import DOTTED

HUB, LOCAL, ONNX_FILE = "hf-hub:", "local-dir:", "onnx-file:"
ROW = re.compile(r"(?P<row>\w+(\.\w+)?)@(?P<revision>.+)")  # of the zoo, in a revision


@dataclass(frozen=True)
class ModelName:
    """A name of an encoder, taken apart; `str` puts it together again.

    prefix    HUB, LOCAL or ONNX_FILE; "" of the zoo, of somebody's own, and of a path where one may stand alone
    rest      what follows: OWNER/REPOSITORY; a path; architecture, architecture.tag or module:Class
    revision  a branch, tag or commit on the Hub that is asked for, in a name behind "@"
    """

    prefix: str
    rest: str
    revision: str | None = None

    @classmethod
    def parse(cls, name: object) -> ModelName:
        """Take a name or a path apart; whether there is such an encoder is not looked at."""
        text = str(name)
        prefix = next((prefix for prefix in (HUB, LOCAL, ONNX_FILE) if text.startswith(prefix)), "")
        rest = text.removeprefix(prefix)
        if prefix == HUB:
            repository, _, revision = rest.partition("@")
            return cls(prefix, repository, revision or None)
        row = None if prefix else ROW.fullmatch(rest)
        return cls("", row["row"], row["revision"]) if row else cls(prefix, rest)

    def __str__(self) -> str:
        return f"{self.name}{f'@{self.revision}' if self.revision else ''}"

    @property
    def name(self) -> str:
        """The name without its revision."""
        return f"{self.prefix}{self.rest}"

    @property
    def without_prefix(self) -> bool:
        """Whether it can be a name of the zoo or a class of somebody's own; or it is a path that stands alone."""
        return not self.prefix

    @property
    def is_class(self) -> bool:
        """Whether it is module:Class, of somebody's own."""
        return self.without_prefix and DOTTED.fullmatch(self.rest) is not None

    @property
    def on_hub(self) -> bool:
        return self.prefix == HUB

    @property
    def is_folder(self) -> bool:
        return self.prefix == LOCAL

    @property
    def is_onnx_file(self) -> bool:
        return self.prefix == ONNX_FILE

    @property
    def on_disk(self) -> bool:
        """Whether it holds a path of this machine, which says nothing on another one."""
        return self.is_folder or self.is_onnx_file

    @property
    def path(self) -> Path:
        """The path in it; where a path may stand without a prefix, that one."""
        return Path(self.rest) if self.on_disk else Path(str(self))

    def at(self, revision: str | None) -> ModelName:
        """Ask for a revision, too; another one than the name's own is an error."""
        if self.revision and revision and self.revision != revision:
            raise OscineError(f"{self} and revision={revision!r} differ; give one of them")
        return replace(self, revision=revision or self.revision)
