"""Samplers: which images a run sees, in which order and batches; subsets of the data."""

from mmscratch.data.samplers.aspect_ratio_grouped_batch_sampler import (
    AspectRatioGroupedBatchSampler,
)
from mmscratch.data.samplers.finite_subset_sampler import FiniteSubsetSampler
from mmscratch.data.samplers.infinite_subset_sampler import InfiniteSubsetSampler
