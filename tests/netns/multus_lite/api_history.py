"""What has happened to the objects of the tiny Kubernetes API, told to those who watch."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from typing import Any


class History:
    """Every change, numbered from 1 on. What came before number `oldest` is forgotten when somebody asks for it."""

    def __init__(self) -> None:
        self.oldest = 0
        self._changes: list[tuple[str, str, dict[str, Any]]] = []
        self._changed = threading.Condition()
        self._rounds = 0

    @property
    def version(self) -> int:
        """Of the newest change."""
        return len(self._changes)

    def tell(self, kind: str, what: str, one: dict[str, Any]) -> None:
        """Something is ADDED, MODIFIED or DELETED, and gets its version."""
        with self._changed:
            one["metadata"]["resourceVersion"] = str(self.version + 1)
            self._changes.append((kind, what, json.loads(json.dumps(one))))
            self._changed.notify_all()

    def end_watches(self) -> None:
        """End those that are going on, as an API server does from time to time."""
        with self._changed:
            self._rounds += 1
            self._changed.notify_all()

    def since(self, version: int, kind: str) -> Iterator[dict[str, Any]]:
        """What a watch tells, until it is ended."""
        if version < self.oldest:
            yield {"type": "ERROR", "object": {"kind": "Status", "code": 410, "message": "too old resource version"}}
            return
        begun = self._rounds
        while True:
            with self._changed:
                while self.version == version and self._rounds == begun:
                    self._changed.wait()
                if self._rounds > begun:
                    return
                found, what, one = self._changes[version]
                version += 1
            if found == kind:
                yield {"type": what, "object": one}
