"""PASCAL VOC with the objects that are marked "difficult"."""

from mmdet.datasets import VOCDataset
from mmdet.registry import DATASETS


@DATASETS.register_module()
class VOCWithDifficult(VOCDataset):
    """VOCDataset, whose objects marked "difficult" are objects like others.

    As Caffe-SSD and DSOD train (``use_difficult_gt`` in their MultiBoxLoss); MMDetection's own
    neither trains on them nor tests with them. For training: VOC's AP leaves them out.
    """

    def _parse_instance_info(self, *args, **kwargs) -> list[dict]:
        """All objects of an image, none to be ignored."""
        instances = super()._parse_instance_info(*args, **kwargs)
        return [dict(instance, ignore_flag=0) for instance in instances]
