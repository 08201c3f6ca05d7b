from mmdet.models import CascadeRoIHead, VFNetHead
from mmdet.models.dense_heads import AnchorFreeHead, ATSSHead, FCOSHead

from mmscratch.config.registered_classes import accepted_arguments
from mmscratch.models import KeypointRoIHead, SingleMaskCascadeRoIHead


def test_a_class_with_kwargs_takes_its_parents_arguments_and_may_take_others():
    names, closed = accepted_arguments(VFNetHead)
    for parent in (ATSSHead, FCOSHead, AnchorFreeHead):
        assert accepted_arguments(parent)[0] <= names
    assert 'sync_num_pos' in names
    assert not closed


def test_one_of_ours_takes_no_others():
    names, closed = accepted_arguments(KeypointRoIHead)
    assert {'keypoint_head', 'bbox_roi_extractor', 'mask_head'} <= names
    assert closed
    cascade, closed = accepted_arguments(SingleMaskCascadeRoIHead)
    assert accepted_arguments(CascadeRoIHead)[0] | {'later_ious'} <= cascade
    assert closed


def test_without_kwargs_there_are_no_others():
    def function(first, /, second, *rest, third=3):
        pass

    assert accepted_arguments(function) == (frozenset({'second', 'third'}), True)
