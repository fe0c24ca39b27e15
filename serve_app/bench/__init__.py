"""`step-audio2 bench`: what a listener would notice, and each stage alone."""
