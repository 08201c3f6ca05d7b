"""The page and the figures of the study, made from its results alone."""

import math
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from statistics import mean
from typing import Any

from matplotlib import rc_context
from matplotlib.figure import Figure

from mmscratch.miniature import data, plan
from mmscratch.miniature.claims import CLAIMS, INTRODUCTION, Claim
from mmscratch.miniature.judges import AS_GOOD, HOLDS
from mmscratch.miniature.run import in_order
from mmscratch.miniature.seed_statistics import Gap, Results, final, interval, spread

MOST_SEEDS = 20
RUNS = 'runs'  # the folder of the results, beside the page
COLORS = {'scratch': 'tab:blue', 'pretrained': 'tab:orange'}
NAMES = {'scratch': 'random initialization', 'pretrained': 'pre-trained'}


def collect(claims: Sequence[Claim], folder: Path) -> Results:
    """The results of the claims' runs and of what these need, by name; all seeds that are there.

    They are in the ``RUNS`` of ``folder``. Runs without a result are left out.
    """
    results: Results = defaultdict(list)
    runs = [run for claim in claims for run in claim.of_seeds(range(MOST_SEEDS))]
    for run in in_order(runs):
        if (result := run.result(folder / RUNS)) is not None:
            results[run.name].append(result)
    return dict(results)


def draw(figure: str | Sequence[Sequence[str]], results: Results, out: Path) -> None:
    """Draw a claim's ``figure`` of claims.yml."""
    if figure == 'subsets':
        draw_subsets(results, out)
    else:
        draw_schedules(results, out, figure)


def draw_schedules(results: Results, out: Path, panels: Sequence[Sequence[str]]) -> None:
    """AP at the end of each schedule against its length: mean, lowest and highest of the seeds.

    A panel is the prefix of the runs' names, the metric, and what that is called.
    """
    figure, axes = _figure(1, len(panels))
    for ax, (prefix, metric, title) in zip(axes[0], panels):
        lengths = [n for n in plan.LENGTHS if f'{prefix}scratch_{n}x' in results]
        for kind, color in COLORS.items():
            values = [final(results, f'{prefix}{kind}_{n}x', metric) for n in lengths]
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
            parents = {result['seed']: result for result in results[prefix + kind + plan.CONSTANT]}
            for k, end in enumerate(results[f'{prefix}{kind}_{lengths[-1]}x']):
                style = dict(color=color, label=None if k else NAMES[kind], alpha=0.7)
                branched = end['begin'] and end['seed'] in parents
                parts = [parents[end['seed']], end] if branched else [end]
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
    axes = figure.subplots(rows, columns, squeeze=False)
    for ax in axes.flat:
        ax.grid(alpha=0.3)
    return figure, axes


def _save(figure: Figure, out: Path) -> None:
    # the same results give the same bytes: no date, and names within the file that don't vary
    with rc_context({'svg.hashsalt': 'mmscratch'}):
        figure.savefig(out, metadata={'Date': None})


def write(folder: Path, claims: Sequence[Claim] = CLAIMS) -> None:
    """Write ``README.md`` and the figures into ``folder``; the results are in its ``RUNS``."""
    folder.mkdir(parents=True, exist_ok=True)
    sections: list[str] = []
    summary = ['| | claim | verdict |', '| ---: | --- | --- |']
    for claim in claims:
        results = collect([claim], folder)
        wanted = [run.name for run in claim.of_seeds([0])]
        sections += [f'## {claim.number}. {claim.title}', '']
        sections += [f'*{claim.source}.* {claim.full_size}', '', f'*Here:* {claim.setup}', '']
        sections += [f'*Rule:* {claim.rule}', '']
        if results:
            sections += [f'*Cost:* {_cost(results)}, those shared with other claims included.', '']
        if missing := [name for name in wanted if name not in results]:
            sections += [f'Not run yet: {", ".join(missing)}.', '']
            summary.append(f'| {claim.number} | {claim.title} | not run yet |')
            continue
        if claim.figure:
            file = f'claim{claim.number}.svg'
            draw(claim.figure, results, folder / file)
            sections += [f'![{claim.title}]({file})', '']
        verdict = claim.verdict(results)
        summary.append(f'| {claim.number} | {claim.title} | {verdict.word} |')
        reason = f' {claim.reason}' if claim.reason and verdict.word != HOLDS else ''
        sections += [f'**{verdict.word}**: {verdict.numbers}.{reason}', '']
        sections += [*_table({name: results[name] for name in wanted}, claim.metrics), '']
    sections = [_introduction(folder, claims), *summary, '', *sections]
    (folder / 'README.md').write_text('\n'.join(sections))


def _introduction(folder: Path, claims: Sequence[Claim]) -> str:
    """The beginning of the page: its numbers are from the plan, and of the runs from results."""
    text = INTRODUCTION.format(
        data=data,
        plan=plan,
        as_good=100 * AS_GOOD,
        classes=len(data.DETECTION.classes),
        others=len(data.CLASSIFICATION.classes),
        batch=plan.constant_part('scratch', 0).load().train_dataloader.batch_size,
    )
    text += '\n'
    results = collect(claims, folder)
    every = [result for of_seeds in results.values() for result in of_seeds]
    if every:
        machines = '; '.join(sorted({result['hardware'] for result in every}))
        text += f'{_cost(results)}; several run at a time ({machines}).'
    for name, norm in (('classifier', 'GN'), ('classifier_bn', 'BN')):
        if name in results:
            accuracy = spread(final(results, name, 'accuracy'))
            text += (
                f' The classifier with {norm} is right on {accuracy} % of its validation images.'
            )
    return text + '\n'


def _cost(results: Results) -> str:
    every = [result for of_seeds in results.values() for result in of_seeds]
    # the seconds of a branch include those of its parent, which count once
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
    """One row a name: the mean over the seeds, with lowest and highest."""
    names = [METRIC_NAMES[metric] for metric in metrics]
    rows = [
        '| ' + ' | '.join(['run', 'seeds', 'iterations', *names]) + ' |',
        '| --- | ---: | ---: |' + ' ---: |' * len(names),
    ]
    for name, of_seeds in results.items():
        last = of_seeds[0]['history'][-1]
        cells = [
            spread(final(results, name, metric)) if metric in last else '-' for metric in metrics
        ]
        iterations = f'{of_seeds[0]["iterations"]:,}'
        rows.append('| ' + ' | '.join([name, str(len(of_seeds)), iterations, *cells]) + ' |')
    return rows


def compare(repeated: Results, before: Results) -> str:
    """Lines that compare a repetition with the results before: box AP or accuracy, by name.

    Where the two differ only as seeds do, the difference is within the ± 95 times of 100. The ± is
    from the spread of all runs before.
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
            line = f'{name}: {METRIC_NAMES[metric]} {spread(again)}, before '
            if name not in known:
                lines.append(line + 'not run')
                continue
            wide = error * math.sqrt(1 / len(again) + 1 / len(known[name]))
            difference = Gap(mean(again) - mean(known[name]), wide)
            lines.append(f'{line}{spread(known[name])}: {difference}')
            if math.isfinite(wide):
                within.append(abs(difference.value) <= wide)
    if within:
        lines.append(f'{sum(within)} of {len(within)} are within the ±, as 95 % of seeds would be')
    return '\n'.join(lines)
