"""The specification that plugins are judged by: CNI 1.1.0, and where its sections stand."""

from __future__ import annotations

from conformance.results import Spec

VERSION = "1.1.0"
DOCUMENT = f"https://github.com/containernetworking/cni/blob/spec-v{VERSION}/SPEC.md"

SECTIONS = {
    "Terms": "overview",
    "Configuration": "configuration-format",
    "Plugin configuration": "plugin-configuration-objects",
    "Version considerations": "version-considerations",
    "Overview": "overview-1",
    "Parameters": "parameters",
    "Errors": "errors",
    "Operations": "cni-operations",
    "ADD": "add-add-container-to-network-or-apply-modifications",
    "DEL": "del-remove-container-from-network-or-un-apply-modifications",
    "CHECK": "check-check-containers-networking-is-as-expected",
    "STATUS": "status-check-plugin-status",
    "VERSION": "version-probe-plugin-version-support",
    "GC": "gc-clean-up-any-stale-resources",
    "Lifecycle": "lifecycle--ordering",
    "Attachment parameters": "attachment-parameters",
    "Adding": "adding-an-attachment",
    "Deleting": "deleting-an-attachment",
    "Checking": "checking-an-attachment",
    "Collecting": "garbage-collecting-a-network",
    "Request configuration": "deriving-request-configuration-from-plugin-configuration",
    "runtimeConfig": "deriving-runtimeconfig",
    "Delegation": "section-4-plugin-delegation",
    "Delegation protocol": "delegated-plugin-protocol",
    "Delegation procedure": "delegated-plugin-execution-procedure",
    "ADD success": "add-success",
    "IPAM result": "delegated-plugins-ipam",
    "VERSION success": "version-success",
    "Error": "error",
}
"""Our name of a section to its anchor in the document."""


def clause(section: str, words: str) -> Spec:
    """Return a clause of the specification: its section's link, and the words that a case holds a plugin to.

    `section` is a key of SECTIONS. `words` are quoted from the document, or, for cases of level BEST, say what we ask beyond it.
    Raises KeyError for a section that is not there.
    """
    return Spec(text=words, url=f"{DOCUMENT}#{SECTIONS[section]}")
