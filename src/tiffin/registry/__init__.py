"""The OCI distribution protocol, client and server."""
