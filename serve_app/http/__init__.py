"""The HTTP surface: `application.py` puts it together; each resource has a room of its own."""
