"""The paper's claims: their words from claims.yml, their runs, their verdicts."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import yaml

from mmscratch.miniature import judges, plan
from mmscratch.miniature.judges import OPEN, Verdict
from mmscratch.miniature.run import Run
from mmscratch.miniature.seed_statistics import Results


@dataclass(frozen=True)
class Claim:
    """An entry of claims.yml, which says what the attributes are."""

    number: int
    title: str
    source: str
    full_size: str
    setup: str
    runs: str
    judge: str
    rule: str
    metrics: Sequence[str] = ('bbox_mAP', 'segm_mAP')
    reason: str = ''
    figure: str | Sequence[Sequence[str]] = ()

    def of_seeds(self, seeds: Sequence[int]) -> list[Run]:
        """The runs of these seeds that the judge compares; some are runs of other claims too."""
        return [run for seed in seeds for run in getattr(plan, self.runs)(seed)]

    def verdict(self, results: Results) -> Verdict:
        """What the judge says; one seed of any run decides nothing."""
        verdict = getattr(judges, self.judge)(results)
        if min(len(results[run.name]) for run in self.of_seeds([0])) < 2:
            return Verdict(OPEN, f'{verdict.numbers} (one seed)')
        return verdict


_WORDS = yaml.safe_load(Path(__file__).with_name('claims.yml').read_text())
INTRODUCTION: str = _WORDS['introduction']
CLAIMS = tuple(Claim(**entry) for entry in _WORDS['claims'])
