"""Running other CNI plugins: input on stdin, answer from stdout (SPEC 1.1.0, "Execution Protocol"); several at a time, if need be.

posix_spawn(3) and poll(2), without `subprocess`, whose import takes longer than many a plugin. A plugin that is being
installed (ETXTBSY) is tried again.
"""

from __future__ import annotations

import posix
from errno import ETXTBSY
from time import monotonic

from cni_plugins.kernel import calls, signals
from cni_plugins.protocol.errors import CniError, IoFailure

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
    from types import TracebackType
    from typing import Any, Self, TypeVar

    F = TypeVar("F")
    Heed = tuple[int, Callable[[], None]]
    Work = Generator["Program", "Finished", F]

_POLLIN = 0x1
_SIGTERM, _SIGKILL = 15, 9
_BUSY_SECONDS = 2.0
_GRACE_SECONDS = 5.0
_PAUSE = 0.01
_LOCK = 3
"""Which descriptor an inherited lock is in the child; it does not know of it."""


def clean_environment(environment: Mapping[str, str]) -> dict[str, str]:
    """The environment for another program: without what PyInstaller's bootloader put into ours.

    It makes the dynamic linker prefer the libraries of our bundle (LD_LIBRARY_PATH), which would break a program of the host.
    """
    kept = {name: value for name, value in environment.items() if not name.startswith(("_PYI_", "_MEIPASS"))}
    original = kept.pop("LD_LIBRARY_PATH_ORIG", None)
    if original is not None:
        kept["LD_LIBRARY_PATH"] = original
    elif len(kept) < len(environment):
        kept.pop("LD_LIBRARY_PATH", None)
    return kept


class Finished:
    """What came of a program: `status` (its exit status, or minus the signal that ended it), and what it wrote."""

    __slots__ = ("status", "stderr", "stdout")

    def __init__(self, status: int, stdout: bytes, stderr: bytes) -> None:
        self.status = status
        self.stdout = stdout
        self.stderr = stderr


class Program:
    """What is to be executed: the file at `path`, with `stdin` as its input.

    Its stderr goes to the descriptor `stderr`, unless it is captured. It inherits `lock`, a descriptor that is locked: should we be killed,
    nobody gets the lock before it has ended. `limit` is how many bytes it may write.
    """

    __slots__ = ("capture_stderr", "environment", "limit", "lock", "path", "stderr", "stdin")

    def __init__(
        self,
        path: str,
        stdin: bytes,
        environment: Mapping[str, str],
        *,
        limit: int = 1 << 24,
        capture_stderr: bool = False,
        stderr: int = 2,
        lock: int = -1,
    ) -> None:
        self.path = path
        self.stdin = stdin
        self.environment = environment
        self.limit = limit
        self.capture_stderr = capture_stderr
        self.stderr = stderr
        self.lock = lock


def run(path: str, stdin: bytes, environment: Mapping[str, str], *, limit: int = 1 << 24, capture_stderr: bool = False) -> Finished:
    """Run one program (see Program) and wait for its end.

    Raises OSError if it cannot be started, IoFailure if it writes more than `limit` bytes. Whatever else is raised while it runs, by a
    signal's handler for instance, ends it first: see `together`.
    """
    return complete(_alone(Program(path, stdin, environment, limit=limit, capture_stderr=capture_stderr)))


def _alone(program: Program) -> Work[Finished]:
    return (yield program)


def complete(work: Work[F], heed: Heed | None = None) -> F:
    """Do one work to its end, executing each program that it asks for: its value, or what it raises. See `together`."""
    (outcome,) = together([work], heed)
    if isinstance(outcome, Exception):
        raise outcome
    return outcome


def together(works: Sequence[Work[F]], heed: Heed | None = None) -> list[F | CniError | OSError]:
    """Do several works at once. A work yields the Program that it needs executed, and gets what came of it, Finished or an error.

    Programs of different works run at the same time; everything else is done in turn. Returns what came of each work: its value, or
    the CniError or OSError that it raised, which does not keep the others from going on.

    `heed` is a descriptor, and what is called when it can be read while programs run. Whatever is raised there, or by a signal's handler,
    is raised here: the programs are told to end (SIGTERM, and after five seconds SIGKILL), and have ended then.
    """
    outcomes: list[Any] = [None] * len(works)
    waiting: dict[_Child, int] = {}
    with _Children(heed) as children:

        def go_on(index: int, ended: _Child | None) -> None:
            work = works[index]
            try:
                waiting[children.start(next(work) if ended is None else ended.tell(work))] = index
            except StopIteration as end:
                outcomes[index] = end.value
            except (CniError, OSError) as error:
                outcomes[index] = error

        for index in range(len(works)):
            go_on(index, None)
        while waiting:
            child = children.next()
            go_on(waiting.pop(child), child)
    return outcomes


