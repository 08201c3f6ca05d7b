"""The figure of the calibration."""

from pathlib import Path

from mmscratch.study.calibration.judges import predictions
from mmscratch.study.page import new_figure, save
from mmscratch.study.seed_statistics import Results

COLORS = {'imagenet': 'tab:orange', 'frozen': 'tab:green'}


def draw_predictions(results: Results, out: Path, kind: str) -> None:
    """The predicted gap with its interval against the measured one; ideal is the diagonal."""
    figure, axes = new_figure(1, 1)
    ax = axes[0, 0]
    found = predictions(results, kind)
    for arm, color in COLORS.items():
        own = [each for each in found if each.arm == arm]
        if not own:
            continue
        middles = [each.gap.middle for each in own]
        below = [each.gap.middle - each.gap.low for each in own]
        above = [each.gap.high - each.gap.middle for each in own]
        measured = [each.measured for each in own]
        ax.errorbar(measured, middles, [below, above], fmt='o', color=color, label=arm, capsize=2)
    ax.axline((0, 0), slope=1, color='gray', linewidth=1)
    ax.set_xlabel('measured gap with all images (AP)')
    ax.set_ylabel('predicted from a quarter (AP)')
    ax.legend()
    save(figure, out)
