"""From folders of pictures and captions to batches of latents and prompts."""
