"""The HTTP application: the graph, its configuration, its routers and the command line."""
