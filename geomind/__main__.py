"""Runs the command line as `python -m geomind`, which is also what torchrun starts."""

from geomind.cli import main

if __name__ == "__main__":
    main()
