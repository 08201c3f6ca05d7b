"""The study's page and figures, made from its results alone."""

import math
from collections import defaultdict
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from statistics import mean
from typing import Any

from matplotlib import rc_context
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from mmscratch.miniature import plan
from mmscratch.miniature.claims import (
    AS_GOOD,
    CLAIMS,
    HOLDS,
    Claim,
    Gap,
    Results,
    final,
    interval,
)
from mmscratch.miniature.data import CLASSIFICATION, DATA, DETECTION
from mmscratch.miniature.run import Run, in_order

INTRODUCTION = """# The paper in miniature

The claims of [Rethinking ImageNet Pre-training](https://arxiv.org/abs/1811.08883), tested on drawn
images (SHAPES) with a small Mask R-CNN. `make miniature` trains what is missing and writes this
page and its figures from the JSON files beside it alone; `make miniature CLAIM=1 SEEDS=1
AGAIN=work_dirs/again` repeats a part of it, in a folder of its own.

- **Detection**: {train:,} images of {side} x {side} pixels, {classes} classes, {fewest} to {most}
  objects an image; {val} other images to validate. ResNet-18 of half width, FPN, GroupNorm,
  {batch} images a step.
- **Schedules**: 1x is {one} iterations, the paper's 90k / 400. The learning rate is constant, and
  drops for the last {first} and {second} iterations of any length. All lengths of one
  initialization and seed share the constant part; a schedule that branches off equals one trained
  in one go, bit for bit (tests). In the results of seeds 0 to 2 the longest of those that share
  it has its drops one iteration late, by a fault that was found and mended after they were run.
- **Trained again**: on the same kind of processor seed 0 of claim 1 came to 51.8 (random) and 51.5
  (pre-trained) box AP at 6x, before 52.6 and 51.4, for that fault, and otherwise to the same
  results in every digit. Another processor rounds otherwise, so that a seed is a draw of its own
  there. On one, 11 of these 15 runs were within what seeds differ by: scratch came to 53.1 at 6x,
  1.0 above the mean here, and pre-training, from 3x on 2.5 to 3.5 below it, to 48.0; all lengths
  share one classifier and one constant part. Seed 3 is from there too.
- **Pre-training**: a classifier of single objects of {others} other classes, {images:,} images of
  {small} x {small} pixels, its backbone the detector's. Detectors begin with all of its backbone.
- **Verdicts**: each claim says what decides it. *The interval* is that of a difference of means
  with 95 % confidence (Student's t, from the spread of the seeds); the number behind ± is half of
  it. *As good* is at least {as_good:.0f} % of the other side's mean AP: the paper's VGG, which has
  caught up, has 99 %. What no rule decides is not decided, and so is what has one seed.
  The rules were made stricter, so that a wide spread decides nothing, when part of the runs was
  done; claims 2, 6 and most of 5 were run after that.
- **Figures and tables**: lines and first numbers are means of the seeds, bands and brackets go from
  the lowest to the highest.

"""
# prefix of the runs' names, metric, and what that is called
Panels = Sequence[tuple[str, str, str]]
COLORS = {'scratch': 'tab:blue', 'pretrained': 'tab:orange'}
NAMES = {'scratch': 'random initialization', 'pretrained': 'pre-trained'}


def collect(runs: Sequence[Run], folder: Path) -> Results:
    """The results of the runs and of what they need, by name; those without one are left out."""
    results: Results = defaultdict(list)
    for run in in_order(runs):
        if (result := run.result(folder)) is not None:
            results[run.name].append(result)
    return dict(results)


def draw_schedules(
    results: Results, out: Path, panels: Panels, lengths: Sequence[int] = plan.LENGTHS
) -> None:
    """AP at the end of each schedule against its length: mean, lowest and highest of the seeds.

    A panel is the prefix of the runs' names, the metric, and what it is called.
    """
    figure, axes = _figure(1, len(panels))
    for ax, (prefix, metric, title) in zip(axes[0], panels):
        for kind, color in COLORS.items():
            found = {n: f'{prefix}{kind}_{n}x' for n in lengths}
            values = [final(results, name, metric) for name in found.values()]
            ax.plot(lengths, [mean(v) for v in values], 'o-', color=color, label=NAMES[kind])
            ax.fill_between(
                lengths, *zip(*((min(v), max(v)) for v in values)), color=color, alpha=0.2
            )
        ax.set_xlabel(f'schedule (1x = {plan.ONE} iterations)')
        ax.set_xticks(lengths)
        ax.set_ylabel(title)
        ax.legend()
    _save(figure, out)


