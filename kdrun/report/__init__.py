"""What a person reads: tables, reports, manifests, and an index over studies."""
