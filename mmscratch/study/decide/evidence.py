"""What is known without training: published comparisons, and those of this project's own study.

Each comparison takes the longest training that was run from both initializations.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import mean

from mmscratch.study import page, real
from mmscratch.study.decide.answer import NEGLIGIBLE
from mmscratch.study.real import plan as real_plan
from mmscratch.study.real import summary
from mmscratch.study.seed_statistics import final

# below so many images ImageNet's weights are ahead: between the paper's 3,500 and 10,000
PAPERS_LIMIT = 10_000
# with fewer objects an image, pre-training is ahead with more images, too
FEW_OBJECTS = 3
# Comparisons with up to so many times as many images, or as few, are near
NEAR = 4


@dataclass(frozen=True)
class Twins:
    """Two numbers of one experiment.

    Args:
        title: of the data.
        images: of the training set.
        pretrained: AP from ImageNet's weights, in percent; VOC: mAP.
        scratch: the same from random weights.
        note: how long both were trained.
        source: where the numbers are from.
    """

    title: str
    images: int
    pretrained: float
    scratch: float
    note: str
    source: str

    @property
    def gap(self) -> float:
        """How far ImageNet's weights are ahead."""
        return self.pretrained - self.scratch


_PAPER = 'He, Girshick, Dollár 2019, arXiv 1811.08883'
PUBLISHED = (
    Twins('COCO', 118_287, 41.1, 41.3, 'R50-FPN with GN, 6x', f'{_PAPER}, table 1'),
    Twins('COCO', 35_000, 36.3, 36.3, 'R50-FPN with GN, to 6x', f'{_PAPER}, section 5.1'),
    Twins('COCO', 10_000, 26.0, 25.9, '60k and 220k iterations', f'{_PAPER}, section 5.1'),
    Twins('COCO', 3_500, 16.0, 9.3, 'R50-FPN with GN', f'{_PAPER}, section 5.2'),
    Twins('COCO', 1_000, 9.9, 3.5, 'R50-FPN with GN', f'{_PAPER}, section 5.2'),
    Twins(
        'PASCAL VOC, 2.3 objects an image',
        15_000,
        82.7,
        77.6,
        '18k and 144k iterations',
        f'{_PAPER}, section 5.2',
    ),
)


def measured(folder: Path = Path('results/real')) -> list[Twins]:
    """Those of the study of real images at its longest schedules; empty without its results."""
    results = page.collect(real.STUDY.claims, folder) if folder.is_dir() else {}
    found = []
    for part, (dataset, images, title) in real_plan.PARTS.items():
        if of_lengths := summary.pairs(results, part):
            names = of_lengths[max(of_lengths)]
            pretrained, scratch = (round(mean(final(results, name)), 1) for name in names)
            number = images or real.data.SOURCES[dataset].images[0]
            note = f'EfficientNet-Lite0, {results[names[0]][0]["iterations"]:,} iterations'
            title = title.split(' ', 1)[1]
            found.append(Twins(title, number, pretrained, scratch, note, 'results/real'))
    return found


def near(images: int, comparisons: Sequence[Twins]) -> list[Twins]:
    """Those with a similar number of images, the most similar first."""
    distance = {c: abs(math.log(c.images / images)) for c in comparisons}
    return sorted(
        (c for c in comparisons if distance[c] <= math.log(NEAR)), key=distance.__getitem__
    )


def text(images: int, objects: float, comparisons: Sequence[Twins]) -> list[str]:
    """What is to be expected with so many images, in plain words, and what that rests on.

    Args:
        images: of the training set.
        objects: an image has, in the mean.
        comparisons: that are known.
    """
    rule = 'train from scratch, and longer' if images >= PAPERS_LIMIT else 'pre-train'
    lines = [
        f"{images:,} images: by the paper's experiments on COCO, {rule}"
        f' (its limit is between 3,500 and {PAPERS_LIMIT:,} images).'
    ]
    if objects < FEW_OBJECTS and images >= PAPERS_LIMIT:
        lines.append(
            f'But an image has {objects:.1f} objects: with 2.3 in PASCAL VOC, pre-training is '
            'ahead with 15,000 images, too.'
        )
    found = near(images, comparisons)
    if not found:
        between = f'{images // NEAR:,} to {images * NEAR:,}'
        return [*lines, f'Nothing was measured with {between} images.']
    ahead = sum(each.gap > NEGLIGIBLE for each in found)
    lines.append(
        f'In {ahead} of {len(found)} comparisons with {images // NEAR:,} to {images * NEAR:,} '
        f'images ImageNet is ahead by more than {NEGLIGIBLE:g} AP. None of them is your data:'
    )
    return lines + [
        f'- {each.title}, {each.images:,} images: {each.pretrained:.1f} AP from ImageNet, '
        f'{each.scratch:.1f} from scratch ({each.note}; {each.source})'
        for each in found
    ]
