"""Heads, backbones, detectors, DSOD, pre-training, test-time augmentation; speed-ups for GPUs."""

from mmscratch.models import inside_anchors, speedups
from mmscratch.models.conv_muon import ConvMuon
from mmscratch.models.dense_cl import DenseCL
from mmscratch.models.detectron_tta import DetectronTTAModel
from mmscratch.models.dsod import DSODHead, DSODNeck, DSODNet
from mmscratch.models.float32_roi_extractor import Float32RoIExtractor
from mmscratch.models.image_classifier import ImageClassifier
from mmscratch.models.keypoint_head import KeypointRCNNHead
from mmscratch.models.keypoint_roi_head import KeypointRoIHead
from mmscratch.models.repaired_ssd_head import RepairedSSDHead
from mmscratch.models.sensor_data_preprocessor import SensorDataPreprocessor
from mmscratch.models.simple_feature_pyramid import SimpleFeaturePyramid
from mmscratch.models.single_mask_cascade_roi_head import SingleMaskCascadeRoIHead
from mmscratch.models.tiled_model import TiledModel
from mmscratch.models.timm_backbone import TimmBackbone
from mmscratch.models.two_views_preprocessor import TwoViewsPreprocessor
from mmscratch.models.vgg import VGG

inside_anchors.install()
speedups.use(speedups.PARTS)