class _Child:
    """A program that was started; `pid` is its process until that has been reaped, 0 from then on."""

    __slots__ = ("_error", "_pipes", "_status", "pid")

    def __init__(self, program: Program) -> None:
        from cni_plugins.kernel.pipes import Pipes  # most calls have plugins of ours only

        self._error: OSError | IoFailure | None = None
        self._pipes = Pipes(program)
        self._status = 0
        self.pid = 0

    def start(self, program: Program) -> None:
        """Raises OSError."""
        self._pipes.open()
        inherited = {**({} if program.capture_stderr else {2: program.stderr}), **({_LOCK: program.lock} if program.lock >= 0 else {})}
        descriptors = {**self._pipes.theirs, **inherited}
        deferred = signals.defer()
        try:
            self.pid = _spawn(program.path, clean_environment(program.environment), descriptors=descriptors, blocked=deferred)
        finally:
            signals.restore(deferred)
        self._pipes.close_theirs()

    def watched(self) -> dict[int, int]:
        """The descriptors to wait for (see Pipes); none when its end is all that is left to wait for."""
        return {} if self._error else self._pipes.watched()

    def serve(self, fd: int) -> None:
        """Read from or write to a descriptor that is ready."""
        try:
            if fd in self.watched():
                self._pipes.serve(fd)
        except (IoFailure, OSError) as error:
            self.fail(error)

    def fail(self, error: OSError | IoFailure) -> None:
        """End it: this is what came of it."""
        self._error = error
        _end([self])

    def finish(self) -> None:
        """Wait for its end."""
        try:
            if self.pid:
                self._status, self.pid = calls.waitpid(self.pid, 0)[1], 0
        except OSError as error:
            self.fail(error)
        self.close()

    def close(self) -> None:
        """Close its pipes."""
        self._pipes.close()

    def tell(self, work: Work[Any]) -> Program:
        """Give a work what came of its program; what it needs next. Raises StopIteration when it is done."""
        if self._error:
            return work.throw(self._error)
        return work.send(Finished(posix.waitstatus_to_exitcode(self._status), *self._pipes.received()))


class _Children:
    """Programs that run at the same time; none of them outlives the context."""

    __slots__ = ("_heed", "_running")

    def __init__(self, heed: Heed | None) -> None:
        self._heed = heed
        self._running: list[_Child] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        try:
            _end(self._running)
        finally:
            for child in self._running:
                child.close()

    def start(self, program: Program) -> _Child:
        """Start one. That it could not be started is what came of it then."""
        child = _Child(program)
        self._running.append(child)
        try:
            child.start(program)
        except OSError as error:
            child.fail(error)
        return child

    def next(self) -> _Child:
        """Wait until one has ended."""
        while True:
            for child in self._running:
                if not child.watched():
                    child.finish()
                    self._running.remove(child)
                    return child
            self._serve()

    def _serve(self) -> None:
        owners = {fd: child for child in self._running for fd in child.watched()}
        watched = {fd: events for child in self._running for fd, events in child.watched().items()}
        if self._heed is not None:
            watched[self._heed[0]] = _POLLIN
        try:
            ready = calls.poll(watched)
        except OSError as error:
            for child in self._running:
                child.fail(error)
            return
        for fd, _events in ready:
            if fd in owners:
                owners[fd].serve(fd)
            elif self._heed is not None:
                self._heed[1]()


def _spawn(path: str, environment: Mapping[str, str], *, descriptors: Mapping[int, int], blocked: Iterable[int]) -> int:
    deadline = monotonic() + _BUSY_SECONDS
    while True:
        try:
            return calls.spawn(path, [path], environment, descriptors=descriptors, blocked=blocked)
        except OSError as error:
            if error.errno != ETXTBSY or monotonic() > deadline:
                raise
        calls.sleep(_PAUSE)


def _end(children: list[_Child]) -> None:
    """End children and reap them."""
    left = [child for child in children if child.pid and _signal(child, _SIGTERM)]
    deadline = monotonic() + _GRACE_SECONDS
    while left and monotonic() < deadline:
        left = [child for child in left if not _has_ended(child)]
        if left:
            calls.sleep(_PAUSE)
    for child in left:
        if _signal(child, _SIGKILL):
            _has_ended(child, wait=True)


def _signal(child: _Child, number: int) -> bool:
    """Send a signal; false when nobody is there: it had ended, and been reaped, before the exception came."""
    try:
        calls.kill(child.pid, number)
    except ProcessLookupError:
        child.pid = 0
    return bool(child.pid)


def _has_ended(child: _Child, *, wait: bool = False) -> bool:
    try:
        if calls.waitpid(child.pid, 0 if wait else posix.WNOHANG)[0]:
            child.pid = 0
    except ChildProcessError:
        child.pid = 0
    return not child.pid
