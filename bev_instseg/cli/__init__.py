"""The commands: a module for each, with ``main(argv, prog)`` that returns the exit code."""
