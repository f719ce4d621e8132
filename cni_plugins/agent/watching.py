"""Collections of the Kubernetes API, watched and kept in memory.

A collection is listed, and watched from there on; a watch that ends is resumed where it was, and the list fetched anew when the API
server has forgotten what happened since (status 410). See "Efficient detection of changes" in Kubernetes' API concepts.
"""

from __future__ import annotations

import logging
import os
import socket
import threading
from collections.abc import Callable, Mapping
from time import monotonic
from typing import Any
from urllib.parse import urlencode

from cni_plugins.agent.stream import HEAD_SECONDS, Stream
from cni_plugins.kernel.https import Connection, Refused, Server
from cni_plugins.model.frozen import parse_json
from cni_plugins.protocol.errors import CniError
from multus_lite.api import JSON, message
from vxlan.leases.store import Backoff

Object = dict[str, Any]
Name = tuple[str, str]
Changed = Callable[[str, str, Object | None], None]

SETTLED_SECONDS = 1.0
"""What happened before a watch began has come by then: the API server sends it at once."""
_LASTING_SECONDS = 10.0
"""A watch that lasted so long was none that fails again and again."""
_STOPPING_SECONDS = 2.0
_FIRST_PAUSE, _LONGEST_PAUSE = 0.1, 60.0
_PAGE = 250
_GONE = 410
_METADATA = "application/json;as=PartialObjectMetadata{};g=meta.k8s.io;v=v1"

log = logging.getLogger(__name__)


class Unwatched(Exception):
    """The collection could not be listed, or not be watched from where we were; the text says why."""


class Forgotten(Unwatched):
    """The API server has forgotten what happened since then, as it does with time."""


