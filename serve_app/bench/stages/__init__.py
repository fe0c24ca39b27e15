"""A stage alone, in this process: no Ray, no HTTP."""
