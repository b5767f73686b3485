"""Shell completion: what may come next on a command line, and the scripts that have a shell ask for it."""
