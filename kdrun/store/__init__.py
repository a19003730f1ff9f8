"""The truth about a study: its runs in one database, their digest, and networks out of it."""
