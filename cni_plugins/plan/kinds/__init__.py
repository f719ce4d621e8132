"""The resources that plans are made of, and their kinds. A file each."""
