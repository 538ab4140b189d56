"""The Engine API's shapes and stream frames."""
