"""systemd's units for the agent: the socket that starts it at the first call, and the service.

They name the build, since an agent serves the executables of its own build only; installing another one writes them anew.
"""

from __future__ import annotations

from pathlib import Path

RUN_DIR = "/run/cni-plugins"
NAMES = ("cni-agent.service", "cni-agent.socket")

_SOCKET = """\
[Unit]
Description=CNI plugins of build {build}: the socket of their agent

[Socket]
ListenStream={run}/agent-{build}.sock
SocketMode=0600
DirectoryMode=0700
Backlog=128

[Install]
WantedBy=sockets.target
"""
_SERVICE = """\
[Unit]
Description=CNI plugins of build {build}: an agent that keeps them warm
Requires=cni-agent.socket
After=cni-agent.socket network-pre.target

[Service]
ExecStart={directory}/cni-agent --foreground
# Who starts it with another --config checks that one. A mistake is told here, and changes nothing.
ExecReload={directory}/cni-agent --check-config
ExecReload=/bin/kill -HUP $MAINPID
Restart=on-failure
# Delegates that are being executed finish by themselves.
KillMode=process
TimeoutStopSec=15
LimitNOFILE=65536
OOMScoreAdjust=-500

[Install]
WantedBy=multi-user.target
Also=cni-agent.socket
"""


def write(units: Path, *, directory: Path, build: str) -> list[str]:
    """Write both units into `units` for the executables in `directory`. Returns what to tell the operator; nothing when they are there."""
    texts = dict(zip(NAMES, (_SERVICE, _SOCKET), strict=True))
    texts = {name: text.format(build=build, directory=directory, run=RUN_DIR) for name, text in texts.items()}
    if all((units / name).is_file() and (units / name).read_text() == text for name, text in texts.items()):
        return []
    units.mkdir(parents=True, exist_ok=True)
    for name, text in texts.items():
        draft = units / f".{name}~"
        draft.write_text(text)
        draft.replace(units / name)
    commands = "daemon-reload", f"enable {NAMES[1]}", f"restart {NAMES[1]}"  # an agent of another build ends with its socket
    said = " && ".join(f"systemctl {command}" for command in commands)
    return [f"{units} has {' and '.join(NAMES)} now: `{said}` puts them to work"]


def remove(units: Path) -> list[str]:
    """Remove both units. Returns what to tell the operator."""
    gone = [name for name in NAMES if (units / name).exists()]
    for name in gone:
        (units / name).unlink()
    return [f"removed {' and '.join(gone)} from {units}"] if gone else []
