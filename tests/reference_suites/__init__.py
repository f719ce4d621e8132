"""The reference plugins' own test suites, run against our executables."""
