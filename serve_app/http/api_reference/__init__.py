"""`/docs`: the interactive page of the API, with nothing from another host."""
