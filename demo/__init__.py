"""The demo checkpoint: a tiny Stable Diffusion 1 model trained on portraits that a program draws, and how it is made."""