class Watched:
    """The objects at `path`, such as /api/v1/pods, kept from `start` to `stop` by a thread of its own.

    `server` tells where the API is and who we are; it is called for each connection, since credentials change, and may raise CniError.
    `query` narrows what is watched, such as {"fieldSelector": "spec.nodeName=one"}. `brief` leaves everything but metadata with the API
    server; metadata.managedFields is left out in any case. `changed` is called in the thread with namespace, name and object for each that
    is new or not what it was, with None for one that is gone: at first, and when the list was fetched anew, for all that the list tells.
    """

    def __init__(
        self,
        server: Callable[[], Server],
        path: str,
        *,
        query: Mapping[str, str] | None = None,
        brief: bool = False,
        changed: Changed = lambda namespace, name, found: None,
    ) -> None:
        self.path = path
        self._server = server
        self._query = dict(query or {})
        self._brief = brief
        self._changed = changed
        self._objects: dict[Name, Object] = {}
        self._cursor = ""
        self._stream: Stream | None = None
        self._since = 0.0
        self._trouble = ""
        self._pauses = Backoff(first=_FIRST_PAUSE, most=_LONGEST_PAUSE)
        self._wake = threading.Event()
        self._stopped = False
        self._turn = threading.Lock()
        self._telling = threading.Lock()
        self._thread = threading.Thread(target=self._run, name=f"watch {path}", daemon=True)

    def start(self) -> None:
        """Begin; returns at once."""
        self._thread.start()

    def stop(self) -> None:
        """Stop; what is known stays known, but is not `synced` any more."""
        self._stopped = True
        self.renew()
        self._thread.join(_STOPPING_SECONDS)  # one that is connecting ends by itself

    def renew(self) -> None:
        """Go on with another connection, and with what `server` says now."""
        with self._turn:
            if self._stream:
                self._stream.stop()
        self._wake.set()

    @property
    def synced(self) -> bool:
        """Whether memory has all that the API server has told: it is watched, and nothing that has come waits to be taken in."""
        with self._turn:
            settled = self._stream is not None and self._since + SETTLED_SECONDS <= monotonic()
            return settled and self._stream is not None and self._stream.caught_up

    def get(self, namespace: str, name: str) -> Object | None:
        """An object as it was heard of last; None when there is none. Not to be changed."""
        return self._objects.get((namespace, name))

    def tell_all(self) -> None:
        """Tell `changed` of every object, in the caller's thread and before anything newer."""
        with self._telling:
            for name, one in self._objects.items():
                self._tell(name, one)

    def _run(self) -> None:
        while not self._stopped:
            try:
                self._follow(self._server())
            except (CniError, Refused, OSError) as error:
                self._complain(str(error))
            except Unwatched as error:
                self._cursor = ""
                if not isinstance(error, Forgotten):
                    self._complain(str(error))
            except Exception:
                self._cursor = ""
                log.exception("watching %s has met a defect", self.path)
            self._wake.wait(self._pauses.pause())
            self._wake.clear()

    def _complain(self, trouble: str) -> None:
        if trouble != self._trouble and not self._stopped:
            log.warning("cannot watch %s: %s", self.path, trouble)
        self._trouble = trouble

    def _follow(self, server: Server) -> None:
        """List if need be, and watch until the watch ends. Raises Unwatched, Refused, OSError."""
        if not self._cursor:
            self._list(server)
        query = {"watch": "1", "allowWatchBookmarks": "true", "resourceVersion": self._cursor}
        stream = Stream(server, self._target(query), self._headers(""))
        try:
            if stream.status != 200:
                raise _failure(stream.status, message(stream.rest()))
            self._begin(stream, server)
            for line in stream.lines():
                self._take(line)
        finally:
            with self._turn:
                self._stream = None
                stream.close()
        if monotonic() - self._since > _LASTING_SECONDS:
            self._pauses.reset()

    def _begin(self, stream: Stream, server: Server) -> None:
        with self._turn:
            self._stream, self._since = stream, monotonic()
        if self._stopped or self._server() != server:  # `stop` or `renew` came before there was a stream to end
            stream.stop()
        if self._trouble:
            log.info("watching %s", self.path)
            self._trouble = ""

    def _list(self, server: Server) -> None:
        found: dict[Name, Object] = {}
        more: str | None = ""
        connection = Connection(server)
        try:
            while more is not None:
                target = self._target({"limit": str(_PAGE), **({"continue": more} if more else {})})
                status, data = connection.ask("GET", target, self._headers("List"), seconds=HEAD_SECONDS)
                if status != 200:
                    raise _failure(status, message(data))
                page = _parsed(data)
                found |= {_name(one): one for one in map(_trimmed, page["items"] or ())}
                more, cursor = page["metadata"].get("continue") or None, page["metadata"]["resourceVersion"]
        except (AttributeError, KeyError, TypeError) as error:
            raise Unwatched(f"its list is not as it should be: {error!r}") from None
        finally:
            connection.close()
        for name in [*found, *(self._objects.keys() - found.keys())]:
            self._put(name, found.get(name))
        self._cursor = cursor

    def _take(self, line: bytes) -> None:
        """One event of a watch. Raises Unwatched."""
        try:
            event = _parsed(line)
            kind, one = event["type"], event["object"]
            if kind == "ERROR":
                raise _failure(one.get("code", 0), str(one.get("message")))
            cursor = one["metadata"]["resourceVersion"]
            if kind != "BOOKMARK":
                self._put(_name(one), None if kind == "DELETED" else _trimmed(one))
        except (AttributeError, KeyError, TypeError) as error:
            raise Unwatched(f"an event is not as it should be: {error!r}") from None
        self._cursor = cursor
        self._pauses.reset()

    def _put(self, name: Name, one: Object | None) -> None:
        with self._telling:
            before = self._objects.get(name)
            if one is None:
                self._objects.pop(name, None)
            else:
                self._objects[name] = one
            if _version(before) != _version(one):
                self._tell(name, one)

    def _tell(self, name: Name, one: Object | None) -> None:
        try:
            self._changed(*name, one)
        except Exception:
            log.exception("what %s/%s of %s leads to has met a defect", *name, self.path)

    def _target(self, query: Mapping[str, str]) -> str:
        return f"{self.path}?{urlencode({**self._query, **query})}"

    def _headers(self, what: str) -> dict[str, str]:
        return {"Accept": _METADATA.format(what) if self._brief else JSON, "User-Agent": "cni-agent"}


def node_name() -> str:
    """What Kubernetes calls this node: what NODE_NAME says, else what the kubelet makes of the host's name."""
    return os.environ.get("NODE_NAME") or socket.gethostname().lower()


def _failure(status: int, text: str) -> Unwatched:
    return Forgotten(text) if status == _GONE else Unwatched(f"{status}: {text}")


def _parsed(data: bytes) -> Any:
    try:
        return parse_json(data)
    except CniError as error:
        raise Unwatched(f"an answer is not JSON: {error}") from None


def _name(one: Object) -> Name:
    return one["metadata"].get("namespace") or "", one["metadata"]["name"]


def _trimmed(one: Object) -> Object:
    one["metadata"].pop("managedFields", None)
    return one


def _version(one: Object | None) -> str:
    return one["metadata"]["resourceVersion"] if one else ""
