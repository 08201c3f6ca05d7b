import io
import sys

import pytest

from mmscratch.process.progress_bar import ProgressBar


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture
def work(monkeypatch):
    """What a number of steps, of a second each, write to standard error."""
    now = [0.0]
    # tqdm sets it in each bar to the time of day
    time = property(lambda bar: lambda: now[0], lambda bar, value: None)
    monkeypatch.setattr(ProgressBar, '_time', time, raising=False)
    monkeypatch.setattr(ProgressBar, 'monitor_interval', 0)

    def work(steps: int, stream: io.StringIO) -> str:
        monkeypatch.setattr(sys, 'stderr', stream)
        for _ in ProgressBar(range(steps), 'decoding images'):
            now[0] += 1
        return stream.getvalue()

    return work


def test_a_file_gets_few_lines_with_the_time_that_is_left(work):
    lines = work(100, io.StringIO()).strip().splitlines()
    assert lines == [
        'decoding images: 30/100 after 00:30, 01:10 left',
        'decoding images: 60/100 after 01:00, 00:40 left',
        'decoding images: 90/100 after 01:30, 00:10 left',
        'decoding images: 100/100 after 01:40, 00:00 left',
    ]


def test_short_work_leaves_nothing_in_a_file(work):
    assert work(20, io.StringIO()) == ''


def test_a_terminal_gets_a_bar(work):
    text = work(3, Terminal())
    assert text.startswith('\rdecoding images:   0%|')
    assert 'decoding images: 100%|' in text
