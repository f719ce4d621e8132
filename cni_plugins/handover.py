"""Handing a call over to an agent: the same code, kept warm in another process, which nobody has to run.

    client                                   agent
      | connect, CALL  ------------------------> | is this peer one of ours? is somebody free?
      | <-------------------------------- READY  | (silence for 100 ms, or a closed connection: the client does it itself)
      | request, namespaces as descriptors ----> | from here on the agent may have begun
      | <------------------ ANSWER status, bytes | the lock of the attachment is held
      | (ENDED signal, as soon as one came) ---> | a delegate that runs is ended, as by the caller itself
      | writes its standard output               |
      | WRITTEN, FAILED errno, ENDED signal ---> | anything but WRITTEN counts as a failure, and is undone
      | <-------------------------- DONE status  |

A call is never done twice. Before the request has gone out whole the agent cannot have begun, and the client goes on by itself. After that
it does so only when the connection broke: then the agent is dead, with it its lock, and what it had begun carries the call's
token, so that it is undone first (`Request.token`).

The client's half is in this module, and is part of every cold call: it imports nothing that the first stage has not.
"""

from __future__ import annotations

import posix
from _socket import AF_UNIX, SCM_RIGHTS, SOCK_CLOEXEC, SOCK_STREAM, SOL_SOCKET, socket

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

CALL, READY = b"\1", b"\2"
ANSWER, DONE = b"a", b"d"
WRITTEN, FAILED, ENDED = b"w", b"f", b"e"

PATIENCE = 0.1
"""Seconds that a client waits for an agent to be ready; a cold call takes about half of that."""
_WORD = 4
_TOKEN_BYTES = 8
_PRIVATE = ("/proc/self/", "/proc/thread-self/", "/dev/std", "/dev/fd/", "/dev/tty")
_AT = posix.O_RDONLY | posix.O_CLOEXEC | posix.O_NONBLOCK


class Broken(Exception):
    """The agent is gone in the middle of a call. `token` marks what it may have begun."""

    def __init__(self, token: str) -> None:
        super().__init__("the agent is gone")
        self.token = token


def socket_path(run_dir: str, build: str) -> str:
    """Where the agent of one build listens: versions never mix."""
    return f"{run_dir}/agent-{build}.sock"


class Call:
    """What goes to an agent: who calls (`plugin`, `executable`: device and inode of ours), `environ` and `stdin`."""

    __slots__ = ("environ", "executable", "plugin", "stdin", "token")

    def __init__(self, plugin: str, environ: dict[str, str], stdin: bytes, *, executable: tuple[int, int]) -> None:
        self.plugin = plugin
        self.environ = environ
        self.stdin = stdin
        self.executable = executable
        self.token = posix.urandom(_TOKEN_BYTES).hex()

    def encode(self, umask: int) -> bytes:
        """The request: its length, fields that end with zero bytes, an empty one, standard input."""
        device, inode = self.executable
        fields = [self.plugin, self.token, str(umask), str(device), str(inode), *(f"{key}={value}" for key, value in self.environ.items())]
        body = "\0".join([*fields, "", ""]).encode("utf-8", "surrogateescape") + self.stdin
        return len(body).to_bytes(_WORD, "big") + body


def decode(body: bytes) -> tuple[Call, int]:
    """The agent's reading of a request: the call and the caller's umask. Raises ValueError when it is none."""
    head, separator, stdin = body.partition(b"\0\0")
    if not separator:
        raise ValueError("a request without an end of its fields")
    plugin, token, umask, device, inode, *pairs = head.decode("utf-8", "surrogateescape").split("\0")
    environ = {key: value for key, _, value in (pair.partition("=") for pair in pairs)}
    call = Call(plugin, environ, stdin, executable=(int(device), int(inode)))
    call.token = token
    return call, int(umask)


def is_private(call: Call) -> bool:
    """Whether a path in the call means something else in another process, as /dev/stderr does: such a call is not for an agent.

    CNI_NETNS may be one, since a descriptor of it goes along.
    """
    variables = "\0".join([call.environ.get(name, "") for name in ("CNI_LOG_FILE", "CNI_PATH", "CNI_ARGS")])
    configuration = call.stdin.replace(b"\\/", b"/")
    return any(path in variables or path.encode() in configuration for path in _PRIVATE)


def offer(path: str) -> socket | None:
    """A connection to an agent that is ready for a call; None when there is none, or none that answers in time."""
    channel = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC)
    try:
        channel.settimeout(PATIENCE)
        channel.connect(path)
        channel.send(CALL)
        ready = channel.recv(1) == READY
    except OSError:
        ready = False
    except BaseException:
        channel.close()
        raise
    if not ready:
        channel.close()
        return None
    return channel


def hand_over(channel: socket, call: Call) -> bool:
    """Send the call, with the namespace, the working directory and the standard error that it has. False when it did not go out whole."""
    descriptors = []
    try:
        try:
            descriptors = [posix.open(".", _AT | posix.O_DIRECTORY), posix.dup(2)]
            descriptors.append(posix.open(call.environ.get("CNI_NETNS", ""), _AT))
        except OSError:
            pass  # what is wrong with the path is found out by whoever serves the call
        data = call.encode(_umask())
        sent = channel.sendmsg([data], [(SOL_SOCKET, SCM_RIGHTS, b"".join(fd.to_bytes(4, "little") for fd in descriptors))])
        if sent < len(data):
            channel.sendall(data[sent:])
    except OSError:
        return False  # an agent that stands still does not take what is more than fits into the socket
    finally:
        for fd in descriptors:
            posix.close(fd)
    channel.settimeout(None)
    return True


def _umask() -> int:
    mask = posix.umask(0o077)
    posix.umask(mask)
    return mask


def serve(channel: socket, call: Call, deliver: Callable[[bytes], None], *, ended: Callable[[], int]) -> int:
    """Wait for the agent, hand its answer to `deliver`, and return the exit status.

    `ended` is the signal that came, 0 for none; none comes once it was asked.

    Raises Broken when the agent died before the answer was delivered.
    """
    delivered = -1
    while True:
        try:
            kind = _receive(channel, 1)
            if kind == DONE:
                return _receive(channel, 1)[0]
            status, size = _receive(channel, 1)[0], int.from_bytes(_receive(channel, _WORD), "big")
            answer = _receive(channel, size)
        except EOFError:
            if delivered >= 0:
                return delivered  # it came to its end after all that matters
            raise Broken(call.token) from None
        reply = _deliver(answer, deliver, ended() if status == 0 else 0)
        delivered = status if reply == WRITTEN else -1
        try:
            channel.sendall(reply)
        except OSError:
            pass  # found out by the next receive


def _deliver(answer: bytes, deliver: Callable[[bytes], None], ended: int) -> bytes:
    if ended:
        return ENDED + bytes([ended])
    try:
        deliver(answer)
    except OSError as error:
        return FAILED + bytes([error.errno or 0])
    return WRITTEN


def _receive(channel: socket, size: int) -> bytes:
    """Exactly `size` bytes. Raises EOFError when the connection ends before."""
    parts = []
    while size:
        try:
            part = channel.recv(min(size, 1 << 16))
        except OSError:
            part = b""
        if not part:
            raise EOFError
        parts.append(part)
        size -= len(part)
    return b"".join(parts)
