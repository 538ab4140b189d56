"""The container domain: records, state machine, health, logs, statistics."""
