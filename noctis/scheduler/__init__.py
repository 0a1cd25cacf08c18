"""What is done from time to time: the archive is verified."""
