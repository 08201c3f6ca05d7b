"""The training loop, whose iterations are optimizer steps; checks of its schedule."""

from mmscratch.loops.resumable_iter_based_train_loop import ResumableIterBasedTrainLoop
