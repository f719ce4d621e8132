"""Build time: which configuration classes are frozen and documented: those of the registered plugins, and what DEL and GC read instead."""

from __future__ import annotations

from cni_plugins.model.netconf import NetConf
from cni_plugins.registry import PLUGINS as MODULES
from cni_plugins.registry import plugin_named


def _name(cls: type[object]) -> str:
    return f"{cls.__module__}:{cls.__qualname__}"


_PLUGINS = [plugin for plugin in map(plugin_named, sorted(MODULES)) if plugin is not None]

PLUGINS = {plugin.name: _name(plugin.conf) for plugin in _PLUGINS}
"""Plugin name to `module:Class`."""

OTHERS = tuple(sorted({_name(NetConf), *(_name(plugin.release_conf) for plugin in _PLUGINS)} - set(PLUGINS.values())))
"""Classes that need less than the whole configuration."""
