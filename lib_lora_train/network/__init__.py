"""The adapter: where it attaches, what it computes, how it is saved."""
