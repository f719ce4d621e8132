"""`make demo`: real containers networked by the built executables, for people who have never seen CNI."""
