"""The study in a table for README.md."""

from mmscratch.study.real import plan
from mmscratch.study.seed_statistics import Results, final, spread


def rows(results: Results) -> list[list[str]]:
    """Of each part whose runs are there: box AP from ImageNet's and from random weights."""
    table = [['training images', 'iterations', 'pre-trained on ImageNet', 'from scratch', 'seeds']]
    for part, (_, _, title) in plan.PARTS.items():
        for length in (*plan.LENGTHS, plan.LONGER):
            names = [f'{part}_{arm}_{length}x' for arm in ('pretrained', 'scratch')]
            if set(names) <= set(results):
                seeds = min(len(results[name]) for name in names)
                iterations = f'{results[names[0]][0]["iterations"]:,}'
                aps = [spread(final(results, name)) for name in names]
                table.append([title, iterations, *aps, str(seeds)])
    return table
