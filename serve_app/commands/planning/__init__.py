"""`step-audio2 plan`: how many GPUs for how many listeners, from what was measured."""
