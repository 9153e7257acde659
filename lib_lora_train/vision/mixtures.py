"""Mixtures of Gaussians over colours, fitted without any chance: the same colours always give the same mixture."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

_SAMPLES = 4000  # more colours than this say nothing new about five or eight clusters
_ROUNDS = 12
_SPREAD = 4.0  # added to each variance, in squared grey levels: flat colours of drawings have none of their own
_LEAST = 0.002  # share of the samples below which a cluster is left out
GRABCUT_PARTS = 5  # the number that cv2.grabCut's models hold


@dataclass(frozen=True)
class Mixture:
    """`weights` (k,), `means` (k, c), `covariances` (k, c, c); the weights add up to at most 1."""

    weights: np.ndarray
    means: np.ndarray
    covariances: np.ndarray

    @classmethod
    def fit(cls, colours: np.ndarray, parts: int) -> Mixture:
        """Of `colours` (n, c), n at least 1: k-means, then one Gaussian for each cluster."""
        step = max(1, len(colours) // _SAMPLES)
        samples = colours[::step].astype(np.float64)
        labels = _clusters(samples, parts)
        weights, means, covariances = [], [], []
        for label in range(parts):
            cluster = samples[labels == label]
            if len(cluster) > _LEAST * len(samples):
                centred = cluster - cluster.mean(axis=0)
                weights.append(len(cluster) / len(samples))
                means.append(cluster.mean(axis=0))
                covariances.append(centred.T @ centred / len(cluster) + _SPREAD * np.eye(samples.shape[1]))
        return cls(np.array(weights), np.array(means), np.array(covariances))

    def log_likelihood(self, colours: np.ndarray) -> np.ndarray:
        """Of each of `colours` (n, c), but for a constant: (n,) float64, never below -92."""
        total = np.full(len(colours), 1e-40)
        for weight, mean, covariance in zip(self.weights, self.means, self.covariances, strict=True):
            away = colours - mean
            distance = ((away @ np.linalg.inv(covariance)) * away).sum(axis=1)
            total += weight * np.exp(-0.5 * distance - 0.5 * np.linalg.slogdet(covariance)[1])
        return np.log(total)

    def as_grabcut(self) -> np.ndarray:
        """(1, 65) float64 as cv2.grabCut keeps its models: five weights, then means, then covariances.

        Only for three channels and at most five parts. A part with weight 0 is not used.
        """
        model = np.zeros((1, 13 * GRABCUT_PARTS))
        parts = len(self.weights)
        model[0, :parts] = self.weights
        model[0, GRABCUT_PARTS : GRABCUT_PARTS + 3 * parts] = self.means.ravel()
        model[0, 4 * GRABCUT_PARTS : 4 * GRABCUT_PARTS + 9 * parts] = self.covariances.ravel()
        return model


def _clusters(samples: np.ndarray, parts: int) -> np.ndarray:
    """Labels 0..parts-1 by k-means. Each start centre lies far from those before it, but is no outlier."""
    centres = [samples[((samples - samples.mean(axis=0)) ** 2).sum(axis=1).argmax()]]
    nearest = ((samples - centres[0]) ** 2).sum(axis=1)
    for _ in range(parts - 1):
        order = np.argsort(nearest, kind="stable")
        centres.append(samples[order[int(0.97 * (len(samples) - 1))]])
        nearest = np.minimum(nearest, ((samples - centres[-1]) ** 2).sum(axis=1))
    places = np.array(centres)
    for _ in range(_ROUNDS):
        labels = ((places * places).sum(axis=1) - 2.0 * samples @ places.T).argmin(axis=1)
        for label in range(parts):
            if (labels == label).any():
                places[label] = samples[labels == label].mean(axis=0)
    return labels
