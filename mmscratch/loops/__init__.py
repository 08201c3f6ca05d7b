"""The training loop, an iteration of which is an optimizer step; checks of its schedule."""

from mmscratch.loops.resumable_iter_based_train_loop import ResumableIterBasedTrainLoop
