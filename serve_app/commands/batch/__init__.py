"""`step-audio2 batch`: a file of requests, sent to a server, and a file of their answers."""
