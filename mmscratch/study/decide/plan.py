"""What is trained to answer the question: arms, parts of the data, lengths and seeds in a budget.

The shorter lengths of an arm, a part and a seed branch off from the run of the longest
(:mod:`mmscratch.study.schedule`). A seed stands for weights, order and the images that
are drawn, so that the spread of the seeds has all three.
"""

import bisect
import functools
import heapq
import math
from collections.abc import Container, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from mmengine.config import Config

from mmscratch.config.batch_plan import progressive_resizes
from mmscratch.config.sections import type_name
from mmscratch.errors import InputError
from mmscratch.study.decide.arm import OWN, Arm
from mmscratch.study.pretraining_run import PretrainingRun
from mmscratch.study.run import SHARED_CORES, Data, Options, Run, subset
from mmscratch.study.schedule import Schedule

# The plans to choose from, the best first: seeds, parts, lengths. The first that leaves enough
# iterations is taken. One length would tell nothing of more iterations.
CHOICES = (
    (3, 4, (1, 2, 4)),
    (3, 3, (1, 2, 4)),
    (2, 3, (1, 2, 4)),
    (2, 3, (1, 2)),
    (2, 2, (1, 2)),
)
MOST_SEEDS = 5
# The fewest images of the smallest part are at least this share of all.
SMALLEST = 1 / 8
# Fewer images than this are no data set.
FEWEST_IMAGES = 8
# Shares of the config's own iterations: enough at the longest schedule, and the least that may
# tell something
ENOUGH, LEAST = 0.5, 0.1
# and the most: how long to train is part of the question
MOST_ITERATIONS = 16
# Share of the budget that is planned; machines have slow hours
PLANNED = 0.85
PROBE_ITERATIONS = 12
# of an iteration each
_TIMES: Options = (('default_hooks.logger.interval', 1), ('log_processor.window_size', 1))
# so few iterations say nothing of it
_NO_COLLAPSE = ('default_hooks.collapse', None)


@dataclass(frozen=True)
class Cost:
    """Seconds of a run, several at a time.

    Args:
        step: of an iteration, by arm.
        rest: of start, validation and saving.
        pretraining: of an iteration of the pre-training on the images alone.
        probing: of the probe that told these, and of the check of the data.
    """

    step: Mapping[str, float]
    rest: float
    pretraining: float = 0.0
    probing: float = 0.0


