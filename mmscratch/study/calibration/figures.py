"""The figures of the calibration."""

from pathlib import Path

from matplotlib.ticker import LogLocator

from mmscratch.study.calibration import plan
from mmscratch.study.calibration.judges import measured_of, predictions
from mmscratch.study.decide.figures import plot_curves
from mmscratch.study.page import new_figure, save
from mmscratch.study.seed_statistics import Results


def draw_predictions(results: Results, out: Path, kind: str) -> None:
    """The predicted gap with its interval against the measured one; ideal is the diagonal."""
    figure, axes = new_figure(1, 1)
    ax = axes[0, 0]
    found = predictions(results, kind)
    middles = [each.gap.middle for each in found]
    below = [each.gap.middle - each.gap.low for each in found]
    above = [each.gap.high - each.gap.middle for each in found]
    measured = [each.measured for each in found]
    ax.errorbar(measured, middles, [below, above], fmt='o', color='tab:orange', capsize=2)
    ax.axline((0, 0), slope=1, color='gray', linewidth=1)
    ax.set_xlabel('measured gap with all images (AP)')
    ax.set_ylabel('predicted from a quarter (AP)')
    save(figure, out)


def draw_decisions(results: Results, out: Path) -> None:
    """Of each whole decision the curves that it fitted, its runs, and what was measured later."""
    decided = plan.decided()
    figure, axes = new_figure(1, len(decided))
    for ax, (name, each) in zip(axes[0], decided.items()):
        said, truth = each.said, each.truth
        arms = [arm.name for arm in truth.arms]
        iterations = truth.lengths[-1] * truth.one
        bands = [said['by_images'][str(iterations)][arm] for arm in arms]
        points = [
            [
                (o['images'], o['ap'])
                for o in said['observations']
                if (o['arm'], o['iterations']) == (arm, iterations)
            ]
            for arm in arms
        ]
        plot_curves(ax, bands, points)
        for i, arm in enumerate(arms):
            ax.plot([], [], color=f'C{i}', label=arm)
        for i, ap in enumerate(measured_of(name, truth, results).values()):
            label = '_' if i else 'measured with all images'
            ax.plot(truth.images, ap, '*', color='k', markersize=9, label=label)
        ax.set_title(f'{name}, {iterations} iterations')
        ax.xaxis.set_major_locator(LogLocator())
        ax.xaxis.set_major_formatter('{x:,.0f}')
        ax.set_xlabel('training images')
        ax.set_ylabel('box AP')
        ax.legend(fontsize='small')
    save(figure, out)
