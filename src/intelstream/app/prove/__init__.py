"""Proof of a pipeline: real processes are killed while it works, and then every event is accounted for."""
