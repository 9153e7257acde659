"""The preparation of projects as faces use it: what is asked for, what is under way, what came of it."""
