"""Use cases that combine the domains, and the event bus."""
