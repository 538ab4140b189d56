"""The network domain: addresses, bridges, ports, names."""
