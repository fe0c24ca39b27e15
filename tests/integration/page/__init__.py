"""The page in real browsers, over the HTTP application with fake engines."""
