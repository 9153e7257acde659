"""The host that lives inside AUTOMATIC1111's WebUI: the only room that imports the WebUI's own modules."""
