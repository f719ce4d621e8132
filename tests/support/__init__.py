"""Tools that several groups of tests share."""
