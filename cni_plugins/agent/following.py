"""Networks of the vxlan plugin whose peers stand in a file (`peersFile`): while they have attachments, the file is followed, and what is
knocked over of them is put back. Their attachments tell of them, wherever their configuration is.
"""

from __future__ import annotations

import logging
import os
import threading

from cni_plugins.agent.events import Events
from cni_plugins.agent.passes import FULL_PASS_SECONDS, Passes, warm_world
from cni_plugins.kernel import files
from cni_plugins.kernel.inotify import FileWatch
from cni_plugins.model.frozen import parse_json
from cni_plugins.protocol.errors import CniError
from vxlan import overlay as users
from vxlan.marks import PLUGIN
from vxlan.peerlist import PeerFile
from vxlan.repair import Unused
from vxlan.state import Overlay

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from cni_plugins.agent.warm import Warm

    Found = dict[str, tuple[str, Overlay]]

log = logging.getLogger(__name__)


class Following:
    """Follows every such network, in threads of its own, from `start` to `stop`; those named in `kept` are kept by others.

    `run_dir` is where attachments are noted; `repaired` is told a network's name at each repair.
    """

    def __init__(self, warm: Warm, *, run_dir: str, kept: Iterable[str], repaired: Callable[[str], None]) -> None:
        self._warm = warm
        self._run_dir = run_dir
        self._kept = set(kept)
        self._repaired = repaired
        self._followers: dict[str, Follower] = {}
        files.make_dirs(users.home(run_dir), mode=0o700)
        self._watch = FileWatch(users.home(run_dir), directory=True)
        self._thread = threading.Thread(target=self._run, name="following", daemon=True)

    def start(self) -> None:
        """Begin; returns at once."""
        self._thread.start()

    def stop(self) -> None:
        """Stop; everything stays as it is."""
        self._watch.stop()
        self._thread.join()
        self._watch.close()

    def _run(self) -> None:
        try:
            self._look()
            while self._watch.wait():
                self._look()
        except OSError as error:
            log.error("files of peers are not followed any more: %s", error)
        finally:
            for follower in self._followers.values():
                follower.stop()

    def _look(self) -> None:
        """Begin to follow what is new, or was configured anew; and stop following what has no attachments any more."""
        found = self._found()
        for name, follower in list(self._followers.items()):
            path, overlay = found.get(name, ("", None))
            if overlay is None or (path, overlay.essence()) != (follower.path, follower.overlay.essence()):
                self._followers.pop(name).stop()
        for name, (path, overlay) in found.items():
            if name not in self._followers and name not in self._kept:
                try:
                    self._followers[name] = Follower(path, overlay, self._warm, run_dir=self._run_dir, repaired=self._repaired)
                except OSError as error:
                    log.warning("%s: peersFile: %s is not followed: %s", name, path, error)
                    continue
                self._followers[name].start()

    def _found(self) -> Found:
        """Every network with attachments that are to be followed; of several configurations the one of the newest attachment."""
        newest: dict[str, os.DirEntry[str]] = {}
        with os.scandir(users.home(self._run_dir)) as entries:
            for entry in sorted(entries, key=_age):
                newest[entry.name[:16]] = entry
        found: Found = {}
        for entry in newest.values():
            try:
                follow = parse_json(files.read(entry.path) or b"{}").get("follow")
                if follow:
                    overlay = Overlay.from_item(follow["overlay"])
                    found[overlay.name] = (str(follow["peersFile"]), overlay)
            except (CniError, AttributeError, KeyError, TypeError) as error:
                log.debug("%s: %s", entry.path, error)
        return found


def _age(entry: os.DirEntry[str]) -> tuple[int, str]:
    try:
        return entry.stat().st_mtime_ns, entry.name
    except FileNotFoundError:
        return 0, entry.name


class Follower:
    """Follows the peers of one overlay in the file at `path`. Raises OSError when its directory is not there."""

    def __init__(self, path: str, overlay: Overlay, warm: Warm, *, run_dir: str, repaired: Callable[[str], None]) -> None:
        self.path = path
        self.overlay = overlay
        self._warm = warm
        self._run_dir = run_dir
        self._watch = FileWatch(path)
        self._events = Events()
        self._passes = Passes(overlay.name, self._events, repaired=repaired)
        targets = {"repair": self._run, "file": self._listen}
        self._threads = [threading.Thread(target=one, name=f"follow {overlay.name} {what}", daemon=True) for what, one in targets.items()]

    def start(self) -> None:
        """Begin; returns at once."""
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """Stop following."""
        self._events.stop()
        self._watch.stop()
        for thread in self._threads:
            thread.join()
        self._watch.close()
        self._events.close()

    def _listen(self) -> None:
        try:
            while self._watch.wait():
                self._events.wake()
        except OSError as error:
            log.warning("%s: peersFile: %s is not followed any more: %s", self.overlay.name, self.path, error)

    def _run(self) -> None:
        self._passes.guarded(self._pass)
        while self._events.wait(FULL_PASS_SECONDS):
            self._passes.guarded(self._pass)
        self._warm.let_go()

    def _pass(self) -> None:
        wanted = Overlay.from_item(self.overlay.to_item())
        wanted.peers, problems = PeerFile(self.path).read()
        networks = [half.network for half in wanted.halves]
        with warm_world(self._warm, self._run_dir) as world:
            if users.clear(world, wanted.name, networks):
                return
            try:
                report = self._passes.make(world, wanted, maker=PLUGIN)
            except Unused:
                return
        self._passes.complain([*problems, *report.problems], about="kernel")
