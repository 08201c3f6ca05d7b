"""Registers every class of mmscratch with MMDetection, whatever a config imports.

A checkpoint's config is data and imports nothing: who builds from it imports this module.
"""

import mmscratch.checkpoint
import mmscratch.datasets.coco_keypoint_dataset
import mmscratch.datasets.voc_folder_dataset
import mmscratch.datasets.voc_with_difficult
import mmscratch.evaluation
import mmscratch.hooks
import mmscratch.loops
import mmscratch.models
import mmscratch.samplers
import mmscratch.transforms
import mmscratch.visualization  # noqa: F401
