"""PASCAL VOC with the objects that are marked "difficult"."""

from mmdet.datasets import VOCDataset
from mmdet.registry import DATASETS


@DATASETS.register_module()
class VocWithDifficultDataset(VOCDataset):
    """VOCDataset that treats objects marked "difficult" like all others.

    Caffe-SSD and DSOD train so (``use_difficult_gt`` in their MultiBoxLoss). MMDetection's own data
    set neither trains on them nor tests with them. Use this one for training alone: VOC's AP leaves
    these objects out.

    Example:
        >>> train_dataloader = dict(dataset=dict(type='VocWithDifficultDataset'))
    """

    def _parse_instance_info(self, *args, **kwargs) -> list[dict]:
        """All objects of an image, none to be ignored."""
        instances = super()._parse_instance_info(*args, **kwargs)
        return [dict(instance, ignore_flag=0) for instance in instances]
