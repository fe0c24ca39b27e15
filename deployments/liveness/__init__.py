"""How a replica that hangs is found: `heartbeats` is a stage's side, `watch` its caller's."""
