"""Repeat factor sampling: images of rare classes occur several times in a pass.

Gupta, Dollár, Girshick, "LVIS: A Dataset for Large Vocabulary Instance Segmentation", CVPR 2019
(arXiv 1908.03195), repeat factor sampling.
"""

import logging
import math
from collections import Counter
from typing import Any

import numpy as np
from mmengine.logging import print_log

from mmscratch.errors import InputError


def repeat_factors(dataset: Any, indices: np.ndarray, threshold: float) -> np.ndarray:
    """How often each image occurs in a pass on average: 1 or more.

    A class c that is on the share f(c) of the images has the factor max(1, sqrt(threshold / f(c))),
    an image the largest factor of its classes. An image without objects has 1. Crowds and ignored
    objects do not count.

    Args:
        dataset: has ``get_data_info(index)['instances']``, as data sets of MMDetection have.
        indices: images of the data set, (images,) int.
        threshold: the share of images below which a class is rare, above 0 and up to 1.

    Returns:
        (images,) float64.

    Raises:
        InputError: the threshold is none, or no image has an object.
    """
    if isinstance(threshold, bool) or not 0 < threshold <= 1:
        raise InputError(
            f'repeat_threshold={threshold!r}: give the share of images below which a class is '
            'rare, above 0 and up to 1; LVIS has 0.001'
        )
    classes = [
        {i['bbox_label'] for i in info.get('instances', ()) if not i.get('ignore_flag', 0)}
        for info in map(dataset.get_data_info, indices.tolist())
    ]
    images_with = Counter(label for labels in classes for label in labels)
    if not images_with:
        raise InputError(
            f'repeat_threshold={threshold}: no image has an object of a class; leave it out'
        )
    of_class = {
        label: max(1.0, math.sqrt(threshold * len(indices) / count))
        for label, count in images_with.items()
    }
    factors = np.array([max((of_class[k] for k in labels), default=1.0) for labels in classes])
    print_log(
        f'repeat_threshold={threshold}: {sum(factor > 1 for factor in of_class.values())} of '
        f'{len(of_class)} classes are rare; a pass has {pass_length(factors):,} draws of '
        f'{len(factors):,} images, up to {factors.max():.1f} of one',
        logger='current',
        level=logging.INFO,
    )
    return factors


def repeated(factors: np.ndarray, seed: int, number: int) -> np.ndarray:
    """The images of pass ``number``, each as often as its factor says: positions, ascending.

    A factor of 2.3 is 2 or 3, the latter in 3 of 10 passes. The paper rounds each image by a draw
    of its own. Here the draws of a pass depend on each other (systematic sampling), so that all
    passes have the same length, :func:`pass_length`. As in
    :func:`~mmscratch.data.samplers.pass_order.pass_order` a pass needs no state of those before it.
    """
    whole = np.floor(factors).astype(int)
    shares = factors - whole
    extra = pass_length(factors) - int(whole.sum())
    if extra:
        generator = np.random.RandomState([seed, number, 1])
        order = generator.permutation(len(factors))
        # as many marks as extra draws, one apart from the next; an image has those on its share
        ends = np.cumsum(shares[order]) * (extra / shares.sum()) + generator.random_sample()
        marks = np.minimum(np.floor(ends), extra).astype(int)
        marks[-1] = extra
        whole[order] += np.diff(marks, prepend=0)
    return np.repeat(np.arange(len(factors)), whole)


def pass_length(factors: np.ndarray) -> int:
    """The draws of a pass: the sum of the factors, its fraction rounded up."""
    whole = np.floor(factors)
    # without the error of sums of thousands of shares
    return int(whole.sum()) + math.ceil(round(float((factors - whole).sum()), 6))
