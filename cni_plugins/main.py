"""First stage: what an executable does before it knows how much of the rest it needs.

Imports next to nothing, since process start is most of the cost of a cheap call: VERSION is answered from here. Every other
verb is handed over to an agent, if one is listening; else it goes on in `handler`, in the same process.
"""

from __future__ import annotations

import posix
import sys

from cni_plugins import RUN_DIR

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from cni_plugins.handover import Call

_STDIN, _STDOUT, _STDERR = 0, 1, 2
_CHUNK = 1 << 16
_ENDING = (2, 15)  # SIGINT, SIGTERM


class Terminated(BaseException):
    """SIGTERM or SIGINT arrived. Not an Exception, so that nothing takes it for a failure that it may handle."""


def main() -> None:
    """Serve the call that the environment and standard input describe, and end the process."""
    _open_standard_descriptors()
    plugin = sys.argv[0].rpartition("/")[2]
    if plugin in ("cni-agent", "cnictl"):
        posix._exit(_tool(plugin))
    environ = {_text(key): _text(value) for key, value in posix.environ.items()}
    command = environ.get("CNI_COMMAND", "")
    if not command:
        posix._exit(_about(plugin))
    stdin = b"" if posix.isatty(_STDIN) else _read_all()
    try:
        status = _version(stdin) if command == "VERSION" else _serve(plugin, environ, stdin)
    except Terminated:
        status = 1  # it came before the call was begun, or when its answer was out; calling again does no harm
    except Exception as error:  # noqa: BLE001 - an incomplete installation, most likely: nothing was done yet
        status = _unable(error)
    posix._exit(status)


def _tool(name: str) -> int:
    """Run a program for people; it may end itself, as programs do."""
    from cni_plugins.registry import TOOLS

    try:
        status = int(__import__(TOOLS[name], fromlist=("main",)).main(sys.argv[1:], build=_build()))
    except SystemExit as ended:
        status = ended.code if isinstance(ended.code, int) else 1
    finally:
        for stream in (sys.stdout, sys.stderr):
            try:
                stream.flush()
            except OSError:
                status = 1
    return status


def _build() -> str:
    """The name of this build, which its contents directory bears; empty in a source tree."""
    home: str = getattr(sys, "_MEIPASS", "")
    return home.rpartition("/.cni-plugins-")[2]


def _serve(plugin: str, environ: dict[str, str], stdin: bytes) -> int:
    from cni_plugins import handover

    signals = _Signals()
    signals.end_the_call()
    own = posix.stat(sys.executable)
    call = handover.Call(plugin, environ, stdin, executable=(own.st_dev, own.st_ino))
    resumes = ""
    build = _build()
    channel = handover.offer(handover.socket_path(RUN_DIR, build)) if build and not handover.is_private(call) else None
    if channel is not None:
        signals.wait()
        try:
            if handover.hand_over(channel, call):
                signals.pass_on(lambda number: channel.send(handover.ENDED + bytes([number])))
                return handover.serve(channel, call, signals.deliver, ended=signals.last)
        except handover.Broken:
            resumes = call.token
        finally:
            channel.close()
        if signals.came and not resumes:
            return 1  # nothing was begun
        signals.end_the_call()
    return _serve_here(call, signals, resumes)


def _serve_here(call: Call, signals: _Signals, resumes: str) -> int:
    from cni_plugins.handler import handle
    from cni_plugins.plan.world import Handles
    from cni_plugins.protocol.request import Request

    def deliver(answer: bytes, status: int) -> None:
        signals.raise_what_came()
        signals.deliver(answer)

    request = Request(call.plugin, call.environ, call.stdin)
    request.resumes = resumes
    return handle(request, deliver, Handles(executable=call.executable))


