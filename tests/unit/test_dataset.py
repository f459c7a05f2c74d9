"""Opening a data set: a good one opens; anything else is refused in one line before use."""

import hashlib
import pickle

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from prepared_set import CLASSES, rewrite_manifest, write_set

from orchestrator.config.errors import DatasetError
from orchestrator.ingest.dataset import open_dataset, read_split_index


@pytest.fixture
def root(tmp_path):
    return write_set(tmp_path / "faces")


def refusal(root):
    with pytest.raises(DatasetError) as caught:
        open_dataset(root)
    assert len(caught.value.problems) == 1
    assert "\n" not in str(caught.value)
    return str(caught.value)


def replace_file(root, table, name="part-00000.parquet", **options):
    """Puts another table in the place of a file, with a manifest that vouches for it."""
    path = root / name
    pq.write_table(table, path, **options)

    def vouch(manifest):
        content = path.read_bytes()
        for file in (*manifest["files"], manifest["index"]):
            if file["name"] == name:
                file["bytes"] = len(content)
                file["sha256"] = hashlib.sha256(content).hexdigest()

    rewrite_manifest(root, vouch)


def first_table(root):
    return pq.read_table(root / "part-00000.parquet")


def test_a_good_set_opens_with_all_that_its_manifest_says(root):
    dataset = open_dataset(root)
    assert dataset.root.local == root
    assert dataset.classes == CLASSES
    assert dataset.image_shape == (8, 8, 3)
    assert dataset.protocols == ("group", "random")
    assert list(dataset.files) == [f"part-0000{part}.parquet" for part in range(3)]
    assert dataset.num_rows == 60
    assert sum(dataset.counts["random"]["train"].values()) == 36


def test_a_set_opens_by_a_relative_path(root, monkeypatch):
    monkeypatch.chdir(root.parent)
    assert open_dataset("faces").root.local == root


def test_opened_sets_travel_to_workers(root):
    dataset = open_dataset(root)
    assert pickle.loads(pickle.dumps(dataset)) == dataset


def test_the_split_index_has_one_entry_a_row_in_order(root):
    dataset = open_dataset(root)
    index = read_split_index(dataset, "group")
    assert index.row_ids.tolist() == list(range(60))
    assert index.labels.tolist() == [row % 3 for row in range(60)]
    assert index.groups[:7].tolist() == ["video000"] * 6 + ["video001"]
    for split in ("train", "validation", "test"):
        rows = (index.splits == split).sum()
        assert rows == sum(dataset.counts["group"][split].values())


def test_a_missing_folder_is_refused(tmp_path):
    assert "must be a folder written by `prepare`" in refusal(tmp_path / "nothing")


def test_a_folder_without_manifest_is_refused(tmp_path):
    assert "has no manifest.json" in refusal(tmp_path)


@pytest.mark.parametrize("content", ["", "{", "[]", "null", "[" * 100_000])
def test_a_broken_manifest_is_refused(root, content):
    (root / "manifest.json").write_text(content)
    assert "manifest.json: " in refusal(root)


def test_another_version_is_refused_before_anything_else(root):
    rewrite_manifest(root, lambda manifest: manifest.update(version=1, unheard_of=1))
    assert "version must be 2; got 1" in refusal(root)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda m: m.update(unheard_of=1), "unheard_of"),
        (lambda m: m.pop("classes"), "classes"),
        (lambda m: m["rows"].update(bad=1), "listed must be kept + bad + left_out"),
        (lambda m: m["files"].pop(), "kept must be the rows of all files"),
        (lambda m: m["files"][0].update(name="../part-00000.parquet"), "files.0.name"),
        (lambda m: m["counts"]["group"]["test"].update(anger=999), "counts.group"),
        (lambda m: m["counts"]["group"].pop("test"), "counts.group"),
        (lambda m: m.update(image_shape=[8, 8]), "image_shape"),
        (lambda m: m.update(image_shape=[8, 8, "3"]), "image_shape"),
    ],
)
def test_a_manifest_that_does_not_add_up_is_refused(root, change, said):
    rewrite_manifest(root, change)
    assert said in refusal(root)


def test_a_missing_file_is_refused(root):
    (root / "part-00001.parquet").unlink()
    assert "part-00001.parquet: a file of the manifest is missing" in refusal(root)


def test_a_link_out_of_the_folder_is_refused(root, tmp_path):
    (root / "part-00001.parquet").rename(tmp_path / "elsewhere.parquet")
    (root / "part-00001.parquet").symlink_to(tmp_path / "elsewhere.parquet")
    assert "missing" in refusal(root)


def test_a_truncated_file_is_refused(root):
    path = root / "part-00000.parquet"
    path.write_bytes(path.read_bytes()[:-100])
    assert "bytes; got" in refusal(root)


