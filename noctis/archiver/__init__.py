"""The archiver: the process that moves spool → archive + index, writes the ledgers and completes studies."""