@dataclass(frozen=True)
class Plan:
    """Every run of the answer.

    Args:
        arms: what is compared; the first is the one that the others are measured by.
        data: the images.
        images: of the training set.
        parts: numbers of images that are trained on, ascending.
        lengths: N of Nx.
        one: iterations of 1x.
        seeds: how many; they are 0, 1, 2, ...
        scale: as of ``--scale``; None for the config's own sizes.
        added: of the seeds, those that a larger budget has added.
    """

    arms: tuple[Arm, ...]
    data: Data
    images: int
    parts: tuple[int, ...]
    lengths: tuple[int, ...]
    one: int
    seeds: int
    scale: float | None = None
    added: int = 0

    @classmethod
    def of_file(cls, kept: Mapping[str, Any], arms: Iterable[Arm], data: Data) -> 'Plan':
        """The plan that a plan.json or a decide.json has kept."""
        return cls(
            tuple(arms),
            data,
            kept['images'],
            tuple(kept['parts']),
            tuple(kept['lengths']),
            kept['one'],
            kept['seeds'],
            kept['question']['scale'],
            kept['added'],
        )

    @property
    def layout(self) -> dict[str, Any]:
        """What :meth:`of_file` reads, besides the question."""
        return dict(
            images=self.images,
            parts=self.parts,
            lengths=self.lengths,
            one=self.one,
            seeds=self.seeds,
            added=self.added,
        )

    @property
    def schedule(self) -> Schedule:
        """The paper's drops, at the same shares of 1x."""
        return Schedule(
            self.one, first_drop=round(self.one * 2 / 3), second_drop=round(self.one * 2 / 9)
        )

    @functools.cached_property
    def runs(self) -> list[Run]:
        """All runs, in the order of their turns.

        That is all seeds of the smallest part first; seeds that were added come last.
        """
        # once, since a run computes its key from its config
        return [run for arm, part, seed in self.turns for run in self.of(arm, part, seed)]

    @property
    def turns(self) -> list[tuple[Arm, int, int]]:
        """Arm, part and seed of the runs, in the order of their turns."""
        first = self.seeds - self.added
        return [
            (arm, part, seed)
            for seeds in (range(first), range(first, self.seeds))
            for part in self.parts
            for seed in seeds
            for arm in self.arms
        ]

    def of(self, arm: Arm, part: int, seed: int) -> list[Run]:
        """The lengths of an arm on a part, the shortest first."""
        *shorter, longest = self.lengths
        options = _options(arm, self.one, part, seed)
        whole = Run(
            self.name(arm.name, part, longest),
            arm.config,
            seed,
            self.data,
            options + self.schedule.whole_with_branch_points(longest, self.lengths[0]),
            arguments=self.arguments(arm),
        )
        if arm.name == OWN:
            iterations = longest * self.one
            whole = replace(whole, weights=self._pretraining(arm, seed, iterations))
        branches = [
            self.schedule.branch(self.name(arm.name, part, n), n, whole, options) for n in shorter
        ]
        return [*branches, whole]

    def name(self, arm: str, part: int, length: int) -> str:
        """The name of a run, whatever its seed."""
        return f'{part}_{arm}_{length}x'

    def recipe(self, arm: Arm, iterations: int) -> list[str]:
        """Options of a run of so many iterations, with this warm-up and these drops before its end.

        They are ``--cfg-options`` beside ``--iterations``, which sets the intervals.
        """
        drops = [iterations - self.schedule.first_drop, iterations - self.schedule.second_drop]
        return [
            f'train_cfg.max_iters={iterations}',
            f'param_scheduler.0.end={_warm_up_of(arm, self.one)}',
            f'param_scheduler.1.end={iterations}',
            f'param_scheduler.1.milestones={drops}'.replace(' ', ''),
        ]

    def arguments(self, arm: Arm) -> tuple[str, ...]:
        """Of tools/train.py, for each run of an arm."""
        scale = () if self.scale is None else ('--scale', f'{self.scale:g}')
        return (*arm.arguments, *scale)

    def _pretraining(
        self, arm: Arm, seed: int, iterations: int, options: Options = ()
    ) -> PretrainingRun:
        """On all images, without labels."""
        return PretrainingRun(
            f'{OWN}_pretraining',
            arm.config,
            seed,
            self.data,
            # it has no images to validate on
            (*(each for each in SHARED_CORES if each[0].startswith('train')), *options),
            arguments=('--iterations', str(iterations)),
        )


def probes(plan: Plan, jobs: int) -> list[Run]:
    """Short runs that tell what a step costs, ``jobs`` of them at least."""
    runs = []
    for seed in range(math.ceil(jobs / len(plan.arms))):
        for arm in plan.arms:
            options = (
                *_options(arm, plan.one, plan.parts[0], seed),
                ('train_cfg.max_iters', PROBE_ITERATIONS),
                ('train_cfg.val_interval', PROBE_ITERATIONS),
                ('param_scheduler.1.milestones', []),
                ('param_scheduler.1.end', PROBE_ITERATIONS),
                ('default_hooks.checkpoint.interval', PROBE_ITERATIONS),
                *_TIMES,
            )
            name = f'probe_{arm.name}'
            run = Run(name, arm.config, seed, plan.data, options, arguments=plan.arguments(arm))
            runs.append(run)
            if arm.name == OWN and not seed:
                own = plan._pretraining(arm, seed, PROBE_ITERATIONS, (*_TIMES, _NO_COLLAPSE))
                runs.append(replace(own, name='probe_pretraining'))
    return runs


