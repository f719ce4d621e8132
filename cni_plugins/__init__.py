"""The library that every plugin stands on: see docs/design.md for the shape of the house."""

VERSION = "0.1.0"