class _Signals:
    """What SIGTERM and SIGINT do: they end a call of this process at once, and are told to the agent that serves it.

    `came` is the one that came while an agent did, 0 for none. From the delivery of the answer on there are none: the runtime may have it.
    """

    __slots__ = ("_signal", "_tell", "came")

    def __init__(self) -> None:
        import _signal  # without the enums of the standard library's module

        self._signal = _signal
        self._tell: Callable[[int], object] | None = None
        self.came = 0

    def _set(self, handler: Any) -> None:
        for number in _ENDING:
            self._signal.signal(number, handler)

    def end_the_call(self) -> None:
        self._set(self._terminate)

    def wait(self) -> None:
        self._set(self._remember)

    def pass_on(self, tell: Callable[[int], object]) -> None:
        """Tell the agent, which has the request by now."""
        self._tell = tell
        if self.came:
            self._remember(self.came, None)

    def last(self) -> int:
        """The signal that came, 0 for none; from here on none does."""
        self._set(self._signal.SIG_IGN)
        return self.came

    def raise_what_came(self) -> None:
        number, self.came = self.came, 0
        if number:
            raise Terminated(f"ended by signal {number}")

    def deliver(self, answer: bytes) -> None:
        self._set(self._signal.SIG_IGN)
        _write_all(answer)

    def _terminate(self, number: int, frame: object) -> None:
        self._set(self._signal.SIG_IGN)  # undoing is not to be interrupted again
        raise Terminated(f"ended by signal {number}")

    def _remember(self, number: int, frame: object) -> None:
        self.came = number
        if self._tell is not None:
            try:
                self._tell(number)
            except OSError:
                pass  # it is dead, which is found out by whoever waits for its answer


def _open_standard_descriptors() -> None:
    """Fill descriptors that we were started without, or the next file opened would become our standard output.

    What takes the place of standard output cannot be written to: an answer that nobody gets has to fail.
    """
    for fd, flags in ((_STDIN, posix.O_RDONLY), (_STDOUT, posix.O_RDONLY), (_STDERR, posix.O_WRONLY)):
        try:
            posix.fstat(fd)
        except OSError:
            posix.open("/dev/null", flags)  # the lowest free descriptor: this one


def _unable(error: Exception) -> int:
    """Say in the runtime's words that the rest of us could not even be loaded."""
    said = f"{type(error).__name__}: {error}".encode("ascii", "replace").decode().replace("\\", "/").replace('"', "'")
    try:
        _write_all(f'{{"cniVersion":"1.1.0","code":999,"msg":"the plugin is not completely installed: {said}"}}\n'.encode())
    except OSError:
        pass  # nobody listens; the exit status tells
    return 1


def _about(plugin: str) -> int:
    """What a person sees who runs the executable by hand; exit status 0, as the reference has it."""
    from cni_plugins import VERSION
    from cni_plugins.protocol.versions import SUPPORTED

    text = f"CNI plugin {plugin} v{VERSION}: called by container runtimes, with CNI_COMMAND in the environment\n"
    posix.write(_STDERR, f"{text}CNI protocol versions supported: {', '.join(SUPPORTED)}\n".encode())
    return 0


def _version(stdin: bytes) -> int:
    from cni_plugins.protocol.versions import NEWEST, SUPPORTED

    asked = _asked_version(stdin) or NEWEST
    supported = ",".join(f'"{version}"' for version in SUPPORTED)
    try:
        _write_all(f'{{"cniVersion":"{asked}","supportedVersions":[{supported}]}}\n'.encode())
    except OSError:
        return 1
    return 0


def _asked_version(stdin: bytes) -> str:
    """The cniVersion that VERSION is to echo (SPEC, "VERSION"); found by eye, since loading a JSON parser would double the cost."""
    value = stdin.partition(b'"cniVersion"')[2].lstrip(b" \t\r\n:").partition(b'"')[2].partition(b'"')[0]
    return value.decode() if value and set(value) <= set(b"0123456789.") else ""


def _read_all() -> bytes:
    parts = []
    try:
        while part := posix.read(_STDIN, _CHUNK):
            parts.append(part)
    except OSError:
        pass  # closed standard input: as good as empty, and the configuration's absence is reported as such
    return b"".join(parts)


def _write_all(data: bytes) -> None:
    while data:
        data = data[posix.write(_STDOUT, data) :]


def _text(raw: bytes | str) -> str:
    return raw.decode("utf-8", "surrogateescape") if isinstance(raw, bytes) else raw


if __name__ == "__main__":
    main()
