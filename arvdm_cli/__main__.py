"""Run the command line as `python -m arvdm_cli`."""

from .cli import main

main()
