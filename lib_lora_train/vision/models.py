"""The table of known models: what each is for, where it comes from, its size and its licence.

Sizes and licences are what the pages of the repositories say (read in stored copies of 2024 to 2026). A commit or a
hash stands nowhere in here: both are recorded at the first download on each machine, and pinned from then on.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import PurePosixPath

from lib_lora_train.errors import UserError
from lib_lora_train.messages import DEFAULT_LANGUAGE, message

PURPOSES = ("tagger", "matte", "face", "similarity")
NAMES_OF_A_TAGGER = ("model.onnx", "selected_tags.csv")


@dataclass(frozen=True)
class KnownModel:
    """One entry. `files` are paths in the repository; on disk each lies under its base name.

    `megabytes` (of 10^6 bytes) is of all files together; `commercial` says whether the licence allows commercial use;
    `note` is a message code; `verified` is False where nobody has read the licence on the repository's own page.
    """

    name: str
    purpose: str
    label: str
    repository: str
    files: tuple[str, ...]
    megabytes: float
    licence: str
    commercial: bool
    note: str
    verified: bool = True

    @property
    def file_names(self) -> tuple[str, ...]:
        return tuple(PurePosixPath(file).name for file in self.files)

    @property
    def folder(self) -> str:
        """The folder in the repository that holds all files; empty for the top."""
        folders = {PurePosixPath(file).parent.as_posix() for file in self.files}
        return folders.pop().removeprefix(".") if len(folders) == 1 else ""

    def notes(self, language: str = DEFAULT_LANGUAGE) -> str:
        """What it is good for, and what its licence asks to be said."""
        codes = [self.note]
        if not self.commercial:
            codes.append("models.not_commercial")
        if not self.verified:
            codes.append("models.licence_unverified")
        return " ".join(message(code, language) for code in codes)


def _tagger(name: str, label: str, megabytes: float, note: str) -> KnownModel:
    return KnownModel(
        name, "tagger", label, f"SmilingWolf/{name}", NAMES_OF_A_TAGGER, megabytes, "Apache-2.0", True, note
    )


KNOWN = (
    _tagger("wd-vit-tagger-v3", "WD ViT v3", 379.3, "models.note_vit"),
    _tagger("wd-vit-large-tagger-v3", "WD ViT Large v3", 1260.3, "models.note_vit_large"),
    _tagger("wd-swinv2-tagger-v3", "WD SwinV2 v3", 467.3, "models.note_swinv2"),
    _tagger("wd-convnext-tagger-v3", "WD ConvNext v3", 395.3, "models.note_convnext"),
    _tagger("wd-eva02-large-tagger-v3", "WD EVA02 Large v3", 1260.3, "models.note_eva02"),
    KnownModel(
        "isnet-anime", "matte", "ISNet anime", "skytnt/anime-seg", ("isnetis.onnx",), 176, "Apache-2.0", True, "models.note_isnet"
    ),
    KnownModel(
        "birefnet", "matte", "BiRefNet", "onnx-community/BiRefNet-ONNX", ("onnx/model.onnx",), 973, "MIT", True, "models.note_birefnet"
    ),
    KnownModel(
        "birefnet-lite", "matte", "BiRefNet lite", "onnx-community/BiRefNet_lite-ONNX", ("onnx/model.onnx",), 224, "MIT", True, "models.note_birefnet_lite"
    ),
    # The page of OpenCV's own copy names no licence; the model's folder in OpenCV's zoo has the MIT licence beside it.
    KnownModel(
        "yunet", "face", "YuNet", "opencv/face_detection_yunet", ("face_detection_yunet_2023mar.onnx",), 0.23, "MIT", True, "models.note_yunet"
    ),
    KnownModel(
        "anime-face", "face", "Anime face v1.4", "deepghs/anime_face_detection", ("face_detect_v1.4_n/model.onnx",), 12.1, "MIT", True, "models.note_anime_face"
    ),
    KnownModel(
        "ccip", "similarity", "CCIP", "deepghs/ccip_onnx",
        ("ccip-caformer-24-randaug-pruned/model_feat.onnx", "ccip-caformer-24-randaug-pruned/model_metrics.onnx"),
        150, "OpenRAIL", True, "models.note_ccip",
    ),
    # The licence is that of the weights' authors; the page of this export names none.
    KnownModel(
        "dinov2-small", "similarity", "DINOv2 small", "Xenova/dinov2-small", ("onnx/model.onnx",), 88.5, "Apache-2.0", True, "models.note_dinov2", verified=False
    ),
)  # fmt: skip


def known_model(name: str, table: tuple[KnownModel, ...] = KNOWN) -> KnownModel:
    """Raises UserError("models.unknown") for a name that the table does not have."""
    for model in table:
        if model.name == name:
            return model
    raise UserError("models.unknown", name, known=", ".join(model.name for model in table))
