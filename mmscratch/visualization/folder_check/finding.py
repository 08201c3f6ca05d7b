"""What the check of a folder can find, and what a repaired copy does about it."""

from collections import Counter
from dataclasses import dataclass, field

STOPS, SPOILS, NOTE = 'stops training', 'spoils results', 'good to know'
_LEFT_OUT = 'left out, with their objects'
# By kind: how much it matters, what there are, and what a repaired copy has; '' for the same.
KINDS = {
    'xml': (STOPS, 'XML files cannot be read, or entries of them', 'left out'),
    'label': (STOPS, 'files of labels cannot be read, or lines of them', 'left out'),
    'entry': (STOPS, 'entries lack a proper id, name or reference', 'left out'),
    'id': (STOPS, 'annotation ids are no whole numbers, or occur more than once', 'new ids'),
    'listed twice': (STOPS, 'images are listed more than once', 'listed once, with all objects'),
    'missing': (STOPS, 'images are missing', _LEFT_OUT),
    'broken': (STOPS, 'images cannot be loaded', _LEFT_OUT),
    'size': (
        STOPS,
        'images have another size than their annotations say (EXIF rotation included)',
        'sizes corrected; look at the boxes',
    ),
    'names': (
        STOPS,
        'class names differ from others in white space, letter case or Unicode form alone',
        'one class, with the name of the most objects',
    ),
    'lists': (
        STOPS,
        "classes are not in every split's list, or in another order",
        'one list in all splits',
    ),
    'normalised': (STOPS, 'boxes or masks lie within 0..1, as shares of their image', 'in pixels'),
    'bad box': (STOPS, 'boxes have no area or lie outside of their image', 'left out'),
    'area': (STOPS, 'objects lack a proper area or iscrowd', 'area of the box, iscrowd 0'),
    'bad mask': (STOPS, 'masks are neither polygons nor a sound RLE', 'without mask'),
    'no mask': (STOPS, 'objects have no mask, while others have one', ''),
    'no objects': (STOPS, 'splits have no object to train on or to find', ''),
    'thin': (SPOILS, 'boxes are thinner than 1 pixel', 'left out'),
    'twice': (SPOILS, 'objects have the box and the class of another one', 'kept once'),
    'double': (
        SPOILS,
        'pairs of boxes of a class overlap by an IoU of 0.9 or more, as if it was one object',
        '',
    ),
    'short mask': (SPOILS, 'masks have polygons of fewer than 3 points', 'without these polygons'),
    'empty mask': (SPOILS, 'masks cover no pixel of their image', ''),
    'leak': (SPOILS, 'images are the same files as validation or test images', _LEFT_OUT),
    'near leak': (SPOILS, 'images nearly equal validation or test images', _LEFT_OUT),
    'still leak': (
        SPOILS,
        'images, more than half, nearly equal each other (static camera?), and the splits leak',
        '',
    ),
    'copy': (SPOILS, 'images are copies of another one of their split', 'kept once'),
    'missing class': (SPOILS, 'classes have objects in other splits alone', ''),
    'alike': (SPOILS, 'pairs of class names are almost alike', ''),
    'crowded': (
        SPOILS,
        'images have more than 100 objects of a class, and COCO counts 100 detections '
        '(--max-detections 300 raises the limit)',
        '',
    ),
    'self': (SPOILS, 'classes do not reach AP 1.0 when the ground truth is the detection', ''),
    'beyond': (NOTE, 'boxes stick out of their image by more than 1 pixel', 'clipped'),
    'near': (NOTE, 'images nearly equal another one of their split', ''),
    'still': (NOTE, 'images, more than half, nearly equal each other (static camera?)', ''),
    'flat': (NOTE, 'images are of a single colour', ''),
    'kinds': (NOTE, 'images have other channels or bits than most', ''),
    'empty': (NOTE, 'images are without objects: training leaves most of them out', ''),
    'crowd': (
        NOTE,
        'objects are crowds, difficult or to be ignored: not trained on',
        '',
    ),
    'rare': (
        NOTE,
        'classes are on fewer than 1 in 1,000 training images: see the sampler option '
        'repeat_threshold',
        '',
    ),
    'unlisted': (NOTE, 'image files in the folder have no annotation', 'left out'),
}
# examples of a kind in each split: how many the repaired copy lists, how many the page shows
KEPT, SHOWN = 1000, 3


@dataclass
class Finding:
    """So many of a kind in each split; ``first`` are the first of each."""

    kind: str
    counts: Counter[str] = field(default_factory=Counter)
    first: dict[str, list[str]] = field(default_factory=dict)

    @property
    def severity(self) -> str:
        """One of STOPS, SPOILS, NOTE."""
        return KINDS[self.kind][0]

    @property
    def repair(self) -> str:
        """What a repaired copy has, '' for the same."""
        return KINDS[self.kind][2]

    @property
    def sentence(self) -> str:
        """What there is, and how many."""
        counts = (f'{n:,}{split and " in "}{split}' for split, n in self.counts.items())
        return f'{KINDS[self.kind][1]}: {", ".join(counts)}'

    @property
    def examples(self) -> list[str]:
        """A few of each split."""
        return [each for found in self.first.values() for each in found[:SHOWN]]

    def line(self) -> str:
        """For the terminal."""
        return f'{self.sentence}, such as {self.examples[0]}'

    def change(self) -> str:
        """What a repaired copy has instead, or has still."""
        return f'{self.sentence}; in the copy: {self.repair or "STILL SO"}'


class Findings(dict[str, Finding]):
    """All findings, by kind."""

    def add(self, kind: str, split: str, example: str) -> None:
        """Count one more; '' is no split."""
        finding = self.setdefault(kind, Finding(kind))
        finding.counts[split] += 1
        if finding.counts[split] <= KEPT:
            finding.first.setdefault(split, []).append(example)

    def sorted(self) -> list[Finding]:
        """What matters most first, in the order of ``KINDS``."""
        return [self[kind] for kind in KINDS if kind in self]

    def by_severity(self) -> dict[str, list[Finding]]:
        """The findings of each severity."""
        return {
            severity: [each for each in self.sorted() if each.severity == severity]
            for severity in (STOPS, SPOILS, NOTE)
        }
