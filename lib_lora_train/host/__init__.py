"""Where the model comes from: one protocol (`base`), and a room for each host that speaks it."""
