"""The page and the figures of a study, made from its results alone."""

import math
import re
from collections.abc import Sequence
from pathlib import Path
from statistics import mean
from typing import Any

from matplotlib import rc_context
from matplotlib.figure import Figure

from mmscratch.evaluation.metric_names import title
from mmscratch.study.claim import Claim, Study
from mmscratch.study.run import own_seconds, results_of
from mmscratch.study.seed_statistics import Gap, Results, final, interval, spread
from mmscratch.study.verdict import AS_GOOD, HOLDS

MOST_SEEDS = 20
# Names of runs in a sentence
MOST_NAMED = 6
RUNS = 'runs'  # the folder of the results, beside the page
COLORS = {'scratch': 'tab:blue', 'pretrained': 'tab:orange'}
NAMES = {'scratch': 'random initialization', 'pretrained': 'pre-trained'}


def collect(claims: Sequence[Claim], folder: Path) -> Results:
    """The results of the claims' runs and of what these need, by name; all seeds that are there.

    They are in the ``RUNS`` of ``folder``. Runs without a result are left out.
    """
    runs = [run for claim in claims for run in claim.of_seeds(range(MOST_SEEDS))]
    return results_of(runs, folder / RUNS)


def draw_schedules(results: Results, out: Path, panels: Sequence[Sequence[str]]) -> None:
    """AP at the end of each schedule against its iterations: mean, lowest and highest of the seeds.

    A panel is the prefix of the runs' names, the metric, and what that is called.
    """
    figure, axes = new_figure(1, len(panels))
    for ax, (prefix, metric, panel_title) in zip(axes[0], panels):
        for kind, color in COLORS.items():
            names = lengths_of(results, prefix + kind)
            if not names:
                continue
            ends = [results[name][0]['iterations'] for name in names]
            values = [final(results, name, metric) for name in names]
            ax.plot(ends, [mean(v) for v in values], 'o-', color=color, label=NAMES[kind])
            ax.fill_between(ends, *zip(*((min(v), max(v)) for v in values)), color=color, alpha=0.2)
        ax.set_xlabel('iterations')
        ax.set_ylabel(panel_title)
        ax.legend()
    save(figure, out)


def lengths_of(results: Results, name: str) -> list[str]:
    """The runs ``{name}_{N}x``, the shortest first."""
    names = [n for n in results if re.fullmatch(rf'{re.escape(name)}_\d+x', n)]
    return sorted(names, key=lambda n: results[n][0]['iterations'])


def new_figure(rows: int, columns: int) -> tuple[Figure, Any]:
    """A figure, and its ``rows`` x ``columns`` axes."""
    figure = Figure(figsize=(4 * columns, 3.4 * rows), layout='constrained')
    axes = figure.subplots(rows, columns, squeeze=False)
    for ax in axes.flat:
        ax.grid(alpha=0.3)
    return figure, axes


def save(figure: Figure, out: Path) -> None:
    """Save a figure; the same results give the same bytes."""
    # the same results give the same bytes: no date, and names within the file that don't vary
    with rc_context({'svg.hashsalt': 'mmscratch'}):
        figure.savefig(out, metadata={'Date': None})


def write(folder: Path, study: Study) -> None:
    """Write ``README.md`` and the figures into ``folder``; the results are in its ``RUNS``."""
    folder.mkdir(parents=True, exist_ok=True)
    sections: list[str] = []
    summary = ['| | claim | verdict |', '| ---: | --- | --- |']
    for claim in study.claims:
        results = collect([claim], folder)
        wanted = [run.name for run in claim.of_seeds([0])]
        sections += [f'## {claim.number}. {claim.title}', '']
        sections += [f'*{claim.source}.* {claim.full_size}', '', f'*Here:* {claim.setup}', '']
        sections += [f'*Rule:* {claim.rule}', '']
        if results:
            sections += [f'*Cost:* {cost(results)}, those shared with other claims included.', '']
        if missing := [name for name in wanted if name not in results]:
            named = missing if len(missing) <= MOST_NAMED else missing[: MOST_NAMED - 1]
            more = f' and {len(missing) - len(named)} more' if len(named) < len(missing) else ''
            sections += [f'Not run yet: {", ".join(named)}{more}.', '']
            if claim.table and results:
                sections += ['So far:', '', study.tables[claim.table](results), '']
            summary.append(f'| {claim.number} | {claim.title} | not run yet |')
            continue
        if claim.figure:
            file = f'claim{claim.number}.svg'
            draw(claim, study, results, folder / file)
            sections += [f'![{claim.title}]({file})', '']
        verdict = claim.verdict(results)
        summary.append(f'| {claim.number} | {claim.title} | {verdict.word} |')
        reason = f' {claim.reason}' if claim.reason and verdict.word != HOLDS else ''
        sections += [f'**{verdict.word}**: {verdict.numbers}.{reason}', '']
        if claim.table:
            table = study.tables[claim.table](results)
        else:
            table = _table({name: results[name] for name in wanted}, claim.metrics)
        sections += [table, '']
    every = collect(study.claims, folder)
    values = dict(costs=all_costs(every), as_good=100 * AS_GOOD, **study.values(every))
    introduction = study.words.format(**values).strip()
    (folder / 'README.md').write_text('\n'.join([introduction, '', *summary, '', *sections]))


def draw(claim: Claim, study: Study, results: Results, out: Path) -> None:
    """Draw the claim's figure of claims.yml."""
    if isinstance(claim.figure, str):
        study.figures[claim.figure](results, out)
    else:
        draw_schedules(results, out, claim.figure)


def cost(results: Results) -> str:
    """How many runs, and the sum of their training times, in words."""
    every = [result for of_seeds in results.values() for result in of_seeds]
    seconds = sum(map(own_seconds, every))
    return f'{len(every)} runs, whose training times add up to {seconds / 3600:.1f} hours'


def all_costs(results: Results) -> str:
    """The sentence on all runs of a study; empty without one."""
    every = [result for of_seeds in results.values() for result in of_seeds]
    # pseudo labels do not tell theirs
    machines = '; '.join(sorted({r['hardware'] for r in every if 'hardware' in r}))
    return f'{cost(results)}; several run at a time ({machines}).' if every else ''


def markdown(rows: list[list[str]], numeric: str) -> str:
    """A table; ``numeric`` has an ``r`` for each column to be set flush right, else an ``l``."""
    rule = ['---:' if kind == 'r' else '---' for kind in numeric]
    return '\n'.join('| ' + ' | '.join(row) + ' |' for row in [rows[0], rule, *rows[1:]])


def _table(results: Results, metrics: Sequence[str]) -> str:
    """One row a name: the mean over the seeds, with lowest and highest."""
    rows = [['run', 'seeds', 'iterations', *map(title, metrics)]]
    for name, of_seeds in results.items():
        last = of_seeds[0]['history'][-1]
        cells = [
            spread(final(results, name, metric)) if metric in last else '-' for metric in metrics
        ]
        iterations = f'{of_seeds[0]["iterations"]:,}'
        rows.append([name, str(len(of_seeds)), iterations, *cells])
    return markdown(rows, 'lrr' + 'r' * len(metrics))


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
            line = f'{name}: {title(metric)} {spread(again)}, before '
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
