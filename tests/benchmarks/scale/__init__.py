"""What one more stream costs each part of the graph on a CPU: `run_scale` runs these."""
