"""A hard outline found on a small copy, brought to the full picture with soft edges that follow its colours."""

from __future__ import annotations

import numpy as np

_RADIUS = 4  # pixels of the small copy on each side of the outline that may become half-transparent
_EPSILON = 1e-4  # of colours 0..1: edges weaker than 2 or 3 grey levels are not followed
_TOE = 0.08  # below it nothing, above 1 - _TOE everything: what texture leaves of the filter's linear model


def refine(image: np.ndarray, small: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """float32 (height, width) 0..1 of the full picture.

    The fast guided filter of He and Sun (2015, arXiv:1505.00996), after He, Sun and Tang, "Guided Image Filtering"
    (2013): in each window the mask is a linear function of the colour; its coefficients are found on the small copy
    and applied to the full picture. `image` uint8 (height, width, 3); `small` the same reduced to (h, w, 3); `mask`
    uint8 (h, w), 0 or 1.
    """
    import cv2

    height, width = image.shape[:2]
    slopes, offset = _linear_model(small.astype(np.float32) / 255.0, mask.astype(np.float32))
    size = (width, height)
    alpha = cv2.resize(offset, size, interpolation=cv2.INTER_LINEAR)
    for channel in range(3):
        slope = cv2.resize(slopes[:, :, channel], size, interpolation=cv2.INTER_LINEAR)
        alpha += slope * (image[:, :, channel].astype(np.float32) / 255.0)
    alpha = np.clip((alpha - _TOE) / (1.0 - 2.0 * _TOE), 0.0, 1.0)
    window = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * _RADIUS + 1, 2 * _RADIUS + 1))
    inside = cv2.resize(cv2.erode(mask, window).astype(np.float32), size, interpolation=cv2.INTER_LINEAR)
    outside = cv2.resize(cv2.dilate(mask, window).astype(np.float32), size, interpolation=cv2.INTER_LINEAR)
    return np.clip(alpha, inside, outside)


def _linear_model(guide: np.ndarray, mask: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Slopes (h, w, 3) and offset (h, w), averaged over the windows that each pixel lies in."""
    import cv2

    def mean(values: np.ndarray) -> np.ndarray:
        return cv2.blur(values, (2 * _RADIUS + 1, 2 * _RADIUS + 1), borderType=cv2.BORDER_REFLECT)

    average, share = mean(guide), mean(mask)
    products = mean((guide[:, :, :, None] * guide[:, :, None, :]).reshape(*mask.shape, 9)).reshape(*mask.shape, 3, 3)
    covariance = products - average[:, :, :, None] * average[:, :, None, :] + _EPSILON * np.eye(3, dtype=np.float32)
    with_mask = mean(guide * mask[:, :, None]) - average * share[:, :, None]
    slopes = np.linalg.solve(covariance, with_mask[:, :, :, None])[:, :, :, 0].astype(np.float32)
    offset = share - (slopes * average).sum(axis=2)
    return mean(slopes), mean(offset)
