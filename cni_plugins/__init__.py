"""The library that every plugin stands on: see docs/design.md for the shape of the house."""

VERSION = "0.1.0"

RUN_DIR = "/run/cni-plugins"
"""Where records, locks and the agent's socket are: gone at reboot, like the kernel state that they are about."""
