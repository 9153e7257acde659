"""Looking at what was trained: grids of checkpoints and weights."""
