"""etcd v3 by its JSON gateway: requests to whichever endpoint answers, users and their tokens, streams.

In its JSON, keys and values are base64, 64-bit numbers are text, and what is zero or empty is left out.
"""

from __future__ import annotations

import json
import ssl
import threading
from base64 import b64encode
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NoReturn

import httpx2

from cni_plugins.protocol.errors import InvalidConfig
from vxlan.leases.store import StoreUnavailable
from vxlan.leases.wire import STREAM_TIMEOUT, TIMEOUT, Wire

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

UNAUTHENTICATED = 16
# A token that has run out, one from before a restart, and one from before users were changed.
_STALE_TOKEN = ("invalid auth token", "revision of auth store is old", "user name is empty")


@dataclass(frozen=True, slots=True)
class EtcdAccess:
    """Where etcd is and who we are. Paths are of PEM files; `endpoints` are tried in this order, such as https://192.168.77.1:2379."""

    endpoints: Sequence[str]
    ca_file: str = ""
    cert_file: str = ""
    key_file: str = ""
    username: str = ""
    password: str = ""

    def context(self) -> ssl.SSLContext:
        """How to speak TLS with it. Raises InvalidConfig, which names the file."""
        context = ssl.create_default_context()
        try:
            if self.ca_file:
                context = ssl.create_default_context(cafile=self.ca_file)
        except OSError as error:
            raise InvalidConfig(f"etcd: ca_file: {self.ca_file!r} has no certificates: {error}") from None
        try:
            if self.cert_file:
                context.load_cert_chain(self.cert_file, self.key_file or None)
        except OSError as error:
            raise InvalidConfig(f"etcd: cert_file, key_file: {self.cert_file!r} and {self.key_file!r} are no pair: {error}") from None
        return context


class Refused(StoreUnavailable):
    """etcd understood the request and said no; `grpc_code` is its code."""

    def __init__(self, grpc_code: int, words: str) -> None:
        super().__init__(f"etcd refuses: {words}")
        self.grpc_code = grpc_code


def text(data: bytes | str) -> str:
    """Bytes as the gateway wants them."""
    return b64encode(data.encode() if isinstance(data, str) else data).decode()


class Gateway:
    """The gateway of one etcd cluster. Raises InvalidConfig when its certificates cannot be read."""

    def __init__(self, access: EtcdAccess) -> None:
        if not access.endpoints:
            raise InvalidConfig("etcd: endpoints: there are none")
        self.access = access
        self._endpoints = [endpoint.rstrip("/") for endpoint in access.endpoints]
        secure = any(endpoint.startswith("https:") for endpoint in self._endpoints)
        self._wire = Wire(access.context() if secure else False)
        self._client = httpx2.Client(transport=self._wire, timeout=TIMEOUT, trust_env=False)
        self._lock = threading.Lock()
        self._token = ""

    def close(self) -> None:
        """End what waits. (A closed client would raise errors that are no HTTP errors in threads that are about to use it.)"""
        self._wire.close()

    def call(self, path: str, request: Mapping[str, object]) -> dict[str, Any]:
        """Ask the first endpoint that answers. Raises StoreUnavailable, naming each endpoint's reason, or Refused.

        What was sent to an endpoint that broke off may have been done: requests are made so that doing them twice does no harm.
        """
        reasons = []
        for endpoint in list(self._endpoints):
            try:
                return self._with_token(endpoint, path, request)
            except (httpx2.HTTPError, httpx2.InvalidURL, ValueError) as error:
                reasons.append(f"{endpoint}: {_reason(error)}")
                self._try_last(endpoint)
        raise StoreUnavailable(f"etcd does not answer: {'; '.join(reasons)}")

    def stream(self, path: str, request: Mapping[str, object]) -> Iterator[dict[str, Any]]:
        """Yield the messages of an answer that goes on. Raises StoreUnavailable when it ends, and Refused."""
        endpoint = self._endpoints[0]
        try:
            yield from self._messages(endpoint, path, request)
            reason = "it ended the stream"
        except (httpx2.HTTPError, httpx2.StreamError, httpx2.InvalidURL, ValueError) as error:
            reason = _reason(error)
        self._try_last(endpoint)
        raise StoreUnavailable(f"etcd does not answer: {endpoint}: {reason}")

    def _messages(self, endpoint: str, path: str, request: Mapping[str, object]) -> Iterator[dict[str, Any]]:
        # A member that is cut off from the others would keep the stream open and never say anything again.
        headers = {**self._authorization(endpoint), "Grpc-Metadata-hasleader": "true"}
        with self._client.stream("POST", endpoint + path, json=request, headers=headers, timeout=STREAM_TIMEOUT) as response:
            if response.status_code != 200:
                _fail(response.status_code, json.loads(response.read()))
            for line in response.iter_lines():
                message = json.loads(line)
                if "error" in message:
                    _fail(502, message["error"])
                yield message["result"]

    def _with_token(self, endpoint: str, path: str, request: Mapping[str, object]) -> dict[str, Any]:
        try:
            return self._post(endpoint, path, request, self._authorization(endpoint))
        except Refused as error:
            if not self.access.username or not is_stale_token(error):
                raise
        self.forget_token()
        return self._post(endpoint, path, request, self._authorization(endpoint))

    def _post(self, endpoint: str, path: str, request: Mapping[str, object], headers: Mapping[str, str]) -> dict[str, Any]:
        response = self._client.post(endpoint + path, json=request, headers=headers)
        answer = response.json()
        if response.status_code != 200 or not isinstance(answer, dict):
            _fail(response.status_code, answer)
        return answer

    def _authorization(self, endpoint: str) -> dict[str, str]:
        if not self.access.username:
            return {}
        with self._lock:
            if not self._token:
                who = {"name": self.access.username, "password": self.access.password}
                self._token = self._post(endpoint, "/v3/auth/authenticate", who, {})["token"]
            return {"Authorization": self._token}

    def forget_token(self) -> None:
        """Log in again before the next request."""
        with self._lock:
            self._token = ""

    def _try_last(self, endpoint: str) -> None:
        with self._lock:
            self._endpoints.sort(key=lambda one: one == endpoint)


def is_stale_token(error: Refused) -> bool:
    """Whether logging in again would help."""
    return error.grpc_code == UNAUTHENTICATED or any(words in str(error) for words in _STALE_TOKEN)


def _fail(status: int, answer: Any) -> NoReturn:
    """Raise what an error answer says: ValueError where another endpoint, or a later try, may do better."""
    fields = answer if isinstance(answer, dict) else {}
    words = str(fields.get("message") or fields.get("error") or f"HTTP status {status}")
    code = int(fields.get("code") or fields.get("grpc_code") or 0)
    # Codes of gRPC: 4 deadline exceeded, 13 internal, 14 unavailable (no leader, restarting). A stream reports all others as 502 too.
    if code in (0, 4, 13, 14) and not any(stale in words for stale in _STALE_TOKEN):
        raise ValueError(words)
    raise Refused(code, words)


def _reason(error: Exception) -> str:
    return str(error) or type(error).__name__
