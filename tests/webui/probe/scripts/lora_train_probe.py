"""An extension for tests only: looks into the running WebUI, and makes it fail or wait at a chosen moment.

Runs inside the WebUI. Routes under /probe/; tests/helpers/webui.py speaks to them. Annotations are not postponed here:
the WebUI loads a script without a place in sys.modules, where pydantic would look their names up.
"""

import functools
import hashlib
import importlib.util
import sys
import threading
import traceback
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from fastapi import FastAPI
from modules import call_queue, script_callbacks, sd_hijack, sd_models, sd_unet, shared
from pydantic import BaseModel
from safetensors import safe_open

_ROOT = Path(__file__).resolve().parents[4]
_INSIDE = _ROOT / "tests" / "webui" / "inside"
_KEPT = "lora_train_probe_kept"
TRAINER = "lib_lora_train.train.trainer"
# Moments of a run, as the function of ours that is entered then.
PLACES = {
    "borrow": (TRAINER, "Trainer._train_on"),  # the model has just been borrowed
    "caching": ("lib_lora_train.dataset.latents", "_Work.encode_batch"),
    "captions": (TRAINER, "Trainer._encode_ahead"),
    "loop": (TRAINER, "Trainer._optimizer_step"),
    "backward": (TRAINER, "sample_losses"),  # between forward and backward, with a graph alive
    "save": (TRAINER, "save_lora"),
    "sample": (TRAINER, "draw_samples"),
    "sampling": (_KEPT, "denoise_step"),  # within the WebUI's own sampler
}
ERRORS = {
    "RuntimeError": RuntimeError,
    "OSError": OSError,
    "MemoryError": MemoryError,
    "OutOfMemory": torch.cuda.OutOfMemoryError,
}


class Trap(BaseModel):
    """At the `after`-th entry into `where` from now on: `error` is raised, or without one the thread is held."""

    where: str
    after: int = 1
    error: str = ""


class _Armed:
    """One trap. It is taken away again as soon as it has caught something."""

    def __init__(self, trap: Trap) -> None:
        self.trap = trap
        self.entries = 0
        self.caught = threading.Event()
        self.released = threading.Event()
        module, path = PLACES[trap.where]
        owner: Any = importlib.import_module(module)
        *parents, self.name = path.split(".")
        for parent in parents:
            owner = getattr(owner, parent)
        self.owner, self.original = owner, getattr(owner, self.name)
        setattr(owner, self.name, self._wrapped())

    def _wrapped(self) -> Any:
        original = self.original

        @functools.wraps(original)
        def entered(*args: Any, **kwargs: Any) -> Any:
            self.entries += 1
            if self.entries == self.trap.after:
                self.caught.set()
                if self.trap.error:
                    raise ERRORS[self.trap.error]("made to fail by a test")
                self.released.wait()
            return original(*args, **kwargs)

        return entered

    def take_away(self) -> None:
        setattr(self.owner, self.name, self.original)
        self.released.set()


def _kept() -> Any:
    """What outlives "Reload UI", which runs this script anew: the traps, and a function that the WebUI's sampler enters
    with each step."""
    if _KEPT not in sys.modules:
        sys.modules[_KEPT] = ModuleType(_KEPT)
        sys.modules[_KEPT].traps = []
        sys.modules[_KEPT].denoise_step = lambda: None
    return sys.modules[_KEPT]


_traps: list[_Armed] = _kept().traps


def _arm(trap: Trap) -> dict[str, Any]:
    _traps.append(_Armed(trap))
    return {}


def _trap_state() -> list[dict[str, Any]]:
    return [
        {**one.trap.dict(), "entries": one.entries, "caught": one.caught.is_set(), "held": _holds(one)}
        for one in _traps
    ]


def _holds(one: _Armed) -> bool:
    return one.caught.is_set() and not one.trap.error and not one.released.is_set()


def _release() -> dict[str, Any]:
    """Whatever is held goes on, and all traps are taken away, the last set one first."""
    caught = _trap_state()
    while _traps:
        _traps.pop().take_away()
    return {"traps": caught}


def _hash() -> dict[str, Any]:
    """Everything of the loaded model under the queue's lock: tensors bit by bit, flags, what is put on modules."""
    with call_queue.queue_lock:
        model = shared.sd_model
        tensors, flags = {}, {}
        for name, value in (
            *model.named_parameters(remove_duplicate=False),
            *model.named_buffers(remove_duplicate=False),
        ):
            bits = value.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes()
            tensors[name] = hashlib.sha256(bits).hexdigest()
            kind = [str(value.dtype), str(value.device), list(value.shape), value.requires_grad]
            flags[name] = [*kind, "no gradient" if value.grad is None else "a gradient"]
        for name, module in model.named_modules(remove_duplicate=False):
            own = {
                key: getattr(call, "__qualname__", type(call).__qualname__)
                for key, call in vars(module).items()
                if callable(call)
            }
            hooks = [len(module._forward_hooks), len(module._forward_pre_hooks), len(module._backward_hooks)]
            flags[f"{name} (module)"] = [type(module).__qualname__, module.training, sorted(own.items()), hooks]
        return {
            "tensors": _digest(tensors),
            "flags": _digest(flags),
            "checkpoint": model.sd_checkpoint_info.title,
            "details": {**flags, **{f"{name} (bits)": bits for name, bits in tensors.items()}},
        }


