"""Facilities: their registry, names, ports, the snapshot that listeners read, and recognition."""
