"""DICOM TLS (PS3.15 B.12, BCP 195): what holds at a port, the contexts that serve it, and certificates of our own.

The serving side (`policy`, `contexts`, `connection`, `failures`) has Python's `ssl` alone. `issuing` and `inventory`
use the `cryptography` package, and `known` the database; nothing that receives imports them.
"""
