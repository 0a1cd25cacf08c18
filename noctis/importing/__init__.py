"""Files that are there already, into a facility: from a folder, a DICOMDIR or one by one."""
