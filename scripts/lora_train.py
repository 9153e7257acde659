"""Entry of the WebUI, which runs this at its start and again when its page is reloaded.

The package is imported while the WebUI has this folder on sys.path, which is only now: a callback could not.
"""

from lib_lora_train import extension

extension.register()
