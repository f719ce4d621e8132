"""Real peers, a real cluster and another kernel to test on."""
