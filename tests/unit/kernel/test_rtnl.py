"""What the kernel answers, and what becomes of it; the kernel is played by a function."""

from __future__ import annotations

import errno
from collections.abc import Callable
from struct import pack, unpack_from

import pytest

from cni_plugins.kernel import calls
from cni_plugins.kernel.netlink import Netlink, NetlinkError, Route
from cni_plugins.protocol.ip import parse_cidr

NLM_F_DUMP_INTR, NLM_F_ACK_TLVS = 0x10, 0x200


class Kernel:
    """Plays the kernel: `answer` makes, of each request as (type, sequence number), the datagrams that come back."""

    def __init__(self, answer: Callable[[int, int], list[bytes]]) -> None:
        self.answer = answer
        self.requests: list[int] = []
        self.sends = 0
        self.waiting: list[bytes] = []

    def send(self, channel: object, data: bytes) -> None:
        self.sends += 1
        offset = 0
        while offset < len(data):
            length, kind, _flags, sequence = unpack_from("IHHI", data, offset)
            self.requests.append(kind)
            self.waiting += self.answer(kind, sequence)
            offset += length

    def receive(self, channel: object) -> bytes:
        return self.waiting.pop(0)


@pytest.fixture
def kernel(monkeypatch: pytest.MonkeyPatch) -> Kernel:
    kernel = Kernel(lambda kind, sequence: [acknowledge(sequence)])
    monkeypatch.setattr(calls, "netlink_socket", object)
    monkeypatch.setattr(calls, "netlink_send", kernel.send)
    monkeypatch.setattr(calls, "netlink_receive", kernel.receive)
    return kernel


def message(kind: int, sequence: int, body: bytes = b"", flags: int = 0) -> bytes:
    return pack("IHHII", 16 + len(body), kind, flags, sequence, 0) + body


def acknowledge(sequence: int, error: int = 0, text: bytes = b"") -> bytes:
    body = pack("i", -error) + bytes(16)
    if text:
        attribute = pack("HH", 4 + len(text) + 1, 1) + text + b"\0"
        body += attribute + bytes(-len(attribute) % 4)
    return message(2, sequence, body, NLM_F_ACK_TLVS if text else 0)


def address(sequence: int, flags: int = 0) -> bytes:
    return message(20, sequence, pack("BBBBi", 2, 24, 0, 0, 3) + pack("HH4B", 8, 2, 10, 1, 0, 5) + pack("HH4B", 8, 1, 10, 1, 0, 5), flags)


def done(sequence: int, error: int = 0) -> bytes:
    return message(3, sequence, pack("i", -error))


def test_a_refusal_says_what_was_attempted_and_the_kernels_words(kernel: Kernel) -> None:
    kernel.answer = lambda kind, sequence: [acknowledge(sequence, errno.EINVAL, b"Device does not support that")]
    with pytest.raises(NetlinkError) as refused:
        Netlink().add_address(3, parse_cidr("10.1.0.5/24"))
    assert str(refused.value) == "cannot add address 10.1.0.5/24 to link 3: Invalid argument: Device does not support that"
    assert refused.value.errno == errno.EINVAL


def test_a_batch_goes_out_at_once_and_every_acknowledgement_is_read(kernel: Kernel) -> None:
    errors = {1: 0, 2: errno.EEXIST, 3: errno.ENOMEM}
    kernel.answer = lambda kind, sequence: [acknowledge(sequence, errors[sequence])]
    netlink = Netlink()
    batch = netlink.batch()
    batch.__enter__()
    for last in (1, 2, 3):
        netlink.add_address(3, parse_cidr(f"10.0.0.{last}/24"))
    assert kernel.sends == 0
    with pytest.raises(NetlinkError, match=r"10\.0\.0\.2/24 to link 3: File exists"):
        batch.__exit__(None, None, None)
    assert kernel.sends == 1
    assert kernel.waiting == []


def test_a_block_that_fails_sends_nothing(kernel: Kernel) -> None:
    netlink = Netlink()

    def fail() -> None:
        with netlink.batch():
            netlink.set_link(3, up=True)
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    netlink.set_link(4, up=True)
    assert kernel.requests == [19]


def test_reading_in_a_batch_sees_what_was_changed_before(kernel: Kernel) -> None:
    kernel.answer = lambda kind, sequence: [done(sequence) if kind == 22 else acknowledge(sequence)]
    netlink = Netlink()
    with netlink.batch():
        netlink.add_address(3, parse_cidr("10.0.0.1/24"))
        netlink.addresses(3)
        assert kernel.requests == [20, 22]


