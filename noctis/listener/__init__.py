"""The listener: everything that happens on one port. Imports no SQLAlchemy and touches no database.

`process` is the life of the process, `server` the pynetdicom AE and its sockets, `association` one connection from
accept to end, `transfer` its messages; `negotiation` and `facilities.recognition` decide who and what is let in.
`services` says which DIMSE service is answered by which module, `store` decides what becomes of an instance, and
`delegation` has pynetdicom answer what is neither C-STORE nor C-ECHO. `events` fires pynetdicom's events.
"""
