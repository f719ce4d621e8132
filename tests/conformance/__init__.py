"""Tests of the conformance suite by faults."""
