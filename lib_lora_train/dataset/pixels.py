"""From an opened picture to what the VAE reads."""

from __future__ import annotations

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from lib_lora_train.dataset.buckets import CropPlan


def fit(image: Image.Image, plan: CropPlan) -> Tensor:
    """`image` (RGB) scaled once and cropped by `plan`: (3, height, width) fp32 in -1..1.

    Lanczos; pictures more than three times too large are first averaged down by a whole factor, which looks the same
    and is several times faster.
    """
    scaled = image.resize(plan.resized, Image.Resampling.LANCZOS, reducing_gap=3.0)
    values = np.array(scaled.crop(plan.box), dtype=np.float32)
    return torch.from_numpy(values / 127.5 - 1.0).permute(2, 0, 1).contiguous()
