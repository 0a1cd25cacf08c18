"""Audit messages (DICOM PS3.15 A.5) of what the ledgers hold, over syslog."""
