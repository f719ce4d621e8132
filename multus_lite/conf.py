"""The keys of multus-lite: those of Multus 4.3, by the same names and with the same defaults, and a few of our own."""

from __future__ import annotations

from cni_plugins.model.base import Model, folded
from cni_plugins.model.netconf import NetConf

TYPE_CHECKING = False
if TYPE_CHECKING:
    from cni_plugins.model.base import Problems
    from cni_plugins.model.types import Many, Object, PathName, Uint32

OURSELVES = ("multus", "multus-lite", "multus-shim")
"""Names that plugins like this one are installed under: none may delegate to one of them."""


class LogOptions(Model):
    """How the log file is kept small."""

    maxSize: Uint32 = 100
    """Size in MiB at which the file is put aside; 0: never."""

    maxAge: Uint32 = 5
    """Days after which a file that was put aside is deleted; 0: never."""

    maxBackups: Uint32 = 5
    """Files that were put aside and are kept; 0: all."""

    compress: bool = True
    """Compress files that were put aside."""


class MultusReleaseConf(NetConf):
    """As much of a configuration as a DEL or GC can use; what else is wrong with it keeps nothing from being removed."""

    delegates: Many[Object] = ()
    """Networks of every container, configurations or lists of them; the first is the default one. Not read beside `clusterNetwork`."""

    clusterNetwork: str = ""
    """The default network: a definition in `multusNamespace`, a network in `confDir`, or the path of a file or of a directory of files."""

    defaultNetworks: Many[str] = ()
    """Further networks of every pod outside `systemNamespaces`, named like `clusterNetwork`."""

    kubeconfig: PathName = ""
    """File with the Kubernetes API's address and credentials. Without it those of a pod are used; without these the API is not."""

    confDir: PathName = "/etc/cni/multus/net.d"
    """Directory of configurations that definitions and other keys name."""

    cniDir: PathName = "/var/lib/cni/multus"
    """Directory where it is kept until DEL what each network's plugins got, and what they answered."""

    binDir: PathName = "/opt/cni/bin"
    """Directory of plugins, put before those of CNI_PATH."""

    systemNamespaces: Many[str] = ("kube-system",)
    """Namespaces whose pods do not get `defaultNetworks`."""

    multusNamespace: str = "kube-system"
    """Namespace of the definitions that `clusterNetwork`, `defaultNetworks` and the annotation for another default network name."""

    namespaceIsolation: bool = False
    """Let pods use only definitions of their own namespace and of `globalNamespaces`."""

    globalNamespaces: str = "default"
    """Namespaces, with commas between them, whose definitions every pod may use."""

    readinessindicatorfile: PathName = ""
    """File that the default network writes when it is ready: ADD waits for it up to 45 seconds, STATUS tells when it is not there."""

    retryDeleteOnError: bool = False
    """Accepted: what is needed for DEL is always kept until DEL has succeeded."""

    logToStderr: bool = True
    """Write warnings to standard error, too."""

    logOptions: LogOptions = LogOptions()
    """When the log file is put aside, and how long."""

    apiTimeout: Uint32 = 10
    """Seconds that a call spends on the Kubernetes API at most, all questions and retries together."""

    inTurn: bool = False
    """Set up all networks one after the other, and not those at once that share nothing."""

    networkStatus: bool = True
    """Write the annotation `k8s.v1.cni.cncf.io/network-status` on the pod."""

    events: bool = True
    """Write events that say what was attached, or why it failed."""

    runtimeConfig: Object | None = None
    """Values for capabilities (set by the runtime): they are the default network's."""

    @property
    def shared_namespaces(self) -> set[str]:
        """Namespaces whose definitions every pod may use."""
        return {name.strip() for name in self.globalNamespaces.split(",")}


class MultusConf(MultusReleaseConf):
    """Gives a container several networks, each made by other plugins."""

    def check(self) -> Problems:
        """There is a default network, and none of the delegates is this plugin again."""
        if not self.cniDir:
            yield "cniDir", "is empty"
        if self.clusterNetwork:
            return
        if not self.delegates:
            yield "delegates", "at least one network is needed, here or in clusterNetwork"
        for index, data in enumerate(self.delegates):
            yield from _problems(data, f"delegates[{index}]")
        if sum(data.get("masterplugin") is True for data in self.delegates) > 1:
            yield "delegates", "more than one has masterplugin"


def _problems(data: Object, path: str) -> Problems:
    plugins = folded(data, "plugins")
    if folded(data, "type") is None and isinstance(plugins, list):
        if not plugins:
            yield f"{path}.plugins", "is empty"
        for index, plugin in enumerate(plugins):
            if isinstance(plugin, dict):
                yield from _type_problems(plugin, f"{path}.plugins[{index}]")
            else:
                yield f"{path}.plugins[{index}]", f"{plugin!r} is not an object"
    else:
        yield from _type_problems(data, path)


def _type_problems(data: Object, path: str) -> Problems:
    kind = folded(data, "type")
    if not isinstance(kind, str) or not kind or "/" in kind or "\0" in kind or kind in (".", ".."):
        yield f"{path}.type", "is missing" if kind is None else f"{kind!r} is not the name of a plugin"
    elif kind in OURSELVES:
        yield f"{path}.type", f"{kind} cannot delegate to itself"