def draw_subsets(results: Results, out: Path) -> None:
    """Training loss and validation AP of the longest schedule against iterations, each seed."""
    figure, axes = _figure(len(plan.SUBSETS), 2)
    for (left, right), (prefix, (images, lengths)) in zip(axes, plan.SUBSETS.items()):
        for kind, color in COLORS.items():
            stems = {result['seed']: result for result in results[f'{prefix}{kind}_trunk']}
            for k, end in enumerate(results[f'{prefix}{kind}_{lengths[-1]}x']):
                style = dict(color=color, label=None if k else NAMES[kind], alpha=0.7)
                branched = end['begin'] and end['seed'] in stems
                parts = [stems[end['seed']], end] if branched else [end]
                losses = [point for part in parts for point in part['loss']]
                left.plot(*zip(*_smooth(losses)), **style)
                points = [
                    (entry['iteration'], 100 * entry['bbox_mAP'])
                    for part in parts
                    for entry in part['history']
                ]
                right.plot(*zip(*points), 'o-', markersize=3, **style)
        for ax, label in ((left, 'training loss'), (right, 'box AP')):
            ax.set_title(f'{images} images')
            ax.set_xlabel('iteration')
            ax.set_ylabel(label)
            ax.legend()
    _save(figure, out)


def _smooth(points: Sequence[Sequence[float]], width: int = 5) -> list[tuple[float, float]]:
    """Means of ``width`` neighbours."""
    windows = [points[k : k + width] for k in range(len(points) - width + 1)] or [points]
    return [(mean(x for x, _ in window), mean(y for _, y in window)) for window in windows]


def _figure(rows: int, columns: int) -> tuple[Figure, Any]:
    figure = Figure(figsize=(4 * columns, 3.4 * rows), layout='constrained')
    FigureCanvasAgg(figure)
    axes = figure.subplots(rows, columns, squeeze=False)
    for ax in axes.flat:
        ax.grid(alpha=0.3)
    return figure, axes


def _save(figure: Figure, out: Path) -> None:
    # the same results give the same bytes: no date, and names within the file that don't vary
    with rc_context({'svg.hashsalt': 'mmscratch'}):
        figure.savefig(out, metadata={'Date': None})


FIGURES = {
    1: partial(draw_schedules, panels=[('', 'bbox_mAP', 'box AP'), ('', 'segm_mAP', 'mask AP')]),
    2: partial(
        draw_schedules,
        panels=[('bn_', 'bbox_mAP', 'box AP, BN'), ('bn_', 'segm_mAP', 'mask AP, BN')],
        lengths=(plan.SHORTEST, plan.LONGEST),
    ),
    5: draw_subsets,
    6: partial(
        draw_schedules,
        panels=[
            ('sparse_', 'bbox_mAP', 'box AP, few objects'),
            ('tenth_', 'bbox_mAP', 'box AP, many objects'),
        ],
        lengths=plan.FEW_LENGTHS,
    ),
    10: partial(
        draw_schedules,
        panels=[
            ('keypoint_', 'keypoints_mAP', 'keypoint AP'),
            ('', 'bbox_mAP', 'box AP of Mask R-CNN'),
        ],
        lengths=plan.FEW_LENGTHS,
    ),
}
MOST_SEEDS = 20
RUNS = 'runs'  # the folder of the results, beside the page


def write(folder: Path, claims: Sequence[Claim] = CLAIMS) -> None:
    """Write ``README.md`` and the figures into ``folder``; the results are in its ``RUNS``."""
    folder.mkdir(parents=True, exist_ok=True)
    sections: list[str] = []
    summary = ['| | claim | verdict |', '| ---: | --- | --- |']
    for claim in claims:
        results = collect(claim.runs(range(MOST_SEEDS)), folder / RUNS)
        wanted = [run.name for run in claim.runs([0])]
        sections += [f'## {claim.number}. {claim.title}', '']
        sections += [f'*{claim.source}.* {claim.full_size}', '', f'*Here:* {claim.setup}', '']
        sections += [f'*Rule:* {claim.rule}', '']
        if results:
            sections += [f'*Cost:* {_cost(results)}, those shared with other claims included.', '']
        if missing := [name for name in wanted if name not in results]:
            sections += [f'Not run yet: {", ".join(missing)}.', '']
            summary.append(f'| {claim.number} | {claim.title} | not run yet |')
            continue
        if draw := FIGURES.get(claim.number):
            figure = f'claim{claim.number}.svg'
            draw(results, folder / figure)
            sections += [f'![{claim.title}]({figure})', '']
        verdict = claim.verdict(results)
        summary.append(f'| {claim.number} | {claim.title} | {verdict.word} |')
        reason = f' {claim.reason}' if claim.reason and verdict.word != HOLDS else ''
        sections += [f'**{verdict.word}**: {verdict.numbers}.{reason}', '']
        sections += [*_table({name: results[name] for name in wanted}, claim.metrics), '']
    sections = [_introduction(folder, claims), *summary, '', *sections]
    (folder / 'README.md').write_text('\n'.join(sections))


