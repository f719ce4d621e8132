"""Tests that need Debian's own kernel; `tests/lab/test_vm.py` runs them in an emulated machine."""
