"""The study in a table for README.md."""

from mmscratch.study.real import plan
from mmscratch.study.seed_statistics import Results, final, spread


def pairs(results: Results, part: str) -> dict[int, tuple[str, str]]:
    """N of Nx -> the names of the runs from ImageNet's and from random weights, ascending."""
    lengths = (*plan.LENGTHS, plan.LONGER)
    named = {n: (f'{part}_pretrained_{n}x', f'{part}_scratch_{n}x') for n in lengths}
    return {n: names for n, names in named.items() if set(names) <= set(results)}


def rows(results: Results) -> list[list[str]]:
    """Of each part whose runs are there: box AP from ImageNet's and from random weights."""
    table = [['training images', 'iterations', 'pre-trained on ImageNet', 'from scratch', 'seeds']]
    for part, (_, _, title) in plan.PARTS.items():
        for names in pairs(results, part).values():
            seeds = min(len(results[name]) for name in names)
            iterations = f'{results[names[0]][0]["iterations"]:,}'
            aps = [spread(final(results, name)) for name in names]
            table.append([title, iterations, *aps, str(seeds)])
    return table
