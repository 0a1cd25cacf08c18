"""The command line in this process, on a home of its own, without a supervisor."""
