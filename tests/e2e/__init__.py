"""Tests through the built executables: what a runtime and its pods see."""
