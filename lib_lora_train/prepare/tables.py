"""Every setting of the preparation, once; the page, the command line and the REST schema are made from these."""

from __future__ import annotations

from dataclasses import dataclass, field

from lib_lora_train.settings.fields import setting

CROPS = ("none", "size", "aspect", "face", "head", "upper_body", "split", "auto")
BACKGROUNDS = ("none", "transparent", "white", "grey", "colour", "blur", "noise", "mask")
MATTES = ("auto", "isnet-anime", "birefnet", "birefnet-lite", "grabcut")
EXISTING = ("keep", "append", "prepend", "replace")
COMBINATIONS = ("union", "intersection", "vote")
CAPTIONERS = ("none", "blip", "deepdanbooru", "florence2", "endpoint")


@dataclass
class CheckSettings:
    """The health check: what the pictures will be trained at, and which findings are wanted."""

    size: int = setting(512, "Training size", "The side of the square that the pictures are trained at; sharpness and size are judged against it.", unit="px", minimum=64, maximum=2048)
    medium: str = setting("auto", "Pictures are", "Drawn or photographed: decides how faces are looked for.", choices=("auto", "drawn", "photo"))


@dataclass
class CropSettings:
    """What of a picture is trained on."""

    crop: str = setting("aspect", "Crop", "none: as it is; size: to width and height around what matters; aspect: keeps the shape, borders are trimmed; face, head, upper_body: around each person; split: long pictures in parts; auto: the best size within the limits.", choices=CROPS)
    width: int = setting(512, "Width", "Of what is cut out, for size, face, head, upper_body and split.", unit="px", minimum=64, maximum=4096)
    height: int = setting(512, "Height", "Of what is cut out, for size, face, head, upper_body and split.", unit="px", minimum=64, maximum=4096)
    face_share: float = setting(0.5, "Face share", "Height of the face as a share of the crop's height, for face crops; head and upper body follow from it.", minimum=0.05, maximum=0.95)
    several: int = setting(1, "Crops per picture", "At most so many persons or places are cut out of one picture.", minimum=1, maximum=8)
    close_ups: bool = setting(False, "Add close-ups", "A face crop besides the whole picture where the face is small.")
    mirror: bool = setting(False, "Mirrored copies", "Each crop once more, mirrored; not for one-sided features.")
    max_upscale: float = setting(1.0, "Most enlargement", "A crop is never enlarged by more than this; a smaller one stays as small as it is.", minimum=1, maximum=4)
    trim: bool = setting(True, "Trim borders", "Bars of one colour along the edges are cut off first.")
    face_weight: float = setting(0.9, "Weight of faces", "Of the focal point, when there is a face.", minimum=0, maximum=1)
    entropy_weight: float = setting(0.15, "Weight of entropy", "Of the focal point: where there is most to see.", minimum=0, maximum=1)
    edges_weight: float = setting(0.5, "Weight of edges", "Of the focal point: where the outlines are.", minimum=0, maximum=1)
    split_threshold: float = setting(0.5, "Split threshold", "A picture is split when its short side is below this share of what its shape would ask for.", minimum=0, maximum=1)
    overlap: float = setting(0.2, "Overlap", "Of the parts of a split picture.", minimum=0, maximum=0.9)
    auto_min: int = setting(384, "Smallest side", "Of an auto-sized crop.", unit="px", minimum=64, maximum=2048)
    auto_max: int = setting(768, "Largest side", "Of an auto-sized crop.", unit="px", minimum=64, maximum=4096)
    auto_area_max: int = setting(409600, "Largest area", "Of an auto-sized crop.", unit="px", minimum=4096, maximum=16777216)
    auto_error: float = setting(0.1, "Shape error", "How far the shape of an auto-sized crop may be from the picture's.", minimum=0, maximum=1)


@dataclass
class MatteSettings:
    """The background behind the subject."""

    background: str = setting("none", "Background", "What stands behind the subject; mask leaves the picture alone and writes a mask for masked loss.", choices=BACKGROUNDS)
    colour: str = setting("#808080", "Colour", "Of the background, for colour: # and six hexadecimal digits.")
    matte: str = setting("auto", "Cut out with", "auto takes ISNet for drawings and BiRefNet for photos, and GrabCut where neither is there.", choices=MATTES)
    decontaminate: bool = setting(True, "Clean edges", "The old background's colour is taken out of half-transparent edges.")
    feather: float = setting(0.0, "Soften the edge", "Blur of the mask's edge.", unit="px", minimum=0, maximum=32)


@dataclass
class TagSettings:
    """Captions from what taggers and captioners see."""

    taggers: list[str] = setting(["wd-vit-tagger-v3"], "Taggers", "Names of known taggers, or folders with model.onnx and selected_tags.csv in the models folder; none for no tags.")
    combine: str = setting("union", "Several taggers", "A tag is taken when one (union), all (intersection) or more than half (vote) see it.", choices=COMBINATIONS)
    threshold: float = setting(0.35, "General threshold", "Tags below this probability are left out.", minimum=0.01, maximum=1)
    character_threshold: float = setting(0.85, "Character threshold", "The same for names of characters; 1 for none.", minimum=0.01, maximum=1)
    mcut: bool = setting(False, "Automatic threshold", "For each picture, the threshold lies in the largest gap between its probabilities (MCut).")
    ratings: bool = setting(False, "Rating tags", "Also the tag of the rating (general, sensitive, ...).")
    spaces: bool = setting(True, "Spaces for underscores", "long hair instead of long_hair; faces made of signs stay.")
    exclude: list[str] = setting([], "Left-out tags", "Never written.")
    first: list[str] = setting([], "First tags", "Put in front, in this order, when a picture has them.")
    replace: list[str] = setting([], "Replaced tags", "old=new, one each.")
    existing: str = setting("keep", "Captions that are there", "keep: pictures with a caption stay as they are; append or prepend: new tags after or before; replace: written anew. All can be undone.", choices=EXISTING)
    trigger: str = setting("", "Trigger word", "Put first in every caption; empty: the project's.")
    captioner: str = setting("none", "Sentence by", "A sentence after the trigger word, by the host's BLIP or DeepDanbooru, Florence-2, or an endpoint that the operator set up.", choices=CAPTIONERS)


@dataclass
class PrepareSettings:
    check: CheckSettings = field(default_factory=CheckSettings)
    crop: CropSettings = field(default_factory=CropSettings)
    matte: MatteSettings = field(default_factory=MatteSettings)
    tag: TagSettings = field(default_factory=TagSettings)
