"""What the tools do: a module each, with ``main(argv, prog) -> exit code``."""