def _options(arm: Arm, one: int, part: int, seed: int) -> Options:
    options: Options = (
        ('param_scheduler.0.end', _warm_up_of(arm, one)),
        ('default_hooks.logger.interval', 10),
        ('default_hooks.checkpoint.save_best', None),
        ('default_hooks.visualization.num_images', 4),
        *SHARED_CORES,
        *subset(part, seed),
    )
    return options


@functools.cache
def _warm_up(config: str) -> int:
    """The iteration at which the config's warm-up ends."""
    return Config.fromfile(config).param_scheduler[0]['end']


def _warm_up_of(arm: Arm, one: int) -> int:
    return min(_warm_up(arm.config), max(2, one // 5 + 1))


def check_config(config: Path) -> Config:
    """Load a config whose schedule can be made shorter.

    Raises:
        InputError: no such file, one that begins with weights or changes on the way, or a schedule
            of another kind than warm-up and drops.
    """
    if not config.is_file():
        raise InputError(f'{config}: no such config file; correct --config')
    cfg = Config.fromfile(config)
    kinds = [type_name(each) for each in cfg.get('param_scheduler') or []]
    if kinds != ['LinearLR', 'MultiStepLR'] or 'max_iters' not in cfg.train_cfg:
        raise InputError(
            f'{config}: its schedule is {" and ".join(kinds) or "empty"}; decide needs a warm-up '
            '(LinearLR) and drops (MultiStepLR), in iterations: choose another config'
        )
    if cfg.get('load_from'):
        raise InputError(
            f'{config}: it begins with {cfg.load_from}; give its twin of configs/scratch/'
        )
    cascade = cfg.get('default_hooks', {}).get('start_cascade') or {}
    if cascade.get('begin') or progressive_resizes(cfg):
        raise InputError(
            f'{config}: what it trains changes on the way (a cascade that starts later, or images '
            'that grow), and decide cannot shorten that: choose another config'
        )
    return cfg


def parts_of(images: int, number: int) -> tuple[int, ...]:
    """``number`` parts of so many images, each so many times the one before, up to all of them.

    Raises:
        InputError: there are fewer images than two parts take.
    """
    least = max(FEWEST_IMAGES, round(images * SMALLEST))
    if images < 2 * FEWEST_IMAGES:
        raise InputError(
            f'{images} training images: {2 * FEWEST_IMAGES} are the fewest that can be divided; '
            'label more, and pre-train until then'
        )
    return tuple(dict.fromkeys(int(n) for n in np.geomspace(least, images, number).round()))


def lay_out(
    arms: Sequence[Arm],
    data: Data,
    images: int,
    upto: int,
    iterations: int,
    cost: Cost,
    seconds: float,
    jobs: int,
    scale: float | None = None,
) -> Plan:
    """The best plan that fits into the budget.

    Args:
        arms: what is compared.
        data: the images.
        images: of the training set.
        upto: of the largest part.
        iterations: of the config; the longest schedule has up to ``MOST_ITERATIONS`` times as many.
        cost: of runs.
        seconds: the budget.
        jobs: runs at a time.
        scale: as of ``--scale``.

    Raises:
        InputError: the budget is too small to tell anything. The message says what would do.
    """

    def make(seeds: int, number: int, lengths: tuple[int, ...], one: int) -> Plan:
        parts = parts_of(upto, number)
        return Plan(tuple(arms), data, images, parts, lengths, one, seeds, scale)

    def fits(plan: Plan) -> bool:
        return wall_seconds(plan, cost, jobs) <= seconds * PLANNED

    for share in (ENOUGH, LEAST):
        for seeds, number, lengths in CHOICES:
            least = math.ceil(share * iterations / lengths[-1])
            most = MOST_ITERATIONS * iterations // lengths[-1]
            if not fits(make(seeds, number, lengths, least)):
                continue
            more = range(least + 1, most + 1)
            one = least + bisect.bisect(
                more, False, key=lambda one: not fits(make(seeds, number, lengths, one))
            )
            while (
                one == most and seeds < MOST_SEEDS and fits(make(seeds + 1, number, lengths, one))
            ):
                seeds += 1
            return make(seeds, number, lengths, one)
    seeds, number, lengths = CHOICES[-1]
    smallest = make(seeds, number, lengths, math.ceil(LEAST * iterations / lengths[-1]))
    if (takes := wall_seconds(smallest, cost, jobs)) <= seconds:
        return smallest  # without a reserve; what is then missing is told
    needed = as_budget(takes / PLANNED)
    raise InputError(
        f'--budget: the smallest plan that can tell something takes {needed} with {jobs} runs at a '
        f'time: {describe(smallest)}; give --budget {needed}, or smaller images with --scale'
    )


def costs(plan: Plan, cost: Cost) -> dict[str, tuple[float, str]]:
    """Seconds of each run and the label of the run that it needs, or '', by its own label.

    They are in the order of their turns.
    """
    *shorter, longest = plan.lengths
    iterations, branch = longest * plan.one, plan.schedule.first_drop + 1
    found = {}
    for arm, part, seed in plan.turns:
        step, own = cost.step[arm.name], ''
        if arm.name == OWN:
            own = f'{OWN}_pretraining_seed{seed}'
            found[own] = iterations * cost.pretraining, ''
        whole = f'{plan.name(arm.name, part, longest)}_seed{seed}'
        found[whole] = iterations * step + cost.rest, own
        for n in shorter:
            found[f'{plan.name(arm.name, part, n)}_seed{seed}'] = branch * step + cost.rest, whole
    return found


def seconds_of(plan: Plan, cost: Cost) -> float:
    """What a plan takes, the times of all its runs added up."""
    return sum(seconds for seconds, _ in costs(plan, cost).values())


def seconds_left(plan: Plan, cost: Cost, jobs: int, ended: Container[str], spent: float) -> float:
    """What the rest of a plan takes, at the pace of the runs that ended.

    Args:
        plan: of the runs.
        cost: of runs, by the probe.
        jobs: runs at a time.
        ended: labels of runs.
        spent: seconds that these took, several at a time, and the probe.
    """
    each = costs(plan, cost)
    done = sum(seconds for label, (seconds, _) in each.items() if label in ended)
    if not done:
        return wall_seconds(plan, cost, jobs) - cost.probing
    return (spent - cost.probing) * (seconds_of(plan, cost) - done) / done


def as_budget(seconds: float) -> str:
    """As of ``--budget``, rounded up."""
    minutes = math.ceil(seconds / 60)
    return f'{minutes}m' if minutes < 120 else f'{math.ceil(minutes / 6) / 10:g}h'


def wall_seconds(plan: Plan, cost: Cost, jobs: int) -> float:
    """What a plan and its probe take with ``jobs`` runs at a time, as the executor starts them."""
    waiting, ended, now = costs(plan, cost), {''}, 0.0
    running: list[tuple[float, str]] = []
    while waiting or running:
        ready = [label for label, (_, needed) in waiting.items() if needed in ended]
        for label in ready[: jobs - len(running)]:
            seconds, _ = waiting.pop(label)
            heapq.heappush(running, (now + seconds, label))
        now, label = heapq.heappop(running)
        ended.add(label)
    return cost.probing + now


def describe(plan: Plan) -> str:
    """In words."""
    lengths = ' and '.join(f'{n * plan.one:,}' for n in plan.lengths)
    parts = ', '.join(f'{n:,}' for n in plan.parts)
    return (
        f'{len(plan.arms)} initializations on {parts} images, {lengths} iterations, '
        f'{plan.seeds} seed{"s" * (plan.seeds > 1)}'
    )
