"""Plugins that need one file: each holds a configuration class and a plan."""
