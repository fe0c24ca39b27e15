"""What `run_chaos` does to a server, and what its listeners make of it."""
