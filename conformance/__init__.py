"""The conformance suite: which clauses of the CNI specification a plugin keeps, whoever wrote it. Needs nothing of our plugins."""
