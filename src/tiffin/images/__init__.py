"""The image domain: names, configurations, archives."""
