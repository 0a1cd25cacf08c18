"""The common repository module: spool, archive, index, quarantine. Every listener and every import stores through it.

`spool`, `header`, `quarantine`, `journal` and `hints` are what receiving uses: they import no SQLAlchemy.
"""