def test_one_changed_byte_is_refused(root):
    path = root / "part-00002.parquet"
    content = bytearray(path.read_bytes())
    content[100] ^= 1
    path.write_bytes(content)
    assert "sha256 must be that of the manifest" in refusal(root)


@pytest.mark.parametrize("content", [b"", b"PAR1", b"PAR1\xff\xff\xff\xffPAR1", b"x" * 100])
def test_a_file_that_is_no_parquet_is_refused_even_if_the_manifest_vouches_for_it(root, content):
    path = root / "part-00000.parquet"
    replace_file(root, first_table(root))
    path.write_bytes(content)

    def vouch(manifest):
        sha256 = hashlib.sha256(content).hexdigest()
        manifest["files"][0].update(bytes=len(content), sha256=sha256)

    rewrite_manifest(root, vouch)
    assert "Parquet" in refusal(root)


class Trap(pa.ExtensionType):
    """An extension type that tells when a reader runs its code."""

    sprung = False

    def __init__(self):
        super().__init__(pa.binary(192), "test.trap")

    def __arrow_ext_serialize__(self):
        return b"payload"

    @classmethod
    def __arrow_ext_deserialize__(cls, storage_type, serialized):
        cls.sprung = True
        return cls()


def test_an_extension_type_is_refused_and_its_code_never_runs(root):
    table = first_table(root)
    trapped = pa.ExtensionArray.from_storage(Trap(), table["image"].combine_chunks())
    replace_file(root, table.set_column(0, "image", trapped))
    pa.register_extension_type(Trap())
    try:
        Trap.sprung = False
        assert "extension types that run code" in refusal(root)
        assert not Trap.sprung
        first_table(root)
        assert Trap.sprung, "the trap does not work: this test would prove nothing"
    finally:
        pa.unregister_extension_type("test.trap")


def test_a_tensor_type_is_refused(root):
    table = first_table(root)
    tensors = pa.FixedShapeTensorArray.from_numpy_ndarray(
        np.zeros((table.num_rows, 8, 8, 3), np.uint8)
    )
    replace_file(root, table.set_column(0, "image", tensors))
    assert "extension types" in refusal(root)


def test_missing_and_additional_columns_are_refused(root):
    table = first_table(root)
    replace_file(root, table.drop_columns(["frame"]), store_schema=False)
    assert "columns must be image, listed, label" in refusal(root)
    replace_file(root, table.append_column("code", table["source"]), store_schema=False)
    assert "columns must be image, listed, label" in refusal(root)


def test_a_column_of_another_type_is_refused(root):
    table = first_table(root)
    replace_file(
        root, table.set_column(2, "label", table["label"].cast(pa.int64())), store_schema=False
    )
    assert "type of column label must be int8; got int64" in refusal(root)


def test_images_of_another_size_are_refused(root):
    table = first_table(root)
    small = pa.array([b"x" * 48] * table.num_rows, pa.binary(48))
    replace_file(root, table.set_column(0, "image", small), store_schema=False)
    assert "image size of column image must be fixed_size_binary[192]" in refusal(root)


def test_images_of_varying_size_are_refused(root):
    table = first_table(root)
    loose = table["image"].cast(pa.binary())
    replace_file(root, table.set_column(0, "image", loose), store_schema=False)
    assert "image size of column image" in refusal(root)


def test_a_file_with_fewer_rows_is_refused(root):
    replace_file(root, first_table(root).slice(1), store_schema=False)
    assert "must have 25 rows; got 24" in refusal(root)


def test_a_protocol_without_column_is_refused_with_the_choices(root):
    with pytest.raises(DatasetError, match=r"got 'official'\. Choices: group, random\."):
        read_split_index(open_dataset(root), "official")


def test_an_empty_split_is_refused_with_the_protocol_that_would_do(tmp_path):
    halves = np.array([0] * 30 + [2] * 30, dtype=np.int8)
    thirds = np.array([0] * 30 + [1] * 20 + [2] * 10, dtype=np.int8)
    root = write_set(tmp_path / "faces", splits={"official": halves, "group": thirds})
    with pytest.raises(DatasetError) as caught:
        read_split_index(open_dataset(root), "official")
    assert "split 'validation' of protocol 'official' is empty" in str(caught.value)
    assert "Use protocol=group." in str(caught.value)
    assert (
        len(read_split_index(open_dataset(root), "official", needs=["train", "test"]).labels) == 60
    )


