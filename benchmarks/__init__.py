"""Measurements: speed, memory and agreement with a peer. Each writes its machine, versions and figures as JSON."""
