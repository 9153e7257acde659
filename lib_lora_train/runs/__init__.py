"""From a project to a training job and its history: plans, drafts, presets, names, starts, and what became of them."""