@pytest.mark.parametrize(
    ("column", "value", "said"),
    [
        ("label", 3, "label must be 0..2"),
        ("label", -1, "label must be"),
        ("row_id", 7, "row_id must count"),
        ("listed", 1, "listed must grow"),
        ("split_group", "elsewhere", "elsewhere"),
    ],
)
def test_values_out_of_range_are_refused(root, column, value, said):
    table = pq.read_table(root / "rows.parquet")
    place = table.column_names.index(column)
    values = table[column].to_pylist()
    values[0] = value
    array = pa.array(values, table.schema.field(column).type)
    replace_file(
        root, table.set_column(place, column, array), name="rows.parquet", store_schema=False
    )
    assert said in refusal(root)


def test_an_index_that_is_hostile_or_of_other_rows_is_refused(root):
    table = pq.read_table(root / "rows.parquet")
    replace_file(root, table, name="rows.parquet")
    assert "extension types" in refusal(root)
    replace_file(root, table.slice(1), name="rows.parquet", store_schema=False)
    assert "rows.parquet: must have 60 rows; got 59" in refusal(root)
    replace_file(root, table.drop_columns(["listed"]), name="rows.parquet", store_schema=False)
    assert "columns must be row_id, listed" in refusal(root)


def test_rows_of_which_files_and_index_do_not_say_the_same_are_refused(root):
    table = first_table(root)
    labels = pa.array([(label + 1) % 3 for label in table["label"].to_pylist()], pa.int8())
    replace_file(root, table.set_column(2, "label", labels), store_schema=False)
    assert "must have the rows of rows.parquet" in refusal(root)


def test_a_missing_value_is_refused(root):
    table = pq.read_table(root / "rows.parquet")
    groups = pa.array([None, *table["group"].to_pylist()[1:]], pa.string())
    place = table.column_names.index("group")
    changed = table.set_column(place, "group", groups)
    replace_file(root, changed, name="rows.parquet", store_schema=False)
    assert "must have a value in each cell" in refusal(root)


def test_counts_that_are_not_those_of_the_rows_are_refused(root):
    def move(manifest):
        counts = manifest["counts"]["random"]
        counts["train"]["fear"] -= 1
        counts["test"]["fear"] += 1

    rewrite_manifest(root, move)
    assert "counts must be those of the rows" in refusal(root)


def test_a_few_bytes_that_stand_for_very_many_rows_are_refused(root):
    same = pa.array([b"x" * 192] * 400_000, pa.binary(192))
    small = first_table(root).drop_columns(["image"])
    table = pa.concat_tables([small.slice(0, 1)] * 400_000).add_column(0, "image", same)
    replace_file(root, table, store_schema=False, row_group_size=400_000)
    assert (root / "part-00000.parquet").stat().st_size < 2**20
    assert "a row group must have at most" in refusal(root)


@pytest.mark.parametrize("name", ["\x1b[2J", "two\nlines", "x" * 201])
def test_a_name_that_acts_in_a_terminal_is_refused_and_not_shown(root, name):
    rewrite_manifest(root, lambda manifest: manifest.update(name=name))
    said = refusal(root)
    assert "name: must be at most 200 printable characters" in said
    assert name not in said


def test_a_protocol_that_is_a_path_is_refused(root):
    def rename(manifest):
        manifest["counts"]["x/../../evil"] = manifest["counts"].pop("random")

    rewrite_manifest(root, rename)
    assert "counts" in refusal(root)


def test_a_manifest_whose_index_is_a_file_of_images_is_refused(root):
    rewrite_manifest(root, lambda m: m["index"].update(name="part-00000.parquet"))
    assert "index: must be rows.parquet" in refusal(root)


def test_one_row_a_group_does_not_make_a_text_harmless(root):
    table = pq.read_table(root / "rows.parquet")
    long = pa.array(["x" * (70 * 2**20), *table["source"].to_pylist()[1:]])
    changed = table.set_column(table.column_names.index("source"), "source", long)
    replace_file(
        root, changed, name="rows.parquet", store_schema=False, compression="lz4", row_group_size=1
    )
    assert "a row group must have at most" in refusal(root)


def test_a_long_text_that_many_rows_share_is_refused(root):
    table = pq.read_table(root / "rows.parquet")
    many = pa.concat_tables([table] * 20)
    shared = pa.array(["x" * 2**20] * many.num_rows).dictionary_encode()
    changed = many.set_column(many.column_names.index("source"), "source", shared)
    replace_file(root, changed, name="rows.parquet", store_schema=False, compression="lz4")
    assert (root / "rows.parquet").stat().st_size < 2**20
    assert "the texts of a row group must have at most" in refusal(root)


def test_a_codec_that_packs_without_bound_is_refused(root):
    table = pq.read_table(root / "rows.parquet")
    replace_file(root, table, name="rows.parquet", store_schema=False, compression="zstd")
    assert "must be compressed by UNCOMPRESSED, LZ4, LZ4_RAW, SNAPPY; got ZSTD" in refusal(root)
