"""The training loop, which resumes at once and exactly; faults of its schedule."""

from mmscratch.loops.resumable_iter_based_train_loop import ResumableIterBasedTrainLoop

__all__ = ['ResumableIterBasedTrainLoop']
