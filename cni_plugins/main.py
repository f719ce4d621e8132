"""First stage: what an executable does before it knows how much of the rest it needs.

Imports next to nothing, since process start is most of the cost of a cheap call: VERSION is answered from here. Every other
verb goes on in `handler`, in the same process.
"""

from __future__ import annotations

import posix
import sys

_STDIN, _STDOUT, _STDERR = 0, 1, 2
_CHUNK = 1 << 16
_ENDING = (2, 15)  # SIGINT, SIGTERM


class Terminated(BaseException):
    """SIGTERM or SIGINT arrived. Not an Exception, so that nothing takes it for a failure that it may handle."""


def main() -> None:
    """Serve the call that the environment and standard input describe, and end the process."""
    _open_standard_descriptors()
    plugin = sys.argv[0].rpartition("/")[2]
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


def _serve(plugin: str, environ: dict[str, str], stdin: bytes) -> int:
    import _signal as signal  # without the enums of the standard library's module

    from cni_plugins.handler import handle
    from cni_plugins.protocol.request import Request

    def shield() -> None:
        for number in _ENDING:
            signal.signal(number, signal.SIG_IGN)

    def terminate(number: int, frame: object) -> None:
        shield()  # undoing is not to be interrupted again
        raise Terminated(f"ended by signal {number}")

    def deliver(answer: bytes) -> None:
        shield()  # from here on the runtime may have the answer: it stands, or fails to be written
        _write_all(answer)

    for number in _ENDING:
        signal.signal(number, terminate)
    own = posix.stat(sys.executable)
    return handle(Request(plugin, environ, stdin), deliver, executable=(own.st_dev, own.st_ino))


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
