"""Read and write files: one reader per format, one error (FormatError), one atomic writer."""
