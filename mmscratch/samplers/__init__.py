"""Samplers: which images a run sees, in which order and batches; subsets of the data."""

from mmscratch.samplers.aspect_ratio_grouped_batch_sampler import AspectRatioGroupedBatchSampler
from mmscratch.samplers.finite_subset_sampler import FiniteSubsetSampler
from mmscratch.samplers.infinite_subset_sampler import InfiniteSubsetSampler
