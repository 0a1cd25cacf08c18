"""Backup while images flow, and restore into an empty home (`make`, `restore`; `generations` is what lies on disk)."""
