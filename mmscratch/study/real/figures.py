"""The study's own figures."""

from pathlib import Path
from statistics import mean

from mmscratch.study.page import new_figure, save
from mmscratch.study.real import plan
from mmscratch.study.seed_statistics import Results, final


def draw_arms(results: Results, out: Path) -> None:
    """Box AP of every initialization with few labels: a point a seed, and the means."""
    names = {run.name: run for run in plan.few_labels(0)}
    arms = sorted(names, key=lambda name: mean(final(results, name)))
    figure, axes = new_figure(1, 1)
    ax = axes[0, 0]
    for row, name in enumerate(arms):
        values = final(results, name)
        ax.barh(row, mean(values), color='tab:blue', alpha=0.4)
        ax.plot(values, [row] * len(values), 'o', color='tab:blue', markersize=4)
    titles = [name.removeprefix(f'{plan.FEW}_').removesuffix(f'_{plan.LONGEST}x') for name in arms]
    ax.set_yticks(range(len(arms)), titles)
    ax.set_xlabel('box AP')
    save(figure, out)
