"""How the bundled network was trained: ``python -m tools.distill``."""
