"""What the processes tell: logs and scoreboards."""
