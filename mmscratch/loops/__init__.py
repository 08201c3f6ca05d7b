"""The training loop, which resumes at once and exactly."""

from mmscratch.loops.resumable_iter_based_train_loop import ResumableIterBasedTrainLoop
