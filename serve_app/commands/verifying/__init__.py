"""`step-audio2 verify`: whether a checkpoint works here, as a page for a report."""
