"""The figure of the calibration."""

from pathlib import Path

from mmscratch.study.calibration.judges import predictions
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
