"""`step-audio2 top`: what a running cluster does at the moment."""
