"""Sound as clients get it: formats, encoders. No HTTP, no Ray."""
