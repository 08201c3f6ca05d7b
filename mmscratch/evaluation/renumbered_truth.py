"""Small numbers in place of the ids of a user's file, for an evaluator."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any


class RenumberedTruth:
    """The ground truth of the images that were evaluated, with all its ids numbered from 1.

    An id in a file is a whole number of any size and sign; hotcoco takes 64 bits without a sign,
    and detections as an array of floats. So

    - images are numbered in the order of their ids, in which evaluators rank detections of equal
      score,
    - annotations in the order of the file,
    - categories in the order of the classes, so that index k of an evaluator's arrays is class k.

    Args:
        dataset: The content of a COCO JSON. It is not changed.
        image_ids: Ids of the images that were evaluated. Others do not count.
        category_ids: Ids of the categories, in the order of the classes.

    Attributes:
        image_numbers: The number of each image by its id.
    """

    def __init__(
        self, dataset: Mapping[str, Any], image_ids: Iterable[int], category_ids: Sequence[int]
    ) -> None:
        self._dataset = dataset
        self._category_numbers = {i: number for number, i in enumerate(category_ids, 1)}
        self.image_numbers = {i: number for number, i in enumerate(sorted(set(image_ids)), 1)}

    def ground_truth(self, *keys: str) -> dict[str, list[dict]]:
        """A new COCO JSON, whose annotations have of their other keys only ``keys``.

        Images have their size alone: hotcoco refuses a license that is no number, for one.
        """
        images, categories = self.image_numbers, self._category_numbers
        counted = [
            row
            for row in self._dataset['annotations']
            if row['image_id'] in images and row['category_id'] in categories
        ]
        return dict(
            images=[
                dict(_of(row, ('width', 'height')), id=images[row['id']])
                for row in self._dataset['images']
                if row['id'] in images
            ],
            annotations=[
                dict(
                    _of(row, keys),
                    id=number,
                    image_id=images[row['image_id']],
                    category_id=categories[row['category_id']],
                )
                for number, row in enumerate(counted, 1)
            ],
            categories=[dict(id=number, name=str(number)) for number in categories.values()],
        )


def _of(row: Mapping[str, Any], keys: Iterable[str]) -> dict[str, Any]:
    return {key: row[key] for key in keys if key in row}
