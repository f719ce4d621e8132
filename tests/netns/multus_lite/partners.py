"""Plugins of somebody else's that notice each other: they wait for one another, or tell whether they have met."""

from __future__ import annotations

from pathlib import Path
from typing import Any

_SCRIPT = """\
#!/bin/sh
cat >/dev/null
cd {directory} || exit 1
me=$CNI_COMMAND-{name}

await() {{ # until a command succeeds; a minute at most
    n=0
    until "$@" >/dev/null 2>&1; do
        n=$((n + 1))
        [ $n -lt 6000 ] || fail "waited for $* for ever"
        sleep 0.01
    done
}}
meet() {{ # wait for another, who waits for us
    touch "$me"
    await test -e "$CNI_COMMAND-$1"
}}
look() {{ # tell whether another comes while we are here
    touch "$me"
    for n in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20; do
        [ ! -e "$CNI_COMMAND-$1" ] || echo "$CNI_COMMAND {name} met $1" >>log
        sleep 0.01
    done
    rm "$me"
}}
fail() {{
    echo "{{\\"cniVersion\\":\\"1.1.0\\",\\"code\\":$((100 + ${{#me}})),\\"msg\\":\\"$1\\"}}"
    echo "$CNI_COMMAND {name} failed" >>log
    exit 1
}}
echo "$CNI_COMMAND {name}" >>log
case $CNI_COMMAND in
{special}
esac
case $CNI_COMMAND in
ADD) ip -n "${{CNI_NETNS##*/}}" link show "$CNI_IFNAME" >/dev/null 2>&1 || ip -n "${{CNI_NETNS##*/}}" link add "$CNI_IFNAME" type bridge
     echo "{{\\"cniVersion\\":\\"1.1.0\\",\\"interfaces\\":[{{\\"name\\":\\"$CNI_IFNAME\\",\\"sandbox\\":\\"$CNI_NETNS\\"}}]}}" ;;
DEL) ip -n "${{CNI_NETNS##*/}}" link delete "$CNI_IFNAME" 2>/dev/null ;;
esac
echo "$CNI_COMMAND {name} ended" >>log
"""


class Partners:
    """Plugins that are called as they are named, in one directory, with one log of what they do.

    Before they do what is usual they run the commands of the verb: `await COMMAND`, `meet NAME`, `look NAME`, `fail TEXT`.
    """

    def __init__(self, directory: Path) -> None:
        self.directory = directory / "partners"
        self.directory.mkdir()

    def set(self, name: str, **verbs: str) -> dict[str, Any]:
        """Make the plugin `name` run these commands; a network of it."""
        script = self.directory / name
        script.write_text(
            _SCRIPT.format(directory=self.directory, name=name, special="\n".join(f"{verb}) {text} ;;" for verb, text in verbs.items()))
        )
        script.chmod(0o755)
        return {"cniVersion": "1.1.0", "name": f"of-{name}", "type": name}

    @property
    def log(self) -> list[str]:
        """What they did, in order: `ADD left`, `ADD left ended`, `ADD left failed`, `ADD left met right`."""
        return (self.directory / "log").read_text().splitlines()

    def forget(self) -> None:
        """Begin a new log."""
        (self.directory / "log").unlink(missing_ok=True)
