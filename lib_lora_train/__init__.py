"""LoRA training inside the Stable Diffusion WebUI, and alone."""

__version__ = "0.1.0"
