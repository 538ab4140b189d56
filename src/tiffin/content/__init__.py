"""Content-addressed blobs, the ledger, the sweep."""