def test_very_many_requests_do_not_overflow_the_socket(kernel: Kernel) -> None:
    netlink = Netlink()
    with netlink.batch():
        for host in range(1, 201):
            netlink.add_address(3, parse_cidr(f"10.0.0.{host}/24"))
    assert len(kernel.requests) == 200
    assert kernel.sends == 4


@pytest.mark.parametrize(
    "interruption",
    [lambda n: [address(n, NLM_F_DUMP_INTR), done(n)], lambda n: [done(n, errno.EINTR)]],
    ids=["marked", "refused"],
)
def test_an_interrupted_dump_is_taken_again(kernel: Kernel, interruption: Callable[[int], list[bytes]]) -> None:
    kernel.answer = lambda kind, sequence: interruption(sequence) if sequence < 3 else [address(sequence) + done(sequence)]
    assert [str(one.cidr) for one in Netlink().addresses(3)] == ["10.1.0.5/24"]
    assert len(kernel.requests) == 3


def test_a_dump_that_never_settles_is_an_error_and_no_half_answer(kernel: Kernel) -> None:
    kernel.answer = lambda kind, sequence: [address(sequence, NLM_F_DUMP_INTR), done(sequence)]
    with pytest.raises(NetlinkError, match="kept changing"):
        Netlink().addresses()


def test_a_dump_can_fail_at_its_end(kernel: Kernel) -> None:
    kernel.answer = lambda kind, sequence: [address(sequence), done(sequence, errno.ENOMEM)]
    with pytest.raises(NetlinkError, match="cannot list addresses: Cannot allocate memory"):
        Netlink().addresses()


def test_after_a_signal_in_the_middle_of_a_dump_the_socket_is_still_good(kernel: Kernel, monkeypatch: pytest.MonkeyPatch) -> None:
    kernel.answer = lambda kind, sequence: [address(sequence), done(sequence)] if kind == 22 else [acknowledge(sequence)]
    netlink = Netlink()

    def interrupted(channel: object) -> bytes:
        monkeypatch.setattr(calls, "netlink_receive", kernel.receive)
        raise KeyboardInterrupt

    monkeypatch.setattr(calls, "netlink_receive", interrupted)
    with pytest.raises(KeyboardInterrupt):
        netlink.addresses()
    netlink.set_link(3, up=True)
    assert len(netlink.addresses()) == 1
    assert kernel.waiting == []


def test_answers_to_somebody_elses_request_are_passed_over(kernel: Kernel) -> None:
    kernel.answer = lambda kind, sequence: [acknowledge(sequence + 7, errno.EPERM), acknowledge(sequence)]
    Netlink().set_link(3, up=True)


@pytest.mark.parametrize("operation", ["netlink_socket", "netlink_send", "netlink_receive"])
def test_a_broken_socket_is_said_as_what_could_not_be_done(operation: str, kernel: Kernel, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> None:
        raise OSError(errno.ENOBUFS, "no buffers")

    netlink = Netlink()
    monkeypatch.setattr(calls, operation, broken)
    with pytest.raises(NetlinkError, match=r"cannot (open a netlink socket|change link 3): No buffer space available"):
        (Netlink() if operation == "netlink_socket" else netlink).set_link(3, up=True)


def test_what_is_absent_is_no_error_when_it_is_deleted(kernel: Kernel) -> None:
    kernel.answer = lambda kind, sequence: [acknowledge(sequence, errno.ENODEV)]
    netlink = Netlink()
    assert netlink.delete_link(9) is False
    assert netlink.link(name="gone") is None
    assert netlink.delete_address(9, parse_cidr("10.0.0.1/24")) is False
    assert netlink.delete_route(Route(parse_cidr("10.0.0.0/24"), index=9)) is False


def test_a_half_created_pair_is_taken_away_again(kernel: Kernel) -> None:
    """The alias marks whose the pair is; a pair without it would be nobody's."""
    link = message(16, 2, pack("BxHiII", 0, 1, 5, 0, 0) + pack("HH8s", 10, 3, b"veth9"))

    def answer(kind: int, sequence: int) -> list[bytes]:
        refused = errno.ENOMEM if sequence == 3 else 0
        return [*([link] if kind == 18 else []), acknowledge(sequence, refused)]

    kernel.answer = answer
    with pytest.raises(NetlinkError, match="cannot set up veth veth9"):
        Netlink().add_veth("veth9", peer_name="eth0", alias="mine")
    assert kernel.requests == [16, 18, 16, 17]
