"""What the check of one split of a data set found."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from mmscratch.errors import InputError


@dataclass
class DataReport:
    """Counts of one checked annotation file.

    `instances` counts, by class in the file's own order (that of MMDetection's labels), the
    objects that can be trained on: crowds, ignored ones and left-out boxes are not among them.
    `sizes` counts the same objects by COCO's area limits, 32 and 96 pixels squared.
    `masks` counts the annotations with a mask that can be loaded, out of `annotations`.
    `to_find` counts the objects that evaluation looks for. `left_out` maps each reason why objects
    cannot be trained on to their number. `crowding` has two numbers for each image with objects to
    train on: all of them, and those of its most frequent class. `fingerprints` maps what identifies
    an image file to its name. `images_sha256` is of the width, the height and the fingerprint of
    each image; `xml_sha256` of the XML files, '' if there are none. `listed` are the names in a
    list of images; no other list may have them. `notes` are sentences for the log.
    """

    annotation_file: Path
    sha256: str
    images: int
    annotations: int
    to_find: int
    instances: dict[str, int]
    sizes: dict[str, int]
    masks: int = 0
    left_out: dict[str, int] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    crowding: list[tuple[int, int]] = field(default_factory=list, repr=False)
    fingerprints: dict[tuple[int, int], str] = field(default_factory=dict, repr=False)
    images_sha256: str = ''
    xml_sha256: str = ''
    listed: tuple[str, ...] = field(default=(), repr=False)

    @property
    def classes(self) -> tuple[str, ...]:
        """Class names in the order of MMDetection's labels."""
        return tuple(self.instances)

    @property
    def empty_classes(self) -> tuple[str, ...]:
        """Classes without an object to train on."""
        return tuple(name for name, count in self.instances.items() if count == 0)

    def refuse_if_no_objects(self, split: str) -> None:
        """Refuse training data without an object to train on, other data without one to find.

        Raises:
            InputError: there is none. The message counts the reasons.
        """
        trains = split == 'train'
        if sum(self.instances.values()) if trains else self.to_find:
            return
        reasons = ', '.join(f'{count} {why}' for why, count in self.left_out.items())
        raise InputError(
            f'{self.annotation_file}: none of its {self.annotations} objects can be '
            f'{"trained on" if trains else "found"}: {reasons}; correct these'
        )

    def compare_with(self, train: 'DataReport') -> None:
        """Note the images of this split that are trained on too, under whatever name.

        Raises:
            InputError: the two have other classes, or one name is in the lists of both.
        """
        refuse_other_classes(
            self.annotation_file, self.classes, train.annotation_file, train.classes
        )
        known = set(train.listed)
        if both := [name for name in self.listed if name in known]:
            raise InputError(
                f'{self.annotation_file}: {len(both)} of its {len(self.listed)} images are in '
                f'{train.annotation_file.name} too, the first is {both[0]}: take them out of one '
                f'of the lists'
            )
        common = [key for key in self.fingerprints if key in train.fingerprints]
        if common:
            own, other = (report.fingerprints[common[0]] for report in (self, train))
            self.notes.append(
                f'WARNING: {len(common)} of the {self.images} validation images are training '
                f"images too, the first is '{own}' ('{other}'): the AP will be flattered"
            )

    def note_crowding(self, kept: int | None, counted: int | None) -> None:
        """Note how many images have more objects than a model keeps, or a metric counts.

        Args:
            kept: detections of an image that the model keeps; None for all.
            counted: detections of a class in an image that the metric counts; None for all.
        """
        crowded = [
            (objects, of_a_class)
            for objects, of_a_class in self.crowding
            if (kept and objects > kept) or (counted and of_a_class > counted)
        ]
        if not crowded:
            return
        most, most_of_a_class = map(max, zip(*crowded))
        limits = []
        if kept:
            limits.append(f'the model keeps {kept} detections an image (max_per_img)')
        if counted:
            limits.append(f"COCO's metric counts {counted} of a class (proposal_nums)")
        both = 'both' if len(limits) == 2 else 'it'
        self.notes.append(
            f'WARNING: {len(crowded)} of {self.images} images have more objects than can be found, '
            f'up to {most}, of one class up to {most_of_a_class}: {" and ".join(limits)}; '
            f'--max-detections {max(most, kept or 0, 100)} sets {both}'
        )

    def lines(self) -> list[str]:
        """The report for the log: totals, table of classes, remarks, checksum."""
        objects = sum(self.instances.values())
        sizes = ', '.join(f'{count} {name}' for name, count in self.sizes.items())
        masks = 'masks for all' if self.masks == self.annotations else f'{self.masks} masks'
        classes = f'{len(self.instances)} class{"es" if len(self.instances) > 1 else ""}'
        head = (
            f'{self.annotation_file}: {self.images} images, {objects} objects ({sizes}), '
            f'{classes}, {masks if self.masks else "no masks"}'
        )
        lines = [head, *self._class_table(), *self.notes]
        if self.empty_classes:
            lines.append(f'classes without an object: {", ".join(self.empty_classes)}')
        return [*lines, f'SHA-256 of the annotation file: {self.sha256}']

    def _class_table(self, columns: int = 4) -> list[str]:
        # in a line, also with a line break in a name
        counts = [(' '.join(name.split()), count) for name, count in self.instances.items()]
        name_width = max(len(name) for name, _ in counts)
        count_width = len(str(max(count for _, count in counts)))
        cells = [f'{name:<{name_width}} {n:>{count_width}}' for name, n in counts]
        rows = (cells[start : start + columns] for start in range(0, len(cells), columns))
        return ['  ' + '   '.join(row) for row in rows]


def refuse_other_classes(
    file: Path, classes: Sequence[str], train_file: Path, train_classes: Sequence[str]
) -> None:
    """Refuse classes that are not those of training, in the same order.

    MMDetection numbers the labels by each file's own list of categories.

    Raises:
        InputError: the two lists differ.
    """
    if classes == train_classes:
        return
    odd = sorted({*train_classes} ^ {*classes})
    if not odd:
        raise InputError(
            f'{file}: lists its categories in another order than {train_file}, so labels would be '
            f'swapped; use one order in both'
        )
    spaces = len({name.strip() for name in odd}) < len(odd)
    raise InputError(
        f'{file}: {len(odd)} category names, the first is {odd[0]!r}, are in only one of this '
        f'file and {train_file}; give both the same categories'
        + ', also in the white space around their names'
        * spaces
    )
