"""The study's page and figures, made from its results alone."""

from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from statistics import mean

from matplotlib import rc_context
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from mmscratch.miniature import plan
from mmscratch.miniature.claims import CLAIMS, Claim, Results, final
from mmscratch.miniature.run import Run, in_order

INTRODUCTION = """# The paper in miniature

The claims of [Rethinking ImageNet Pre-training](https://arxiv.org/abs/1811.08883), tested on drawn
images (SHAPES) with a small Mask R-CNN. Everything on this page is made from the JSON files beside
it by `python tools/analysis/miniature.py`, which also trains what is missing of them.
"""
COLORS = {'scratch': 'tab:blue', 'pretrained': 'tab:orange'}
NAMES = {'scratch': 'random initialization', 'pretrained': 'pre-trained'}


def collect(runs: Sequence[Run], folder: Path) -> Results:
    """The results of the runs and of what they need, by name; those without one are left out."""
    results: Results = defaultdict(list)
    for run in in_order(runs):
        if (result := run.result(folder)) is not None:
            results[run.name].append(result)
    return dict(results)


def draw_schedules(results: Results, out: Path) -> None:
    """AP at the end of each schedule against its length: mean, lowest and highest of the seeds."""
    figure = Figure(figsize=(8, 3.4), layout='constrained')
    FigureCanvasAgg(figure)
    for axes, metric, title in zip(
        figure.subplots(1, 2), ('bbox_mAP', 'segm_mAP'), ('box AP', 'mask AP')
    ):
        for kind, color in COLORS.items():
            found = {n: f'{kind}_{n}x' for n in plan.LENGTHS if f'{kind}_{n}x' in results}
            if not found:
                continue
            values = [final(results, name, metric) for name in found.values()]
            lengths = list(found)
            axes.plot(lengths, [mean(v) for v in values], 'o-', color=color, label=NAMES[kind])
            axes.fill_between(
                lengths, *zip(*((min(v), max(v)) for v in values)), color=color, alpha=0.2
            )
        axes.set_xlabel(f'schedule (1x = {plan.ONE} iterations)')
        axes.set_ylabel(title)
        axes.grid(alpha=0.3)
        axes.legend()
    # the same results give the same bytes: no date, and names within the file that don't vary
    with rc_context({'svg.hashsalt': 'mmscratch'}):
        figure.savefig(out, metadata={'Date': None})


FIGURES = {1: draw_schedules}
MOST_SEEDS = 20


def write(folder: Path, claims: Sequence[Claim] = CLAIMS) -> None:
    """Write ``README.md`` and the figures into ``folder``, whose JSON files are the results."""
    folder.mkdir(parents=True, exist_ok=True)
    sections = [INTRODUCTION]
    tabled = set()
    for claim in claims:
        results = collect(claim.runs(range(MOST_SEEDS)), folder)
        wanted = [run.name for run in claim.runs([0])]
        sections += [f'## {claim.number}. {claim.title}', '', f'{claim.source}.', '']
        if missing := [name for name in wanted if name not in results]:
            sections += [f'Not run yet: {", ".join(missing)}.', '']
            continue
        if draw := FIGURES.get(claim.number):
            figure = f'claim{claim.number}.svg'
            draw(results, folder / figure)
            sections += [f'![{claim.title}]({figure})', '']
        verdict = claim.judge(results)
        sections += [f'**{verdict.word}**: {verdict.numbers}.', '']
        # what earlier claims have shown is not shown again
        if new := [name for name in wanted if name not in tabled]:
            sections += [*_table({name: results[name] for name in new}), '']
        tabled.update(wanted)
    (folder / 'README.md').write_text('\n'.join(sections))


def _table(results: Results) -> list[str]:
    """One row a name: the means over the seeds, and lowest and highest."""
    rows = [
        '| run | seeds | iterations | box AP | mask AP |',
        '| --- | ---: | ---: | ---: | ---: |',
    ]
    for name, of_seeds in results.items():
        last = of_seeds[0]['history'][-1]
        cells = [
            _spread(final(results, name, metric)) if metric in last else '-'
            for metric in ('bbox_mAP', 'segm_mAP')
        ]
        iterations = f'{of_seeds[0]["iterations"]:,}'
        rows.append('| ' + ' | '.join([name, str(len(of_seeds)), iterations, *cells]) + ' |')
    return rows


def _spread(values: list[float]) -> str:
    return f'{mean(values):.1f} ({min(values):.1f} to {max(values):.1f})'
