"""`step-audio2 metrics`: what is made of the table of metrics."""
