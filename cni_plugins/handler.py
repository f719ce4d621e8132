"""`handle`: one call from request to answer; the same code in a cold process and in an agent.

    Request -> checked -> configuration (validated once) -> plan -> runner or removal -> kernel
    answer  <- result in the configuration's version <------------------------'

It reads no environment variables, prints nothing and changes nothing of the process: the answer goes through `deliver`, and
what `deliver` raises counts as a failure of the call, so that an ADD whose result nobody got is undone.
"""

from __future__ import annotations

from cni_plugins import calllog
from cni_plugins.model.frozen import dump_json, parse_json, validate
from cni_plugins.plan import removal, runner
from cni_plugins.plan.locks import LentLock
from cni_plugins.plan.plugin import CHANGE
from cni_plugins.plan.world import World
from cni_plugins.protocol import errors, versions
from cni_plugins.protocol.attachment import Attachment
from cni_plugins.protocol.request import check_args, check_network_name
from cni_plugins.protocol.result import Result, from_json
from cni_plugins.registry import plugin_named

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from cni_plugins.plan.plugin import Changing, Plugin
    from cni_plugins.plan.world import Handles
    from cni_plugins.protocol.request import Request

    Deliver = Callable[[bytes, int], None]
    Verb = Callable[["Call", Deliver | None], Result | None]


class Call:
    """A request that has been checked: its plugin, its world (configuration and prevResult within), its attachment."""

    __slots__ = ("att", "plugin", "version", "world")

    def __init__(self, plugin: Plugin, world: World, att: Attachment, version: str) -> None:
        self.plugin = plugin
        self.world = world
        self.att = att
        self.version = version


def handle(request: Request, deliver: Deliver, handles: Handles) -> int:
    """Serve one call and return the exit status: 0, or 1 with a CNI error as the answer.

    `deliver` gets the answer's bytes and the exit status that goes with them (nothing where the verb has no answer), and raises when it
    could not be handed over: what was a success is a failure then, whose answer it gets too. `handles` are closed in the end.
    """
    log = calllog.CallLog(request)
    handles.nested = _nested
    try:
        try:
            _serve(request, handles, deliver, log)
        finally:
            handles.close()
        log.outcome("ok")
        return 0
    except BaseException as caught:  # noqa: BLE001 - a call ends with an answer, whatever happened
        error = _as_cni_error(caught)
        log.outcome(f"error {error.code}: {error.msg}", caught)
        return _refuse(error, log.version, deliver)
    finally:
        log.write()


def _serve(request: Request, handles: Handles, deliver: Deliver, log: calllog.CallLog) -> None:
    request.check_variables()
    data = {} if request.command == "VERSION" else _decode(request.stdin)
    request.check_command()
    if request.command == "VERSION":
        deliver(dump_json({"cniVersion": _asked_version(request.stdin), "supportedVersions": list(versions.SUPPORTED)}), 0)
        return
    call = _prepare(request, handles, data, log)
    _VERBS[request.command](call, deliver)


def _asked_version(stdin: bytes) -> str:
    """The cniVersion that VERSION echoes (SPEC, "VERSION"); the newest when the input, which may be empty, does not say."""
    try:
        data = parse_json(stdin)
    except errors.DecodeFailure:
        return versions.NEWEST
    asked = _key(data, "cniVersion") if isinstance(data, dict) else None
    return asked if isinstance(asked, str) and asked else versions.NEWEST


def _decode(stdin: bytes) -> dict[str, Any]:
    data = parse_json(stdin)
    if not isinstance(data, dict):
        raise errors.DecodeFailure(f"stdin: expected a JSON object, not {data!r}")
    name = _key(data, "name")
    if name is not None and not isinstance(name, str):
        raise errors.InvalidConfig(f"name: {name!r} is not a string")
    check_network_name(name or "")
    return data


def _key(data: dict[str, Any], key: str) -> Any:
    """A key that is needed before the configuration's class is known, found as Go finds it: in any case, null is absent."""
    if data.get(key) is not None:
        return data[key]
    return next((value for name, value in data.items() if name.lower() == key.lower() and value is not None), None)


def _prepare(request: Request, handles: Handles, data: dict[str, Any], log: calllog.CallLog | None = None) -> Call:
    version = _key(data, "cniVersion")
    if version is None or version == "":
        version = versions.OLDEST
    if not isinstance(version, str):
        raise errors.InvalidConfig(f"cniVersion: {version!r} is not a string")
    versions.require(version, request.command)
    if log is not None:
        log.version = version
    plugin = plugin_named(request.plugin)
    if plugin is None:
        raise errors.InvalidEnvironment(f"there is no plugin named {request.plugin!r}")
    if plugin.args:
        request.read_args()
        if not plugin.others_judge_args:
            check_args(request.args, plugin.args)
    conf = validate(plugin.release_conf if request.command in ("DEL", "GC") else plugin.conf, data)
    if log is not None:
        log.configure(conf)
    prev = _prev_result(request, plugin, conf, version)
    netns = _netns(request, plugin, handles)
    att = Attachment(conf.name, request.container_id, request.ifname, netns, args=dict(request.args))
    return Call(plugin, World(handles, request, conf, prev), att, version)


