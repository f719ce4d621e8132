"""Calling another plugin: found through CNI_PATH, executed; or called in this process when it turns out to be our own
(SPEC section 4, "Plugin Delegation").
"""

from __future__ import annotations

from cni_plugins.kernel import calls, process
from cni_plugins.kernel.process import Program
from cni_plugins.model.frozen import dump_json, parse_json
from cni_plugins.plan.resource import Resource
from cni_plugins.protocol.errors import DecodeFailure, DelegateFailed, InvalidConfig, IoFailure
from cni_plugins.protocol.result import from_json

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from cni_plugins.kernel.process import Work
    from cni_plugins.plan.world import World
    from cni_plugins.protocol.attachment import Attachment
    from cni_plugins.protocol.request import Request
    from cni_plugins.protocol.result import Result

_S_IFMT, _S_IFREG = 0o170000, 0o100000
_NO_SUCH_VERB = (1, 4)
"""What plugins older than 1.1 answer to STATUS and GC: version or verb unknown."""


class Delegate:
    """A plugin that another one calls: its name, the file that CNI_PATH leads to, and whether that is our own executable."""

    __slots__ = ("name", "own", "path")

    def __init__(self, name: str, path: str, *, own: bool) -> None:
        self.name = name
        self.path = path
        self.own = own

    def call(self, world: World, request: Request) -> Result | None:
        """Run one verb; the result of an ADD, None of other verbs. Raises CniError, a foreign plugin's as DelegateFailed."""
        return process.complete(self.calling(world, request), world.handles.heed)

    def calling(self, world: World, request: Request) -> Work[Result | None]:
        """`call` for who does other things while a foreign plugin runs."""
        if self.own:
            return world.handles.nested(world, request)
        handles = world.handles
        try:
            finished = yield Program(self.path, request.stdin, request.environ, stderr=handles.stderr, lock=handles.lock)
        except OSError as error:
            raise IoFailure(f"{self.name}: cannot run {self.path}: {error.strerror}") from None
        if finished.status != 0:
            raise self._failure(finished.status, finished.stdout)
        if request.command != "ADD":
            return None
        return from_json(self._parse(finished.stdout), where=f"the result of {self.name}")

    def call_newer(self, world: World, request: Request) -> None:
        """Run a verb that version 1.1 brought; one too old to know it has nothing to say or to do. Raises CniError."""
        try:
            self.call(world, request)
        except DelegateFailed as error:
            if error.code not in _NO_SUCH_VERB:
                raise

    def _failure(self, status: int, stdout: bytes) -> DelegateFailed:
        try:
            answer = self._parse(stdout)
            code, msg, details = answer["code"], answer["msg"], answer.get("details") or ""
        except (DecodeFailure, KeyError, TypeError, AttributeError):
            return DelegateFailed(f"{self.name} failed without saying why ({_ending(status)})", stdout.decode("utf-8", "replace"))
        return DelegateFailed(f"{self.name}: {msg}", str(details), code if isinstance(code, int) else DelegateFailed.code)

    def _parse(self, stdout: bytes) -> Any:
        try:
            return parse_json(stdout)
        except DecodeFailure as error:
            raise DecodeFailure(f"{self.name} printed what is not JSON: {error.msg}", stdout.decode("utf-8", "replace")) from None


class Delegated(Resource["Result"]):
    """Something that another plugin makes, whose result is the fact: subclasses say how in `applying`."""

    __slots__ = ()

    def apply(self, world: World, att: Attachment) -> Result:
        """The delegate's ADD."""
        return process.complete(self.applying(world, att), world.handles.heed)


def find(world: World, name: str, *, field: str) -> Delegate:
    """The executable of a plugin, in the first directory of CNI_PATH that has it.

    `field` names the configuration's key in errors. Raises InvalidConfig when the name is not a file's or nothing is found.
    """
    if "/" in name or name in (".", ".."):
        raise InvalidConfig(f"{field}: {name!r} is not the name of a plugin")
    for directory in world.request.path:
        path = f"{directory}/{name}"
        try:
            found = calls.stat(path)
        except OSError:
            continue
        if found.st_mode & _S_IFMT == _S_IFREG:
            own = _is_ours(world, path, (found.st_dev, found.st_ino), size=found.st_size)
            return Delegate(name, path, own=own)
    raise InvalidConfig(f"{field}: no plugin {name!r} in CNI_PATH {':'.join(world.request.path)!r}", "install it, or correct the name")


def _is_ours(world: World, path: str, identity: tuple[int, int], *, size: int) -> bool:
    """Whether a file is our own executable: the same file, or a copy, since who copies a directory of plugins may know no hard links."""
    if world.handles.executable is None or identity == world.handles.executable:
        return world.handles.executable is not None
    from cni_plugins.kernel.own import is_copy

    return is_copy(path, size)


def with_prev_result(conf: bytes, prev: Any) -> bytes:
    """A delegate's configuration as it is, or with the prevResult that the runtime passed with this call (SPEC section 4)."""
    return conf if prev is None else dump_json({**parse_json(conf), "prevResult": prev})


def _ending(status: int) -> str:
    return f"exit status {status}" if status >= 0 else f"ended by signal {-status}"
