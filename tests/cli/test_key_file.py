from concurrent.futures import ThreadPoolExecutor

import pytest

from melagent.cli import key_file
from melagent.errors import Conflict


def test_first_start_makes_a_key_that_only_its_owner_can_read(tmp_path):
    data_dir = tmp_path / "data"
    (key,) = key_file.read_or_make(data_dir)
    assert len(key) == 32
    assert (data_dir / key_file.FILE_NAME).stat().st_mode & 0o777 == 0o600
    assert [path.name for path in data_dir.iterdir()] == [key_file.FILE_NAME]


def test_next_start_finds_the_same_key(tmp_path):
    assert key_file.read(tmp_path) == ()
    assert key_file.read_or_make(tmp_path) == key_file.read_or_make(tmp_path) == key_file.read(tmp_path)


def test_starts_at_the_same_moment_get_the_same_key(tmp_path):
    with ThreadPoolExecutor(8) as threads:
        assert len(set(threads.map(key_file.read_or_make, [tmp_path] * 64))) == 1
    assert [path.name for path in tmp_path.iterdir()] == [key_file.FILE_NAME]


def test_added_key_comes_first_and_the_file_stays_private(tmp_path):
    before = key_file.read_or_make(tmp_path)
    after = key_file.add(tmp_path)
    assert after[1:] == before
    assert after[0] not in before
    assert key_file.read(tmp_path) == after
    assert (tmp_path / key_file.FILE_NAME).stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("content", ["", "xyz\n", "00" * 31, "00" * 32 + "\n\nshort\n"])
def test_damaged_file_is_never_replaced_and_its_content_not_told(tmp_path, content):
    path = tmp_path / key_file.FILE_NAME
    path.write_text(content)
    with pytest.raises(Conflict, match="is damaged") as raised:
        key_file.read_or_make(tmp_path)
    assert not content.strip() or content.strip() not in raised.value.message
    assert path.read_text() == content
