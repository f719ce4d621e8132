"""Processes in the network namespaces under observation."""

from __future__ import annotations

import os
from contextlib import suppress
from typing import TYPE_CHECKING

from conformance import namespaces

if TYPE_CHECKING:
    from collections.abc import Mapping


def read(networks: Mapping[str, int]) -> dict[str, dict[str, dict[str, str]]]:
    """For each place, given by its network namespace's inode number, the processes in it: "NUMBER COMMAND" to no fields.

    The calling process and the kernel's own threads are left out.
    """
    places = {inode: place for place, inode in networks.items()}
    found: dict[str, dict[str, dict[str, str]]] = {place: {} for place in networks}
    for entry in os.listdir("/proc"):
        if entry.isdigit() and int(entry) != os.getpid():
            with suppress(OSError):  # it has ended
                place = places.get(os.stat(f"/proc/{entry}/ns/net").st_ino)
                command = namespaces.command(int(entry)) if place else ""
                if place and command:
                    found[place][f"{entry} {command}"] = {}
    return found
