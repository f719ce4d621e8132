"""What iptables' filter table has to say, once for all pods, so that marked packets are let through:

    FORWARD       -m comment --comment "CNI firewall plugin rules" -j CNI-FORWARD
    CNI-FORWARD   -m comment --comment "CNI firewall plugin admin overrides" -j CNI-ADMIN
                  -m mark --mark 0x1000/0x1000 -m comment --comment "…" -j ACCEPT

The first two are the reference's own, to the letter, so that whoever comes second finds them. An accept in a table of ours would not
do: a packet is dropped if any table drops it, and only a rule in front of the drop in that same table can save it. The rules are
written by iptables itself, so that it can read them; whether they are there is asked of nftables, which costs no program.

They go wherever FORWARD is: into nftables, into x_tables or into both; and to where plain iptables keeps it, which makes it if need be:
whoever comes later with a policy of DROP keeps the rules that he finds.
"""

from __future__ import annotations

from cni_plugins.kernel import iptables
from cni_plugins.legacy import rules
from cni_plugins.plan.locks import AttachmentLock
from cni_plugins.protocol.errors import NotReady

TYPE_CHECKING = False
if TYPE_CHECKING:
    from cni_plugins.kernel.iptables import Iptables
    from cni_plugins.kernel.nft import Nft
    from cni_plugins.plan.world import World

MARK = 0x1000
"""The bit that says "let it through". Bits 13 to 15 belong to portmap and Kubernetes, those from 16 on to network policies."""
SET_MARK, CLEAR_MARK = f"meta mark set meta mark or {MARK:#x}", f"meta mark set meta mark and {~MARK & 0xFFFFFFFF:#x}"
BEFORE, BEHIND = -10, 60
"""Priorities of our chains that set the bit and take it away again: filter chains stand at 0, firewalld's at 10, SELinux's at 50."""
CHAIN, ADMIN = "CNI-FORWARD", "CNI-ADMIN"
_JUMP_SAYS, _ACCEPT_SAYS = "CNI firewall plugin rules", "cni-plugins: marked in table inet cni_plugins"
_JUMP = f'-m comment --comment "{_JUMP_SAYS}" -j {CHAIN}'
_ADMIN = '-m comment --comment "CNI firewall plugin admin overrides" -j '
_MARKED = f"-m mark --mark {MARK:#x}/{MARK:#x}"
_ACCEPT = f'{_MARKED} -m comment --comment "{_ACCEPT_SAYS}" -j ACCEPT'
_TRIES = 4
_LOCK = b"filter table"


def ready(family: str) -> None:
    """Raise NotReady unless iptables is installed for "ip" or "ip6"."""
    if iptables.program(family) is None:
        name = {"ip": "iptables", "ip6": "ip6tables"}[family]
        raise NotReady(f"backend: 'iptables' was asked for, but {name} is not installed", "install it, or leave backend out")


def ensure(world: World, family: str, admin: str, *, ahead: bool = True) -> bool:
    """Put in what is lacking, wherever FORWARD is, and `ahead` of whoever makes it where plain iptables keeps it.

    `admin` is the chain that users keep their own rules in. Whether anything was lacking. Raises KernelRefused.
    """
    lacked = False
    for form in _forms(world.nft, family, ahead=ahead):
        program = iptables.program(family, form)
        if program is not None and lacking_in(world.nft, family, form, admin=admin):
            lacked = True
            with AttachmentLock(world.run_dir, "firewall", _LOCK):
                _complete(program, admin)
    return lacked


def lacking(nft: Nft, family: str, admin: str, *, ahead: bool = True) -> str:
    """Name the first thing that is not there, empty if all is. Changes nothing. Raises KernelRefused."""
    found = (lacking_in(nft, family, form, admin=admin) for form in _forms(nft, family, ahead=ahead) if iptables.program(family, form))
    return next(filter(None, found), "")


