"""A plan says what must exist for an attachment; whom it asks decides what happens (docs/design.md, "One idea").

resource.py   what a plan asks for: Resource, Kind, Drift
world.py      what resources act on: kernel handles, the request, prevResult
runner.py     ADD, CHECK, STATUS: Predict, Apply, Verify, Ready
removal.py    DEL and GC: from what was written down and what carries our mark
records.py    what was written down
locks.py      one attachment, one call at a time
kinds/        the resources
"""
