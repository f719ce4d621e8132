"""Questions to the Kubernetes API within one call: over one connection, tried again while that may help, within one budget of time."""

from __future__ import annotations

from time import monotonic

from cni_plugins.kernel import calls
from cni_plugins.kernel.https import Refused
from cni_plugins.model.frozen import dump_json, parse_json
from cni_plugins.protocol.errors import CniError, Conflict, DecodeFailure, InvalidConfig, TryAgain
from multus_lite import kubeconfig

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import Any

    from cni_plugins.kernel.https import Server
    from cni_plugins.plan.world import Handles

JSON = "application/json"
MERGE = "application/merge-patch+json"
_PASSING = (429, 500, 502, 503, 504)
"""Answers of a server that is busy or starting."""
_FIRST_PAUSE, _LONGEST_PAUSE = 0.05, 1.0


class Api:
    """The API server that `source`, a kubeconfig or "", leads to. `budget` is how many seconds all questions together may take; without
    `patient` each is asked once.
    """

    def __init__(self, handles: Handles, source: str, server: Server, *, budget: float, patient: bool = True) -> None:
        self._handles = handles
        self._source = source
        self._server = server
        self._connection = handles.connection(server)
        self._budget = budget
        self._left = budget
        self._patient = patient

    def get(self, path: str, *, enough: Callable[[Any], bool] = lambda data: True) -> Any:
        """The object at `path`; None when there is none. Raises CniError: TryAgain when there was no answer within the budget.

        One that an agent knows by watching is not asked for, if it is `enough`.
        """
        known = self._handles.recall(self._source, self._server, path)
        if known is not None and enough(known):
            return known
        status, data = self._ask("GET", path)
        return None if status == 404 else data

    def patch(self, path: str, change: Mapping[str, Any]) -> bool:
        """Merge `change` into the object at `path` (RFC 7386); False when there is none. Raises CniError."""
        return self._ask("PATCH", path, change, content=MERGE)[0] != 404

    def post(self, path: str, body: Mapping[str, Any]) -> None:
        """Make an object; one that is there already, from an answer that got lost, is no error. Raises CniError."""
        self._ask("POST", path, body)

    def _ask(self, method: str, path: str, body: Mapping[str, Any] | None = None, *, content: str = JSON) -> tuple[int, Any]:
        payload = dump_json(body) if body is not None else b""
        headers = {"Accept": JSON, "User-Agent": "multus-lite"}
        if payload:
            headers["Content-Type"] = content
        begun, pause = monotonic(), _FIRST_PAUSE
        try:
            while True:
                left = self._left - (monotonic() - begun)
                status, reason = 0, f"nothing within {self._budget:g} s"
                if left > 0:
                    status, reason, data = self._try(method, path, headers, payload, seconds=left)
                if status and status not in _PASSING:
                    return status, self._judged(status, data, f"{method} {path}")
                left = self._left - (monotonic() - begun)
                if not self._patient or left < pause:
                    raise TryAgain(f"the Kubernetes API at {self._server} did not answer {method} {path}: {reason}")
                calls.sleep(pause)
                pause = min(2 * pause, _LONGEST_PAUSE)
        finally:
            self._left -= monotonic() - begun

    def _try(self, method: str, path: str, headers: Mapping[str, str], payload: bytes, *, seconds: float) -> tuple[int, str, bytes]:
        """Ask once: the status, 0 when there was no answer; why not; the content."""
        try:
            status, data = self._connection.ask(method, path, headers, payload, seconds=seconds)
        except Refused as error:
            raise InvalidConfig(f"kubeconfig: {error}") from None
        except OSError as error:
            return 0, error.strerror or str(error), b""
        return status, f"status {status}: {message(data)}", data

    def _judged(self, status: int, data: bytes, what: str) -> Any:
        """The answer's content; an answer that will not change is an error."""
        if status < 300 or status == 404 or (status == 409 and what.startswith("POST")):
            return _parsed(data, what) if status < 300 else None
        text = f"the Kubernetes API refused {what}: {status}: {message(data)}"
        if status in (401, 403):
            raise InvalidConfig(f"kubeconfig: {text}", "see the RBAC manifest: a token may have expired, or a permission may be lacking")
        raise Conflict(text) if status == 409 else CniError(text)


def connect(handles: Handles, path: str, environ: Mapping[str, str], *, budget: float, patient: bool = True) -> Api | None:
    """The API that a kubeconfig or a pod's own credentials lead to; None when neither is there. Raises InvalidConfig, IoFailure."""
    server = kubeconfig.server(path, environ)
    return Api(handles, path, server, budget=budget, patient=patient) if server else None


def _parsed(data: bytes, what: str) -> Any:
    try:
        return parse_json(data)
    except DecodeFailure as error:
        raise DecodeFailure(f"the Kubernetes API answered {what} with what is not JSON: {error.msg}") from None


def message(data: bytes) -> str:
    """What a Status object says, or what there is in its place."""
    try:
        return str(parse_json(data)["message"])
    except (DecodeFailure, KeyError, TypeError):
        return data[:200].decode("utf-8", "replace")
