"""Studies: read from a file, checked, and resolved into treatments and runs."""
