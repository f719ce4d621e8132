"""The cases, a module for each group; `conformance.case.cases` finds them all."""
