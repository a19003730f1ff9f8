"""What the runs of a study say: tables in, tables out."""
