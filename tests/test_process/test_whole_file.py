"""Two writers of one file, and what is left of a folder that was interrupted."""

import os
import threading

import pytest

from mmscratch.process import whole_file


def test_two_writers_of_one_file(tmp_path):
    file = tmp_path / 'a.json'
    contents = {'x' * 100_000, 'y' * 50_000}
    faults: list[BaseException] = []

    def write(content: str) -> None:
        try:
            for _ in range(100):
                whole_file.write(file, content, flush=False)
                assert file.read_text() in contents
        except BaseException as error:
            faults.append(error)

    threads = [threading.Thread(target=write, args=(content,)) for content in contents]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not faults
    assert list(tmp_path.iterdir()) == [file]


def test_others_may_read_it(tmp_path):
    before = os.umask(0o027)
    try:
        whole_file.write(tmp_path / 'a', 'a')
    finally:
        os.umask(before)
    assert (tmp_path / 'a').stat().st_mode & 0o777 == 0o640


def test_a_write_that_fails_leaves_the_old_file(tmp_path):
    whole_file.write(tmp_path / 'a', 'old')
    with pytest.raises(UnicodeEncodeError):
        whole_file.write(tmp_path / 'a', '\ud800')
    assert [(file.name, file.read_text()) for file in tmp_path.iterdir()] == [('a', 'old')]


def test_a_folder_appears_when_it_is_whole(tmp_path):
    out = tmp_path / 'new' / 'data'

    def begin() -> None:
        with whole_file.folder(out) as unfinished:
            (unfinished / 'a').touch()
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        begin()
    assert not list(out.parent.iterdir())
    with whole_file.folder(out) as unfinished:
        (unfinished / 'a').touch()
        assert not out.exists()
    assert [path.name for path in out.parent.rglob('*')] == ['data', 'a']
