"""The tag editor of a project, as faces ask for it: nothing is read twice, and files follow what the journal says."""
