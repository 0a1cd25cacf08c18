"""The parent of all processes, on the `supervisor` package."""
