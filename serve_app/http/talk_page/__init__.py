"""`/`: the page on which one talks to the server, with nothing from another host."""
