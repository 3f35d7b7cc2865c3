"""The raw log: hidden notes never reach a reader, and a crash at any byte neither loses nor duplicates bytes."""

import json
import os
import shutil
from pathlib import Path

import pytest

from jenkins_emulator.console import note, read_text
from jenkins_emulator.recorder import Recorder


def plain(path: Path, start: int = 0, *, crlf: bool = False) -> bytes:
    return b"".join(read_text(path, start, path.stat().st_size, crlf=crlf))


def test_notes_are_removed_wherever_a_piece_of_the_file_ends(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "log"
    raw = b"one " + note("a") + b"linked\n\x1b[31mred\x1b[0m \x1b[8m kept\n" + note("b") + b"[Pipeline] sh\nend\x1b"
    path.write_bytes(raw)
    for size in range(1, len(raw) + 1):
        monkeypatch.setattr("jenkins_emulator.console._CHUNK_BYTES", size)
        assert plain(path) == b"one linked\n\x1b[31mred\x1b[0m \x1b[8m kept\n[Pipeline] sh\nend\x1b"


def test_only_a_lone_lf_gets_a_cr_wherever_a_piece_of_the_file_ends(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "log"
    raw = b"\nlone\nof windows\r\n" + note("a") + b"\ntwo\r\r\n\n\rbar\r50%\r" + note("b") + b"\nend\r"
    path.write_bytes(raw)
    expected = b"\r\nlone\r\nof windows\r\n\r\ntwo\r\r\n\r\n\rbar\r50%\r\nend\r"
    for size in range(1, len(raw) + 1):
        monkeypatch.setattr("jenkins_emulator.console._CHUNK_BYTES", size)
        assert plain(path, crlf=True) == expected
    assert plain(path, raw.index(b"\r\n") + 1, crlf=True).startswith(b"\r\n\r\ntwo"), "a reader's first LF is lone"


def test_start_inside_a_note_shows_its_rest(tmp_path: Path) -> None:
    path = tmp_path / "log"
    path.write_bytes(note("a") + b"text\n")
    assert plain(path, 20, crlf=True).endswith(b"\x1b[0mtext\r\n")
    assert len(plain(path, 20)) > len(b"text\n")


def test_text_that_begins_like_a_note_is_kept(tmp_path: Path) -> None:
    path = tmp_path / "log"
    path.write_bytes(b"\x1b[8mha:" + b"x" * 3_000_000 + b"\n")
    assert len(plain(path)) == path.stat().st_size


def record(recorder: Recorder, source: int) -> None:
    recorder.line("a", "[Pipeline] sh", linked="[Pipeline]")
    recorder.copy("sh", source, final=False)
    recorder.remember("sh:outcome", {"status": 0})
    recorder.copy("sh", source, final=True)
    recorder.line("b", "Finished: SUCCESS")


def test_log_is_the_same_after_a_crash_at_any_byte(tmp_path: Path) -> None:
    output = tmp_path / "output"
    output.write_bytes(b"first line\nsecond, without an end")
    source = os.open(output, os.O_RDONLY)
    whole = tmp_path / "whole"
    whole.mkdir()
    recorder = Recorder(whole)
    record(recorder, source)
    recorder.close()
    log, journal = (whole / "log").read_bytes(), (whole / "journal.jsonl").read_bytes()
    ends = [0]
    for announced in range(len(journal) + 1):
        written_sizes = {ends[-1]}
        if journal[:announced].endswith(b"\n"):
            # The append is announced, and any part of it may have been written.
            ends.append(_log_end(journal[:announced], log))
            written_sizes = set(range(ends[-2], ends[-1] + 1))
        for written in written_sizes:
            crashed = tmp_path / "crashed"
            shutil.rmtree(crashed, ignore_errors=True)
            crashed.mkdir()
            (crashed / "journal.jsonl").write_bytes(journal[:announced])
            (crashed / "log").write_bytes(log[:written])
            again = Recorder(crashed)
            record(again, source)
            again.close()
            assert (crashed / "log").read_bytes() == log
            assert again.visible_bytes == len(log)
    os.close(source)


def _log_end(journal: bytes, log: bytes) -> int:
    """The end of the log once everything announced is written."""
    records = [json.loads(line) for line in journal.splitlines()]
    appends = [record for record in records if "at" in record]
    if not appends:
        return 0
    last = appends[-1]
    return int(last["at"]) + (int(last["n"]) if "n" in last else log[last["at"] :].index(b"\n") + 1)


def test_only_whole_lines_are_visible_before_the_end(tmp_path: Path) -> None:
    output = tmp_path / "output"
    output.write_bytes(b"whole\npart")
    source = os.open(output, os.O_RDONLY)
    recorder = Recorder(tmp_path)
    assert not recorder.copy("sh", source, final=False)
    assert recorder.visible_bytes == len(b"whole\n")
    recorder.copy("sh", source, final=True)
    assert recorder.visible_bytes == len(b"whole\n")
    assert recorder.size_bytes == len(b"whole\npart")
    recorder.close()
    os.close(source)


def test_line_longer_than_one_copy_arrives_whole(tmp_path: Path) -> None:
    output = tmp_path / "output"
    text = b"x" * 2_500_000 + b"\n"
    output.write_bytes(text)
    source = os.open(output, os.O_RDONLY)
    recorder = Recorder(tmp_path)
    while recorder.copy("sh", source, final=False):
        pass
    assert (tmp_path / "log").read_bytes() == text
    recorder.close()
    os.close(source)
