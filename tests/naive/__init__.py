"""Slow references, written from the equations of the sine study and of the papers, that import nothing of kdrun."""
