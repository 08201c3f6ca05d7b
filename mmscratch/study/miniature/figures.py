"""The study's own figures."""

from collections.abc import Sequence
from pathlib import Path
from statistics import mean

from mmscratch.study.miniature import plan
from mmscratch.study.page import COLORS, NAMES, new_figure, save
from mmscratch.study.schedule import CONSTANT
from mmscratch.study.seed_statistics import Results


def draw_subsets(results: Results, out: Path) -> None:
    """Training loss and validation AP of the longest schedule against iterations, each seed."""
    figure, axes = new_figure(len(plan.SUBSETS), 2)
    for (left, right), (prefix, (images, lengths)) in zip(axes, plan.SUBSETS.items()):
        for kind, color in COLORS.items():
            parents = {result['seed']: result for result in results[prefix + kind + CONSTANT]}
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
    save(figure, out)


def _smooth(points: Sequence[Sequence[float]], width: int = 5) -> list[tuple[float, float]]:
    """Means of ``width`` neighbours."""
    windows = [points[k : k + width] for k in range(len(points) - width + 1)] or [points]
    return [(mean(x for x, _ in window), mean(y for _, y in window)) for window in windows]
