"""The volume domain: named directories under data-root/volumes, and which containers have them.

`service.Volumes` is what others use; `records` its tables in the ledger.
"""
