"""Hooks: initialize, check before training, stop on NaN, save safely, measure, report."""

from mmscratch.hooks.collapse_hook import CollapseHook
from mmscratch.hooks.comparison_pictures_hook import ComparisonPicturesHook
from mmscratch.hooks.finite_loss_hook import FiniteLossHook
from mmscratch.hooks.frozen_backbone_hook import FrozenBackboneHook
from mmscratch.hooks.health_hook import HealthHook
from mmscratch.hooks.init_hook import InitHook
from mmscratch.hooks.mean_over_ranks_hook import MeanOverRanksHook
from mmscratch.hooks.preflight_hook import PreflightHook
from mmscratch.hooks.pretraining_hook import PretrainingHook
from mmscratch.hooks.run_report_hook import RunReportHook
from mmscratch.hooks.safe_checkpoint_hook import SafeCheckpointHook
from mmscratch.hooks.start_cascade_hook import StartCascadeHook
from mmscratch.hooks.subset_record_hook import SubsetRecordHook
from mmscratch.hooks.train_ap_hook import TrainApHook
from mmscratch.hooks.val_loss_hook import ValLossHook
from mmscratch.hooks.weights_hook import WeightsHook
