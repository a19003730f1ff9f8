"""A task and a gradient shape for kdrun, as a package of its own."""
