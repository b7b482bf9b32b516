"""Readers and writers: one reader per format, one FormatError, one atomic writer."""
