"""The training itself: `trainer` is read from top to bottom, the rest are its parts."""
