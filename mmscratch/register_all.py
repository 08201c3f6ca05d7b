"""Registers every class of mmscratch with MMDetection, for a config's ``custom_imports``."""

import mmscratch.data.coco_keypoint_dataset
import mmscratch.data.samplers
import mmscratch.data.transforms
import mmscratch.data.unlabelled_images
import mmscratch.data.voc_folder_dataset
import mmscratch.data.voc_with_difficult_dataset
import mmscratch.evaluation
import mmscratch.hooks
import mmscratch.loops
import mmscratch.models
import mmscratch.visualization
import mmscratch.weights.checkpoint  # noqa: F401  (lets mmengine load what it has saved)
