"""Data sets: the table of known ones, readers of their formats, tables of one's own, the built-in sample."""
