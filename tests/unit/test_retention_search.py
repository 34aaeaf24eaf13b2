"""What a search reads, what it says it could not look at, and that its control touches nobody's files."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from orchestration.home import Home
from orchestration.identity.keys import Keys
from orchestration.retention.control import PREFIX, planted
from orchestration.retention.readings import UnreadableError, of_columns
from orchestration.retention.search import files_below

PHONE = "13900000001"


def below(root: Path, *roots: Path) -> tuple[list[str], dict[str, str]]:
    unsearched: dict[str, str] = {}
    found = [path.relative_to(root).as_posix() for path in files_below(root, [root, *roots], unsearched)]
    return found, {Path(name).name: why for name, why in unsearched.items()}


def test_every_file_below_is_found(tmp_path: Path) -> None:
    (tmp_path / ".hidden").mkdir()
    (tmp_path / ".hidden" / "a").touch()
    (tmp_path / "b").touch()
    assert below(tmp_path) == (["b", ".hidden/a"], {})


def test_folder_that_cannot_be_listed_is_told(tmp_path: Path) -> None:
    assert below(tmp_path / "nowhere") == ([], {"nowhere": "No such file or directory"})


def test_link_is_not_followed_and_one_that_leads_elsewhere_is_told(tmp_path: Path) -> None:
    root, other = tmp_path / "home", tmp_path / "other"
    (root / "in").mkdir(parents=True)
    other.mkdir()
    (other / "file").touch()
    (root / "within").symlink_to(root / "in")
    (root / "folder").symlink_to(other)
    (root / "file").symlink_to(other / "file")
    assert below(root) == ([], dict.fromkeys(("folder", "file"), "a link to another place: name that with --also"))
    assert below(root, other) == ([], {})


def test_control_leaves_other_files_of_a_folder_alone(tmp_path: Path) -> None:
    """Also those that are called as ours are: a folder of --also may be anybody's."""
    home, also = Home.open(tmp_path / "home"), tmp_path / "also"
    also.mkdir()
    theirs = [also / f"{PREFIX}notes.txt", also / f"{PREFIX}0123abcd.txt.bak", also / "control"]
    for path in theirs:
        path.touch()
    left = also / f"{PREFIX}0123abcd.txt"  # of a search that was killed
    left.touch()
    with planted(home, Keys.from_seed(7), [home.root, also], None) as control:
        assert {path for path in control.planted if path.parent == also} - {left}
        assert not left.exists()
    assert sorted(also.iterdir()) == sorted(theirs)


def test_folder_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    home = Home.open(tmp_path / "home")
    with planted(home, Keys.from_seed(7), [home.root, tmp_path / "nowhere"], None) as control:
        assert control.bare == (tmp_path / "nowhere",)


@pytest.mark.parametrize(
    "values",
    [
        pa.array([PHONE]), pa.array([PHONE], pa.large_string()), pa.array([PHONE], pa.string_view()),
        pa.array([PHONE]).dictionary_encode(), pa.array([[PHONE]]), pa.array([{"a": [{"b": PHONE}]}]),
        pa.array([[("k", PHONE)]], pa.map_(pa.string(), pa.string())),
        pa.array([PHONE.encode()], pa.binary()), pa.array([PHONE.encode()], pa.binary(11)),
        pa.array([PHONE.encode()], pa.large_binary()), pa.array([PHONE.encode()], pa.binary_view()),
        pa.array([int(PHONE)], pa.int64()), pa.array([int(PHONE)], pa.uint64()),
        pa.array([Decimal(PHONE)], pa.decimal128(20, 2)), pa.array([float(PHONE), None, float("nan"), float("inf")]),
    ],
    ids=lambda values: str(values.type),
)  # fmt: skip
def test_value_of_a_column_is_read_whatever_its_type(values: Any) -> None:
    read = b"".join(data for _, data in of_columns(pa.record_batch({"v": values})))
    assert PHONE.encode() in read


def test_column_of_an_unknown_type_is_not_read_in_silence() -> None:
    class Unknown(pa.ExtensionType):
        def __init__(self) -> None:
            super().__init__(pa.string(), "unknown")

        def __arrow_ext_serialize__(self) -> bytes:
            return b""

    values = pa.ExtensionArray.from_storage(Unknown(), pa.array([PHONE]))
    with pytest.raises(UnreadableError, match="is not read"):
        list(of_columns(pa.record_batch({"v": values})))