def _prev_result(request: Request, plugin: Plugin, conf: Any, version: str) -> Result | None:
    if conf.prevResult is None:
        if request.command == "CHECK":
            raise errors.InvalidConfig("prevResult: missing, but CHECK compares with it")
        return None
    try:
        return from_json(conf.prevResult, where="prevResult", version=version)
    except errors.DecodeFailure:
        if request.command == "CHECK" or (request.command == "ADD" and plugin.chained):
            raise
        return None  # the others have to work without it


def _netns(request: Request, plugin: Plugin, handles: Handles) -> str:
    """The container's netns path, after making sure that it is one, and not our own. DEL goes on without one that is not usable."""
    if not plugin.enters_netns or request.command not in ("ADD", "CHECK", "DEL", CHANGE):
        return request.netns
    try:
        if request.netns and handles.netns(request.netns).is_own and not request.netns_override:
            raise errors.InvalidEnvironment(f"CNI_NETNS: {request.netns} is the node's own network namespace")
    except (errors.UnknownContainer, errors.InvalidEnvironment):
        if request.command != "DEL":
            raise
        return ""
    return request.netns


def _nested(world: World, request: Request) -> Result | None:
    """A delegate of our own, called in this process with the same kernel handles. Raises CniError."""
    call = _prepare(request, world.handles, _decode(request.stdin))
    return _VERBS[request.command](call, None)


def _lock(call: Call, *, wait: bool = True) -> LentLock:
    return LentLock(call.world.handles, call.plugin.name, call.att.key, wait=wait)


def _predict(call: Call, deliver: Deliver | None) -> Result:
    """What an ADD would give, as far as it can be known: what a plugin that delegates to ours asks before it changes anything."""
    return call.plugin.plan(call.att, call.world.conf, runner.Predict(call.world, call.att))


def _add(call: Call, deliver: Deliver | None) -> Result:
    with _lock(call):
        addition = runner.Apply(call.plugin, call.world, call.att)
        try:
            result = addition.run()
            if deliver is not None:
                deliver(dump_json(result.to_json(call.version)), 0)
                addition.delivered()
        except BaseException as caught:
            _undo(addition, caught)
            raise
    return result


def _undo(addition: runner.Apply | Changing, caught: BaseException) -> None:
    """Undo, and tell in the error that is on its way out when that did not succeed."""
    try:
        try:
            addition.undo()
        except Exception:
            raise
        except BaseException:  # noqa: BLE001 - a signal, of which there is only one: see main
            addition.undo()
    except errors.CniError as error:
        failed = _as_cni_error(caught)
        failed.details = "\n".join(filter(None, (failed.details, f"undoing it failed, a DEL is needed: {error.msg}")))
        if failed is not caught:
            raise failed from caught


def _delete(call: Call, deliver: Deliver | None) -> None:
    with _lock(call):
        removal.delete(call.plugin, call.world, call.att)


def _check(call: Call, deliver: Deliver | None) -> None:
    runner.check(call.plugin, call.world, call.att)


def _gc(call: Call, deliver: Deliver | None) -> None:
    listed = call.world.conf.attachments
    network = call.att.network
    valid = None if listed is None else {(one.containerID, one.ifname) for one in listed}
    removal.collect(call.plugin, call.world, network=network, valid=valid)


def _status(call: Call, deliver: Deliver | None) -> None:
    runner.status(call.plugin, call.world, call.att)


class Busy(errors.TryAgain):
    """Somebody is working on the attachment that is to be changed."""


def _change(call: Call) -> bool:
    with _lock(call, wait=False) as lock:
        if not lock.held:
            raise Busy(f"{call.att} is being added or deleted")
        change = call.plugin.changing(call.world, call.att)
        try:
            change.run()
        except BaseException as caught:
            _undo(change, caught)
            raise
        return change.begun


def change(request: Request, handles: Handles) -> bool:
    """Have a live attachment be what an ADD of `request` would make of it now, by a verb of the agent's own. Whether anything differed.

    An attachment that is gone is left alone. `handles` are closed in the end. Raises Busy, CniError; what was begun is undone then, and
    the error's details say when that failed.
    """
    log = calllog.CallLog(request)
    handles.nested = _nested
    try:
        changed = _change(_prepare(request, handles, _decode(request.stdin), log))
    except Busy:
        raise
    except BaseException as caught:
        error = _as_cni_error(caught)
        log.outcome(f"error {error.code}: {error.msg}", caught)
        log.write()
        if error is caught:
            raise
        raise error from caught
    finally:
        handles.close()
    if changed:
        log.write()
    return changed


_VERBS: dict[str, Verb] = {
    "ADD": _add,
    "DEL": _delete,
    "CHECK": _check,
    "GC": _gc,
    "STATUS": _status,
    "PREDICT": _predict,
}


def _as_cni_error(caught: BaseException) -> errors.CniError:
    if isinstance(caught, errors.CniError):
        return caught
    if isinstance(caught, OSError):
        return errors.KernelRefused(str(caught))
    if isinstance(caught, Exception):
        return errors.CniError(f"{type(caught).__name__}: {caught}", "this is a defect of the plugin; the log has where it happened")
    return errors.TryAgain(str(caught) or "interrupted", "an ADD was undone; any other verb can be called again")


def _refuse(error: errors.CniError, version: str, deliver: Deliver) -> int:
    answer: dict[str, object] = {"cniVersion": version, "code": error.code, "msg": error.msg}
    if error.details:
        answer["details"] = error.details
    try:
        deliver(dump_json(answer), 1)
    except OSError:
        pass  # nobody listens any more; the exit status still tells
    return 1
