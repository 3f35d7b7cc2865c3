"""The program that reads strangers' archives: a process of its own, under limits, with the standard library alone."""
