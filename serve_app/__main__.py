"""`python -m serve_app`: the command line where the script `step-audio2` is not on the path."""

from serve_app.commands.cli import main

if __name__ == "__main__":
    main()
