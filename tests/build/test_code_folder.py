"""The folder with a job's code: no content of it can cause a read or write outside it."""

import os
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from launch_agent.builder.code_folder import CodeFolder, shown
from launch_agent.errors import UnsupportedJobSource

NAMES = st.sampled_from(["a", "b", "sub", "sub/c", "sub/deep/d"])
TARGETS = st.sampled_from(
    ["a", "b", "sub", "../a", "..", "../..", "../../outside", ".", "sub/../..", "/etc", "/", "missing", "{outside}"]
)


@pytest.fixture
def outside(tmp_path: Path) -> Path:
    secret = tmp_path / "outside"
    secret.mkdir()
    (secret / "secret").write_text("a secret of the build machine")
    return secret


@pytest.fixture
def code(tmp_path: Path, outside: Path) -> CodeFolder:
    (tmp_path / "code/sub").mkdir(parents=True)
    (tmp_path / "code/train.py").write_text("print('hello')\n")
    return CodeFolder(tmp_path / "code")


def link(code: CodeFolder, name: str, target: object) -> None:
    (code.path / name).parent.mkdir(parents=True, exist_ok=True)
    (code.path / name).symlink_to(str(target))


def test_a_file_is_read_and_written_with_its_folders(code: CodeFolder) -> None:
    code.write("new/folder/more.py", b"x = 1\n")
    code.write("train.py", b"print('changed')\n")
    assert code.read("new/folder/more.py") == b"x = 1\n"
    assert code.read_text("train.py") == "print('changed')\n"
    assert code.files() == {"train.py", "new/folder/more.py"}


def test_a_link_within_the_code_is_the_file_it_leads_to(code: CodeFolder) -> None:
    link(code, "requirements.txt", "sub/base.txt")
    link(code, "docs", "sub")
    code.write("sub/base.txt", b"wandb\n")
    assert code.drop_ways_out() == []
    assert code.read("requirements.txt") == code.read("docs/base.txt") == b"wandb\n"
    assert code.files() == {"train.py", "requirements.txt", "sub/base.txt"}
    assert code.file("docs/base.txt") == code.path / "sub/base.txt"
    assert code.folder("docs") == code.path / "sub"


def test_a_file_is_written_in_the_place_of_a_link_and_not_through_it(code: CodeFolder, outside: Path) -> None:
    link(code, "link.py", outside / "secret")
    code.write("link.py", b"mine")
    assert (outside / "secret").read_text() == "a secret of the build machine"
    assert not (code.path / "link.py").is_symlink()
    assert code.read("link.py") == b"mine"


@pytest.mark.parametrize("path", ["../outside/secret", "/etc/passwd", "link", "way/secret", "way/../../outside/secret"])
def test_no_path_leads_out_of_the_code(code: CodeFolder, outside: Path, path: str) -> None:
    link(code, "link", outside / "secret")
    link(code, "way", outside)
    for use in (code.read, code.file, code.folder, lambda name: code.write(f"{name}/x", b"")):
        with pytest.raises(UnsupportedJobSource):
            use(path)
    assert code.files() == {"train.py"}
    assert [each.name for each in outside.iterdir()] == ["secret"]


@pytest.mark.parametrize("path", ["", "\0", "a\0b", "n" * 300, "x/" * 3000, "train.py/x", "sub", "missing", "\udc80"])
def test_what_is_no_file_of_the_code_is_refused_in_words(code: CodeFolder, path: str) -> None:
    with pytest.raises(UnsupportedJobSource) as raised:
        code.read(path)
    str(raised.value).encode()
    assert len(str(raised.value)) < 500


def test_links_out_and_in_circles_and_special_files_are_dropped_and_named(code: CodeFolder, outside: Path) -> None:
    link(code, "absolute", outside / "secret")
    link(code, "sub/up", "../../outside")
    link(code, "one", "two")
    link(code, "two", "one")
    link(code, "dangling", "not/there")
    link(code, "dangling out", "/no/such/thing")
    link(code, "self", ".")
    os.mkfifo(code.path / "fifo")
    assert code.drop_ways_out() == ["absolute", "dangling out", "fifo", "one", "sub/up", "two"]
    assert (outside / "secret").exists()
    assert sorted(os.listdir(code.path)) == ["dangling", "self", "sub", "train.py"]


def test_a_pipe_is_not_a_file_and_is_not_waited_for(code: CodeFolder) -> None:
    os.mkfifo(code.path / "requirements.txt")
    assert code.files() == {"train.py"}
    with pytest.raises(UnsupportedJobSource, match=r"requirements\.txt is not a file of the job's code"):
        code.read("requirements.txt")


def test_a_large_file_is_not_read_whole(code: CodeFolder) -> None:
    with (code.path / "large.txt").open("wb") as file:
        file.truncate(1 << 40)
    with pytest.raises(UnsupportedJobSource, match="more than 1024 KiB"):
        code.read("large.txt", at_most=1 << 20)


def test_names_that_are_no_text_can_be_shown(code: CodeFolder) -> None:
    (code.path / os.fsdecode(b"\xff\n")).symlink_to("/etc")
    assert code.drop_ways_out() == ["\udcff\n"]
    with pytest.raises(UnsupportedJobSource) as raised:
        code.read("\udcff\n")
    assert "\n" not in str(raised.value)
    str(raised.value).encode()


@pytest.mark.parametrize(
    ("path", "words"),
    [
        ("a\n\0b", "a\\n\\x00b"),
        ("\udcff\u2028", r"\udcff\xe2\x80\xa8"),
        ("n" * 200, "n" * 200),
        ("n" * 201, "n" * 196 + "..."),
    ],
)
def test_a_path_is_shown_in_printable_characters(path: str, words: str) -> None:
    assert shown(path) == words


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=200)
@given(st.dictionaries(NAMES, TARGETS, max_size=5), NAMES)
def test_whatever_is_linked_to_what_nothing_outside_is_read_or_written(
    tmp_path_factory: pytest.TempPathFactory, links: dict[str, str], name: str
) -> None:
    root = tmp_path_factory.mktemp("any")
    outside = root / "outside"
    outside.mkdir()
    (outside / "c").write_text("secret")
    (root / "code").mkdir()
    code = CodeFolder(root / "code")
    for each, target in links.items():
        try:
            link(code, each, target.format(outside=outside))
        except OSError:  # the path of this link goes through another link
            continue
    code.drop_ways_out()
    for path in code.path.rglob("*"):
        assert path.resolve().is_relative_to(code.path)
    try:
        code.write(name, b"written")
        assert code.read(name) == b"written"
    except UnsupportedJobSource:
        pass
    assert (outside / "c").read_text() == "secret"
    assert [each.name for each in outside.iterdir()] == ["c"]