def lacking_in(nft: Nft, family: str, form: str, *, admin: str = "") -> str:
    """The same for one form of iptables; without `admin`, its rule is not looked for."""
    if form == "nft":
        return _lacking_in_nftables(nft, family, admin)
    program = iptables.program(family, form)
    if program is None or not iptables.in_legacy(family, "filter"):  # to ask the program would make the table
        return f"{family} FORWARD in {form}"
    wanted = _wanted(program.chain("FORWARD") or [], program.chain(CHAIN) or [], admin=admin)
    return f"{program.path}: {wanted[0]}" if wanted else ""


def flushed(nft: Nft, family: str) -> bool:
    """Whether somebody has taken the rules from a filter table that is there. Executes nothing. Raises KernelRefused, IoFailure."""
    return flushed_unheard(family) or (in_nftables(nft, family) and bool(_lacking_in_nftables(nft, family, "")))


def flushed_unheard(family: str) -> bool:
    """The same of x_tables, whose changes the kernel does not announce: by what the rules say, wherever in the table they stand."""
    if not iptables.in_legacy(family, "filter") or iptables.program(family, "legacy") is None:
        return False
    from cni_plugins.kernel.xtables import entries

    found = entries(family, "filter")
    return not all(text.encode() + b"\0" in found for text in (_JUMP_SAYS, _ACCEPT_SAYS))


def in_nftables(nft: Nft, family: str) -> bool:
    """Whether iptables' FORWARD is in nftables."""
    return rules.listing(nft, f"chain {family} filter FORWARD") is not None


def _forms(nft: Nft, family: str, *, ahead: bool) -> list[str]:
    """The forms of iptables that have to know the rules."""
    forms = {iptables.plain_form(family)} if ahead else set()
    if in_nftables(nft, family):
        forms.add("nft")
    if iptables.in_legacy(family, "filter"):
        forms.add("legacy")
    return sorted(forms - {""})


def _lacking_in_nftables(nft: Nft, family: str, admin: str) -> str:
    if not any(rule.jumps_to(CHAIN) for rule in rules.rules(nft, f"{family} filter FORWARD")):
        return f"{family} filter FORWARD: jump {CHAIN}"
    own = rules.rules(nft, f"{family} filter {CHAIN}")
    if admin and not any(rule.jumps_to(admin) for rule in own):
        return f"{family} filter {CHAIN}: jump {admin}"
    if not any(_accepts_marked(rule.text) for rule in own):
        return f"{family} filter {CHAIN}: {_MARKED} -j ACCEPT"
    return ""


def _accepts_marked(text: str) -> bool:
    """Whether a rule accepts our mark; without the extensions of iptables, nftables cannot say which mark it is."""
    return text.endswith(" accept") and (f"0x{MARK:08x}" in text or 'xt match "mark"' in text)


def _complete(program: Iptables, admin: str) -> None:
    for attempt in range(_TRIES):
        forward, own = program.chain("FORWARD") or [], program.chain(CHAIN)
        commands = [f"-N {CHAIN}"] if own is None else []
        wanted = _wanted(forward, own or [], admin=admin)
        if any(line.endswith(f" -j {admin}") for line in wanted) and program.chain(admin) is None:
            commands.append(f"-N {admin}")
        if not wanted or program.change([*commands, *wanted], final=attempt + 1 == _TRIES):
            return


def _wanted(forward: list[str], own: list[str], *, admin: str) -> list[str]:
    """The commands for what is lacking, given both chains as iptables prints them."""
    wanted = []
    if not any(line.endswith(f" -j {CHAIN}") for line in forward):
        wanted.append(f"-I FORWARD 1 {_JUMP}")
    if admin and not any(line.endswith(f" -j {admin}") for line in own):
        wanted.append(f"-I {CHAIN} 1 {_ADMIN}{admin}")
    if not any(_MARKED in line and line.endswith(" -j ACCEPT") for line in own):
        wanted.append(f"-A {CHAIN} {_ACCEPT}")
    return wanted
