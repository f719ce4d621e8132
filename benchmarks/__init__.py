"""Measurements against peers, paired in one run; see README.md. Never tests: machines differ, ratios less."""