def _introduction(folder: Path, claims: Sequence[Claim]) -> str:
    """What is compared, from the plan, and what was run, from the results."""
    counts = {name: splits for name, (_, splits) in DATA.items()}
    text = INTRODUCTION.format(
        as_good=100 * AS_GOOD,
        train=counts['detection']['train'],
        val=counts['detection']['val'],
        side=DETECTION.size[0],
        classes=len(DETECTION.classes),
        fewest=DETECTION.objects[0],
        most=DETECTION.objects[1],
        batch=plan.trunk('scratch', 0).load().train_dataloader.batch_size,
        one=plan.ONE,
        first=plan.FIRST_DROP,
        second=plan.SECOND_DROP,
        others=len(CLASSIFICATION.classes),
        images=counts['classification']['train'],
        small=CLASSIFICATION.size[0],
    )
    results = collect([run for c in claims for run in c.runs(range(MOST_SEEDS))], folder / RUNS)
    every = [result for of_seeds in results.values() for result in of_seeds]
    if every:
        machines = '; '.join(sorted({result['hardware'] for result in every}))
        text += f'{_cost(results)}; several run at a time ({machines}).'
    for name, norm in (('classifier', 'GN'), ('classifier_bn', 'BN')):
        if name in results:
            accuracy = _spread(final(results, name, 'accuracy'))
            text += (
                f' The classifier with {norm} is right on {accuracy} % of its validation images.'
            )
    return text + '\n'


def _cost(results: Results) -> str:
    every = [result for of_seeds in results.values() for result in of_seeds]
    # a branch's seconds begin with its trunk's, which count once
    seconds = sum(r['train_seconds'] * (1 - r['begin'] / r['iterations']) for r in every)
    return f'{len(every)} runs, whose training times add up to {seconds / 3600:.1f} hours'


METRIC_NAMES = {
    'bbox_mAP': 'box AP',
    'bbox_mAP_50': 'box AP50',
    'bbox_mAP_75': 'box AP75',
    'segm_mAP': 'mask AP',
    'segm_mAP_50': 'mask AP50',
    'segm_mAP_75': 'mask AP75',
    'keypoints_mAP': 'keypoint AP',
    'accuracy': 'accuracy',
}


def _table(results: Results, metrics: Sequence[str]) -> list[str]:
    """One row a name: the means over the seeds, and lowest and highest."""
    names = [METRIC_NAMES[metric] for metric in metrics]
    rows = [
        '| ' + ' | '.join(['run', 'seeds', 'iterations', *names]) + ' |',
        '| --- | ---: | ---: |' + ' ---: |' * len(names),
    ]
    for name, of_seeds in results.items():
        last = of_seeds[0]['history'][-1]
        cells = [
            _spread(final(results, name, metric)) if metric in last else '-' for metric in metrics
        ]
        iterations = f'{of_seeds[0]["iterations"]:,}'
        rows.append('| ' + ' | '.join([name, str(len(of_seeds)), iterations, *cells]) + ' |')
    return rows


def compare(repeated: Results, before: Results) -> str:
    """Lines that say how near a repetition comes: box AP or accuracy of both, by name.

    What differs as seeds do is within the ± 95 times of 100. The spread behind it is that of all
    runs before.
    """
    lines, within = [], []
    for metric in ('bbox_mAP', 'accuracy'):
        known = {
            name: final(before, name, metric)
            for name, of_seeds in before.items()
            if metric in of_seeds[0]['history'][-1]
        }
        error = interval(list(known.values()))
        for name, of_seeds in repeated.items():
            if metric not in of_seeds[0]['history'][-1]:
                continue
            again = final(repeated, name, metric)
            line = f'{name}: {METRIC_NAMES[metric]} {_spread(again)}, before '
            if name not in known:
                lines.append(line + 'not run')
                continue
            wide = error * math.sqrt(1 / len(again) + 1 / len(known[name]))
            difference = Gap(mean(again) - mean(known[name]), wide)
            lines.append(f'{line}{_spread(known[name])}: {difference}')
            if math.isfinite(wide):
                within.append(abs(difference.value) <= wide)
    if within:
        lines.append(f'{sum(within)} of {len(within)} are within the ±, as 95 % of seeds would be')
    return '\n'.join(lines)


def _spread(values: list[float]) -> str:
    if len(values) == 1:
        return f'{values[0]:.1f}'
    return f'{mean(values):.1f} ({min(values):.1f} to {max(values):.1f})'
