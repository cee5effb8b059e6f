"""The pictures and tables of the documentation, each by a module that runs as a command."""
