"""The graph as HTTP and the commands see it; `backend.py` is the protocol."""
