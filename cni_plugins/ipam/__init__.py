"""Address management on the node: pools of addresses (pure arithmetic) and the store of leases (crash-safe files)."""
