"""The paper's schedule at the scale of a study, whose lengths share one run."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from mmscratch.study.run import Options, Run

# ends the names of runs at the constant rate
CONSTANT = '_trunk'


@dataclass(frozen=True)
class Schedule:
    """The Nx of the paper's section 3: N times ``one`` iterations, and two drops of the rate.

    All lengths of one initialization and seed share a run, and branch off from its checkpoints
    before their first drops. It is one at the constant rate (``trunk``), or the longest schedule
    itself (``whole_with_branch_points``). A schedule that branches off equals one in one go, bit
    for bit.

    Args:
        one: iterations of 1x; the paper has 90,000.
        first_drop: iterations from the first drop to the end, whatever the length (60,000).
        second_drop: iterations from the second drop to the end (20,000).
    """

    one: int
    first_drop: int
    second_drop: int

    def branch_point(self, length: int) -> int:
        """The iteration before the first drop: mmengine drops the rate when it comes to one."""
        return length * self.one - self.first_drop - 1

    def _options(self, end: int, drops: Sequence[int], validate: int, save: int) -> Options:
        """``end`` iterations with the drops, validated and saved each so many iterations."""
        return (
            ('train_cfg.max_iters', end),
            ('train_cfg.val_interval', validate),
            ('param_scheduler.1.milestones', list(drops)),
            ('param_scheduler.1.end', end),
            ('default_hooks.checkpoint.interval', save),
        )

    def trunk(self, run: Run, shortest: int, longest: int, validate: int = 0) -> Run:
        """The run at the constant rate, with a checkpoint where each length branches off.

        It is validated each ``validate`` iterations, by default each 1x.
        """
        options = (
            *run.options,
            *self._options(self.branch_point(longest), [], validate or self.one, self.one),
            ('default_hooks.checkpoint.save_begin', self.branch_point(shortest)),
            ('default_hooks.checkpoint.max_keep_ckpts', -1),
        )
        return replace(run, name=run.name + CONSTANT, options=options)

    def longer_trunk(self, name: str, trunk: Run, longest: int, options: Options = ()) -> Run:
        """The constant rate after the end of ``trunk``, as far as ``longest`` x needs it."""
        begin, end = trunk.begin + trunk.iterations, self.branch_point(longest)
        options += self._options(end, [], validate=end, save=end)
        if trunk.loads_weights:
            options += (('default_hooks.preflight.init', 'pretrained'),)
        return replace(trunk, name=name, options=options, weights=None, parent=trunk, begin=begin)

    def branch(
        self, name: str, length: int, parent: Run, options: Options = (), drop_at: int = 0
    ) -> Run:
        """The end of ``length`` x, from the parent's checkpoint before the first drop.

        Args:
            name: of the new run.
            length: N of Nx.
            parent: the run that is shared.
            options: those that the parent was made with.
            drop_at: another length, at whose first drop this one has its own.
        """
        end = length * self.one
        begin = self.branch_point(drop_at or length)
        drops = [begin + 1, end - self.second_drop]
        options += self._options(end, drops, validate=end, save=end)
        if parent.loads_weights:
            options += (('default_hooks.preflight.init', 'pretrained'),)
        return replace(parent, name=name, options=options, weights=None, parent=parent, begin=begin)

    def whole(self, length: int, each: int) -> Options:
        """A length in one go, saved and validated each so many x."""
        end = length * self.one
        drops = [end - self.first_drop, end - self.second_drop]
        return self._options(end, drops, each * self.one, each * self.one)

    def whole_with_branch_points(self, length: int, shortest: int) -> Options:
        """A length in one go, with a checkpoint where each shorter length branches off."""
        return (
            *self.whole(length, length),
            ('default_hooks.checkpoint.interval', self.one),
            ('default_hooks.checkpoint.save_begin', self.branch_point(shortest)),
            ('default_hooks.checkpoint.max_keep_ckpts', -1),
        )
