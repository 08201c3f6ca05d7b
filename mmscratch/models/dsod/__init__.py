"""DSOD: the detector, and its published weights."""

from mmscratch.models.dsod.dsod_head import DSODHead
from mmscratch.models.dsod.dsod_neck import DSODNeck
from mmscratch.models.dsod.dsod_net import DSODNet
