"""Putting the server into the configuration of a client: which file, which entry, and an edit that leaves all else."""
