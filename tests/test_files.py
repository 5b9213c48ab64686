"""Whole files: several writers at once, a writer that fails, a file for its owner alone."""

import stat
import threading

import pytest

from tmax_jax.files import csv_text, write_whole


def test_many_may_write_one_file_at_once(tmp_path):
    path = tmp_path / "folds.json"
    texts = [letter * 200_000 for letter in "abcd"]
    start = threading.Barrier(len(texts))
    failures = []

    def write(text):
        start.wait()
        try:
            for _ in range(20):
                write_whole(path, text)
                assert path.read_text() in texts
        except Exception as error:
            failures.append(error)

    writers = [threading.Thread(target=write, args=(text,)) for text in texts]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    assert not failures
    assert path.read_text() in texts
    assert list(tmp_path.iterdir()) == [path]


def test_a_failed_writing_leaves_the_old_file_and_nothing_else(tmp_path, monkeypatch):
    path = tmp_path / "results.csv"
    write_whole(path, "old")

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("pathlib.Path.replace", full)
    with pytest.raises(OSError, match="No space left"):
        write_whole(path, "new")
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("private", [False, True])
def test_a_private_file_is_its_owners_alone(tmp_path, private):
    path = tmp_path / "names.json"
    write_whole(path, b"{}", private=private)
    others = stat.S_IMODE(path.stat().st_mode) & (stat.S_IRGRP | stat.S_IROTH)
    assert bool(others) != private


def test_csv_quotes_names_with_commas():
    assert csv_text(["a"], [["x, y"], [1]]) == 'a\n"x, y"\n1\n'
