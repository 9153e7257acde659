"""Captions: the sheet of a place, filters, edits, what to bind, vocabulary and translations. Imports no torch."""
