"""Divides images into those to train on and those to validate on."""

import random
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from types import MappingProxyType
from typing import Any

from mmscratch.data.exports.export import Content

SEED = 0
SHARE = 0.2  # of the images, to validate on


def stratified(
    groups: Sequence[int],
    classes: Sequence[Collection[Any]],
    share: float,
    seed: int,
    given: Mapping[int, bool] = MappingProxyType({}),
) -> list[bool]:
    """Which images are to validate on, with about the same share of each class.

    Iterative stratification (Sechidis et al., "On the Stratification of Multi-Label Data", 2011,
    algorithm 1), of groups: the class with the fewest groups left is dealt first, each to the side
    that lacks most of it. A class in two groups or more is on both sides where others allow it.

    Args:
        groups: of each image; images of a group stay together.
        classes: of each image; an image without one counts as of a class of its own.
        share: of the images that are to validate on, between 0 and 1.
        seed: of the order of the groups.
        given: whether a group is to validate on, of those that are not dealt.
    """
    counts: dict[int, Counter] = {}
    for group, names in zip(groups, classes):
        counts.setdefault(group, Counter()).update({'all images', *(('class', n) for n in names)})
        if not names:
            counts[group]['empty'] += 1
    total: Counter = Counter()
    holding: Counter = Counter()
    for count in counts.values():
        total.update(count)
        holding.update(count.keys())
    # a class in two groups can be on both sides
    held_out = {key: max(share * n, float(holding[key] > 1)) for key, n in total.items()}
    lacking = {True: held_out, False: {key: n - held_out[key] for key, n in total.items()}}
    order = sorted(counts)
    random.Random(seed).shuffle(order)
    left = {key: [g for g in order if key in counts[g]] for key in total if key != 'all images'}
    side = dict(given)
    for group in given:
        for key, n in counts[group].items():
            lacking[side[group]][key] -= n
    while left:
        rarest = min(left, key=lambda key: (len(left[key]), str(key)))
        for group in left.pop(rarest):
            if group in side:
                continue
            wants = [(lacking[s][rarest], lacking[s]['all images']) for s in (False, True)]
            side[group] = wants[1] > wants[0]
            for key, n in counts[group].items():
                lacking[side[group]][key] -= n
        left = {k: rest for k, gs in left.items() if (rest := [g for g in gs if g not in side])}
    return [side[group] for group in groups]


def divide(
    content: Content, groups: Sequence[int], before: Mapping[str, bool]
) -> dict[str, Content]:
    """The contents of 'train' and 'val'; `groups` are of the images, see :func:`stratified`.

    Args:
        content: of a COCO JSON.
        groups: of its images. New ones go to the side of their group, to train on if it has both.
        before: whether images are to validate on, by name; these keep their side.
    """
    # a check of the folder shows rows without an id or a name, too
    names = {repr(row.get('id')): str(row.get('name')) for row in content['categories']}
    classes: dict[str, set[str]] = {repr(row.get('id')): set() for row in content['images']}
    for row in content['annotations']:
        if (image := repr(row.get('image_id'))) in classes:
            classes[image].add(names.get(repr(row.get('category_id')), ''))
    of_image = [(repr(row.get('id')), str(row.get('file_name'))) for row in content['images']]
    given: dict[int, bool] = {}
    for (_, name), group in zip(of_image, groups):
        if name in before:
            given[group] = before[name] and given.get(group, True)
    dealt = stratified(groups, [classes[image] for image, _ in of_image], SHARE, SEED, given)
    sides = [before.get(name, is_val) for (_, name), is_val in zip(of_image, dealt)]
    held_out = {image for (image, _), is_val in zip(of_image, sides) if is_val}
    return {
        split: dict(
            content,
            images=[row for row, side in zip(content['images'], sides) if side == is_val],
            annotations=[
                row
                for row in content['annotations']
                if (repr(row.get('image_id')) in held_out) == is_val
            ],
        )
        for split, is_val in (('train', False), ('val', True))
    }
