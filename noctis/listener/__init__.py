"""The listener: everything that happens on one port. Imports no SQLAlchemy and touches no database.

`process` is the life of the process, `server` the pynetdicom AE and its sockets, `association` receives,
`negotiation` and `facilities.recognition` decide who and what is let in, `services` says which DIMSE service is
answered by which module, `intake` decides what becomes of an instance.
"""
