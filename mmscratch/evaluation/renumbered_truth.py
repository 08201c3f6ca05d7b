"""Small numbers in place of the ids of a user's file, for an evaluator."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any


class RenumberedTruth:
    """The ground truth of the images that were evaluated, with all its ids numbered from 1.

    An id in a file is a whole number of any size and sign. Evaluators turn ids into floats and
    signed integers, take annotation 0 for "not found", and sort the categories by id. So

    - images are numbered in the order of their ids, in which evaluators rank detections of equal
      score,
    - annotations in the order of the file,
    - categories in the order of the classes, so that index k of an evaluator's arrays is class k.

    Args:
        dataset: The content of a COCO JSON. It is not changed.
        image_ids: Ids of the images that were evaluated. Others do not count.
        category_ids: Ids of the categories, in the order of the classes.
    """

    def __init__(
        self, dataset: Mapping[str, Any], image_ids: Iterable[int], category_ids: Sequence[int]
    ) -> None:
        self._dataset = dataset
        self._image = {i: number for number, i in enumerate(sorted(set(image_ids)), 1)}
        self._category = {i: number for number, i in enumerate(category_ids, 1)}

    def ground_truth(self) -> dict[str, list[dict]]:
        """A new COCO JSON; an evaluator may change its rows, not the lists within them."""
        annotations = (row for row in self._dataset['annotations'] if self._counts(row))
        return dict(
            images=self._rows('images', self._image),
            annotations=[
                self._renumber(row, id=number) for number, row in enumerate(annotations, 1)
            ],
            categories=self._rows('categories', self._category),
        )

    def detections(self, rows: Iterable[Mapping[str, Any]]) -> list[dict]:
        """Copies of the rows of a result file."""
        return [self._renumber(row) for row in rows]

    def _rows(self, section: str, numbers: Mapping[int, int]) -> list[dict]:
        rows = self._dataset[section]
        return [dict(row, id=numbers[row['id']]) for row in rows if row['id'] in numbers]

    def _counts(self, row: Mapping[str, Any]) -> bool:
        return row['image_id'] in self._image and row['category_id'] in self._category

    def _renumber(self, row: Mapping[str, Any], **changes: int) -> dict:
        image_id, category_id = self._image[row['image_id']], self._category[row['category_id']]
        return dict(row, image_id=image_id, category_id=category_id, **changes)
