"""The figures of a decision's page: AP of the initializations against what it costs."""

from collections.abc import Sequence
from statistics import mean
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

from mmscratch.visualization import html_page

# an amount and an AP in percent
Point = tuple[float, float]


def draw_curves(
    bands: Sequence[Sequence[Sequence[float]]],
    points: Sequence[Sequence[Point]],
    label: str,
    today: int | None = None,
) -> Figure:
    """A figure of :func:`plot_curves`.

    Args:
        bands: as there.
        points: as there.
        label: what the amounts are.
        today: an amount to mark.
    """
    figure, axes = html_page.new_figure()
    plot_curves(axes, bands, points)
    if today:
        axes.axvline(today, color='k', linewidth=1)
        place = dict(xycoords=axes.get_xaxis_transform(), textcoords='offset points')
        axes.annotate('today', (today, 0), (4, 4), **place)
    _name(axes, label)
    return figure


def plot_curves(
    axes: Axes, bands: Sequence[Sequence[Sequence[float]]], points: Sequence[Sequence[Point]]
) -> None:
    """Fitted curves with their bands, dashed and pale where nothing was measured.

    Args:
        axes: gets them.
        bands: of each arm, rows of an amount and the low end, the middle and the high end of AP.
        points: of each arm, its runs. An arm without a curve or runs is left out.
    """
    for i, (rows, of_arm) in enumerate(zip(bands, points)):
        if not rows or not of_arm:
            continue
        least, most = min(of_arm)[0], max(of_arm)[0]
        amounts, *columns = np.array(rows).T
        grid = np.unique([*amounts, *np.clip([least, most], amounts[0], amounts[-1])])
        low, middle, high = (np.interp(np.log(grid), np.log(amounts), each) for each in columns)
        inside = (grid >= least) & (grid <= most)
        band: dict[str, Any] = dict(color=f'C{i}', linewidth=0)
        axes.fill_between(grid, low, high, alpha=0.1, **band)
        axes.fill_between(grid[inside], low[inside], high[inside], alpha=0.2, **band)
        axes.plot(grid, middle, '--', color=f'C{i}', linewidth=1)
        axes.plot(grid[inside], middle[inside], color=f'C{i}', linewidth=1.8)
        axes.plot(*zip(*of_arm), html_page.MARKERS[i % 8], color=f'C{i}', markersize=4)
    axes.set_xscale('log')
    axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.xaxis.set_minor_locator(NullLocator())
    lowest, highest = axes.get_ylim()
    axes.set_ylim(max(0, lowest), min(100, highest))


def draw_lengths(
    lines: Sequence[tuple[int, bool, Sequence[Sequence[Point]]]], label: str
) -> Figure:
    """Runs, and lines through the means of their seeds from one length to the next.

    Args:
        lines: each the arm's number, whether it is of the most images, and the runs of each length.
        label: what the amounts are.
    """
    figure, axes = html_page.new_figure()
    for i, of_most, lengths in lines:
        means = [tuple(map(mean, zip(*runs))) for runs in lengths]
        style: dict[str, Any] = dict(color=f'C{i}', alpha=1 if of_most else 0.45)
        axes.plot(*zip(*means), linewidth=1.8 if of_most else 0.8, **style)
        runs = [run for of_length in lengths for run in of_length]
        marker, size = html_page.MARKERS[i % 8], 4 if of_most else 2.5
        axes.plot(*zip(*runs), marker, markersize=size, **style)
    axes.set_xlim(left=0)
    _name(axes, label)
    return figure


def _name(axes: Any, label: str) -> None:
    axes.set_xlabel(label)
    axes.set_ylabel('AP in percent')
    short = FuncFormatter(lambda x, _: f'{x / 1000:g}k' if x >= 1000 else f'{x:g}')
    axes.xaxis.set_major_formatter(short)
