"""The tag editor: captions filtered, changed many at a time, and what of them to bind to the trigger word."""
