"""An object store that stumbles is waited for; one that is broken is named with its remedy."""

import time

import pytest

from orchestrator.config import object_store
from orchestrator.config.address import is_below
from orchestrator.config.errors import StorageError
from orchestrator.config.folder import folder
from orchestrator.config.object_store import Store


@pytest.fixture
def store(faulty_s3, tmp_path) -> Store:
    return Store(folder(f"s3://faulty/{tmp_path.name}"))


def test_objects_are_named_by_their_path_and_removed_as_often_as_one_likes(store, tmp_path):
    store.put("b", b"2")
    (store / "in").put("a", b"123")
    assert store.files() == {"b": 1, "in/a": 3}
    store.download_all(store.files(), tmp_path / "here")
    assert (tmp_path / "here" / "in" / "a").read_bytes() == b"123"
    store.remove("b")
    store.remove("b")
    assert (store.has("b"), store.has("in/a")) == (False, True)
    assert (store / "in").remove_all(first="a") == 3
    assert (store / "in").remove_all(first="a") == 0
    assert not (store / "in").folder.exists()
    with pytest.raises(FileNotFoundError):
        store.download("b", tmp_path / "b")


@pytest.mark.parametrize("name", ["../evil", "a/../../evil", ".."])
def test_a_name_that_leads_out_of_the_folder_is_not_fetched(name, store, tmp_path):
    store.put("good", b"1")
    with pytest.raises(StorageError, match="must stay below it"):
        store.download_all(["good", name], tmp_path / "here")
    assert not (tmp_path / "evil").exists()


@pytest.mark.parametrize(("status", "code"), [(503, "SlowDown"), (500, "InternalError")])
def test_what_passes_is_waited_out_whatever_the_request(status, code, store, faulty_s3, tmp_path):
    # Six in a row are more than the client library's own three tries.
    faulty_s3.fail(lambda *_: True, times=6, status=status, code=code)
    store.put("a", b"content")
    faulty_s3.fail(lambda method, path: "list-type" in path, times=4, status=status, code=code)
    assert store.files() == {"a": 7}
    faulty_s3.fail(lambda method, path: method == "GET", times=4, status=status, code=code)
    store.download("a", tmp_path / "a")
    faulty_s3.fail(lambda method, path: method == "DELETE", times=4, status=status, code=code)
    store.remove("a")
    assert not store.has("a")
    assert (tmp_path / "a").read_bytes() == b"content"


def test_a_slow_answer_is_an_answer(store, faulty_s3):
    faulty_s3.fail(lambda *_: True, delay_s=0.3)
    store.put("a", b"content")
    assert store.files() == {"a": 7}


def test_an_object_that_arrives_cut_short_is_read_again(store, faulty_s3, tmp_path):
    store.put("a", b"0123456789" * 1000)
    faulty_s3.fail(lambda method, path: method == "GET", times=2, cut=True)
    store.download("a", tmp_path / "a")
    assert (tmp_path / "a").read_bytes() == b"0123456789" * 1000


def test_what_does_not_pass_ends_in_time_and_says_what_to_do(store, faulty_s3, impatient):
    faulty_s3.fail(lambda *_: True, status=503, code="SlowDown")
    began_s = time.monotonic()
    with pytest.raises(StorageError, match=r"s3://faulty.* SLOW_DOWN.* Look after .* same command"):
        store.put("a", b"content")
    assert time.monotonic() - began_s < 60


@pytest.mark.parametrize(
    ("status", "code", "remedy"),
    [
        (403, "AccessDenied", "Give the environment credentials"),
        (404, "NoSuchBucket", "Create the bucket"),
        (507, "QuotaExceeded", "Free space there"),
    ],
)
def test_what_cannot_pass_is_tried_once(status, code, remedy, store, faulty_s3):
    faulty_s3.fail(lambda *_: True, status=status, code=code)
    with pytest.raises(StorageError, match=remedy):
        store.put("a", b"content")
    assert len(faulty_s3.asked) == 1


def test_a_small_object_that_cannot_be_replaced_stays(store, faulty_s3, impatient):
    store.put("a", b"old")
    faulty_s3.fail(lambda method, path: method in ("PUT", "POST"), status=500, code="InternalError")
    with pytest.raises(StorageError):
        store.put("a", b"new")
    faulty_s3.mend()
    assert store.folder.read("a") == b"old"


def test_a_try_ends_before_a_study_counts_as_stalled():
    from orchestrator.config.experiment import Resources

    longest_try_s = 3 * 60
    assert object_store.RETRY_FOR_S + longest_try_s < Resources().stall_s


@pytest.mark.parametrize(
    "name", ["", "a//b", "/a", "a/", "./a", "a/.", "..", "a/../b", "a/" + "x" * 256]
)
def test_a_name_that_is_no_path_from_here_is_not_below(name):
    assert not is_below(name)
    assert is_below("a/b..c/.d")
