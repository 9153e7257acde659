"""The REST routes, `/lora-train/v1/...`: the only room that imports fastapi, starlette and pydantic.

`mount` adds them to an application, also to one that is serving already.
"""

from lib_lora_train.api.mounting import PREFIX, mount

__all__ = ["PREFIX", "mount"]
