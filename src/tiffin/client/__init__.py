"""The Engine API from Python: a small synchronous client over unix sockets and TCP."""