def _digest(value: dict[str, Any]) -> str:
    return hashlib.sha256(repr(sorted(value.items())).encode()).hexdigest()


def _networks() -> Any:
    """The built-in Lora extension's module, where it is on."""
    return sys.modules.get("networks")


def _state() -> dict[str, Any]:
    """What is loaded, chosen and put on, without any lock."""
    model, networks = sd_models.model_data.sd_model, _networks()
    merged = [
        name
        for name, module in (model.named_modules() if model is not None else ())
        if getattr(module, "network_current_names", ())
    ]
    optimizer = sd_hijack.current_optimizer
    return {
        "loaded": model.sd_checkpoint_info.title if model is not None else None,
        "chosen": shared.opts.sd_model_checkpoint,
        "networks": [net.name for net in networks.loaded_networks] if networks else [],
        "in_memory": sorted(networks.networks_in_memory) if networks else [],
        "available": sorted(networks.available_networks) if networks else [],
        "merged": merged,
        "attention": getattr(optimizer, "name", None),
        "options": {key: shared.opts.data.get(key) for key in ("CLIP_stop_at_last_layers", "sd_vae", "sd_unet")},
        "unet": getattr(sd_unet.current_unet, "__class__", type(None)).__name__,
        "fixes": sd_hijack.model_hijack.fixes is not None,
        "locked": call_queue.queue_lock._lock.locked(),
        "state": {
            key: getattr(shared.state, key)
            for key in ("job", "job_no", "job_count", "interrupted", "skipped", "stopping_generation", "textinfo")
        },
        "flags": {"deterministic": torch.are_deterministic_algorithms_enabled(), "grad": torch.is_grad_enabled()},
        "random": hashlib.sha256(torch.get_rng_state().numpy().tobytes()).hexdigest(),
        "trap": _trap_state(),
        "threads": [thread.name for thread in threading.enumerate()],
    }


def _matched(name: str) -> dict[str, Any]:
    """Which modules of a LoRA file the WebUI's own loader puts to use, and for which it finds no place."""
    networks = _networks()
    with call_queue.queue_lock:
        networks.list_available_networks()
        on_disk = networks.available_networks[name]
        with safe_open(on_disk.filename, framework="pt") as file:
            keys = {key.split(".")[0] for key in file.keys()}  # noqa: SIM118
        loaded = networks.load_network(name, on_disk)
        matched = {module.network_key.split(".")[0] for module in loaded.modules.values()}
        return {"matched": sorted(matched), "unmatched": sorted(keys - matched)}


class Call(BaseModel):
    """A function of a file in tests/webui/inside, and what it is given."""

    file: str
    function: str
    arguments: dict[str, Any] = {}


def _inside(call: Call) -> Any:
    """Runs it in a worker thread of the WebUI. The repository can be imported from meanwhile, and only meanwhile:
    the WebUI itself has an extension's folder on its path only while the extension's script is loaded."""
    sys.path.insert(0, str(_ROOT))
    try:
        spec = importlib.util.spec_from_file_location(f"lora_train_inside_{call.file}", _INSIDE / f"{call.file}.py")
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        return getattr(module, call.function)(**call.arguments)
    finally:
        sys.path.remove(str(_ROOT))


def _reload_ui() -> dict[str, Any]:
    shared.state.request_restart()
    return {}


def _stacks() -> dict[str, Any]:
    """Where every thread is, for a test that waits in vain."""
    names = {thread.ident: thread.name for thread in threading.enumerate()}
    return {
        names.get(ident, str(ident)): traceback.format_stack(frame) for ident, frame in sys._current_frames().items()
    }


def _on_app_started(_demo: Any, app: FastAPI) -> None:
    app.add_api_route("/probe/hash", _hash, methods=["POST"])
    app.add_api_route("/probe/state", _state, methods=["GET"])
    app.add_api_route("/probe/trap", _arm, methods=["POST"])
    app.add_api_route("/probe/release", _release, methods=["POST"])
    app.add_api_route("/probe/matched", _matched, methods=["POST"])
    app.add_api_route("/probe/inside", _inside, methods=["POST"])
    app.add_api_route("/probe/reload-ui", _reload_ui, methods=["POST"])
    app.add_api_route("/probe/stacks", _stacks, methods=["GET"])


script_callbacks.on_app_started(_on_app_started)
script_callbacks.on_cfg_denoiser(lambda _params: _kept().denoise_step())
