"""make playground: the whole path on one machine, alive, on one page in a browser."""
