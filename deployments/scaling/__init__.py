"""How many replicas each stage has: by the share of them that is free, never by counts of requests.

`headroom_policy.py` decides, in pure arithmetic, `ray_policy.py` is what Ray Serve calls, and
`stage_load.py` what a replica tells it. Serve's controller imports this: nothing heavy may be here.
"""
