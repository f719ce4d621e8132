"""The CNI specification in Python: requests, errors, versions, results, delegation. Knows no kernel."""
