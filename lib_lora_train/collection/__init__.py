"""The pictures of a project: adding, importing, concepts, captions, trash, thumbnails, download."""
