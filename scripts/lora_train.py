"""Entry of the WebUI. The tab does not exist yet, so nothing is registered.

The package is imported while the WebUI has this folder on sys.path, which is only now: a callback could not.
"""

import lib_lora_train  # noqa: F401
