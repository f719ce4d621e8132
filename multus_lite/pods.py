"""The pod that a container belongs to, as the Kubernetes API has it."""

from __future__ import annotations

from cni_plugins.protocol.errors import DecodeFailure, InvalidEnvironment, TryAgain
from multus_lite.annotation import check_name

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

    from multus_lite.api import Api

_SOURCE = "kubernetes.io/config.source"


class Pod:
    """A pod: where it is, which one it is, and what is written on it."""

    __slots__ = ("annotations", "name", "namespace", "uid")

    def __init__(self, namespace: str, name: str, uid: str, annotations: dict[str, str]) -> None:
        self.namespace = namespace
        self.name = name
        self.uid = uid
        self.annotations = annotations

    @property
    def path(self) -> str:
        """Where the API has it."""
        return f"/api/v1/namespaces/{self.namespace}/pods/{self.name}"


def read(api: Api, args: Mapping[str, str]) -> Pod | None:
    """The pod that CNI_ARGS names; None when they name none.

    Raises TryAgain when it is not there, or another one of the same name is: its container's network would be made for nobody.
    """
    namespace, name = args.get("K8S_POD_NAMESPACE", ""), args.get("K8S_POD_NAME", "")
    if not (namespace and name):
        return None
    try:
        pod = Pod(check_name(namespace, "K8S_POD_NAMESPACE"), check_name(name, "K8S_POD_NAME"), "", {})
    except ValueError as error:
        raise InvalidEnvironment(f"CNI_ARGS: {error}") from None
    wanted = args.get("K8S_POD_UID", "")
    data = api.get(pod.path, enough=lambda known: known["metadata"].get("uid") == wanted)  # without one, or another: which is it now?
    if data is None:
        raise TryAgain(f"pod {namespace}/{name}: the Kubernetes API does not have it (any more)")
    try:
        pod.uid = data["metadata"].get("uid") or ""
        pod.annotations = data["metadata"].get("annotations") or {}
    except (AttributeError, KeyError, TypeError):
        raise DecodeFailure(f"pod {namespace}/{name}: is not a pod: {data!r}") from None
    if wanted and wanted != pod.uid and pod.annotations.get(_SOURCE, "api") == "api":  # a static pod's mirror has a UID of its own
        raise TryAgain(f"pod {namespace}/{name}: its UID is {pod.uid}, not {wanted}: it was replaced by another one")
    return pod
