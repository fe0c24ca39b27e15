"""The command line `step-audio2`; `cli.py` declares it, a module a command does the work."""
