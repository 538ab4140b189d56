"""The volume domain: data that outlives containers."""
