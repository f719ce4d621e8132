"""What people and machines read of a run: the terminal, a page, Markdown, JUnit, a badge, and several plugins side by side.

Every one of them is made from `conformance.results.RunResult` alone, so that it can be made again from the JSON file of an earlier run.
"""
