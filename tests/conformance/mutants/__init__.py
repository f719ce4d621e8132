"""Plugins that are wrong in exactly one way, one for each case of the suite."""
