"""The CNI specification in Python: requests, errors, versions, results. Knows no kernel."""
