"""DSOD: the detector, its published weights, its data set."""

from mmscratch.dsod.dsod_head import DSODHead
from mmscratch.dsod.dsod_neck import DSODNeck
from mmscratch.dsod.dsod_net import DSODNet
from mmscratch.dsod.voc_with_difficult_dataset import VocWithDifficultDataset
