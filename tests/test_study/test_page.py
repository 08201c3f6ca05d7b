"""The committed pages of the studies."""

import shutil
from pathlib import Path

import matplotlib
import pytest

from mmscratch.study import miniature, page, real


@pytest.mark.parametrize('study', [miniature.STUDY, real.STUDY], ids=lambda study: study.name)
def test_a_committed_page_is_that_of_the_committed_results(study, tmp_path):
    committed = Path('results', study.name)
    shutil.copytree(committed / page.RUNS, tmp_path / page.RUNS)
    page.write(tmp_path, study)
    drawn = {file.name for file in tmp_path.iterdir()}
    assert drawn == {file.name for file in committed.iterdir()}
    for name in sorted(drawn - {page.RUNS}):
        ours, theirs = ((folder / name).read_bytes() for folder in (committed, tmp_path))
        # another matplotlib may place a line elsewhere
        if name.endswith('.svg') and matplotlib.__version__.encode() not in ours:
            continue
        cure = f'tools/analysis/study.py {study.name} --report'
        assert ours == theirs, f'results/{study.name}/{name} is stale: {cure}'
