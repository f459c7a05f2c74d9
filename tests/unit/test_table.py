import pytest

from datasets import Face, SourceError, Unreadable, table

OPTIONS = table.Options()


def write(root, text, *images, name="labels.csv"):
    for image in images:
        (root / image).parent.mkdir(parents=True, exist_ok=True)
        (root / image).write_bytes(image.encode())
    (root / name).write_bytes(text if isinstance(text, bytes) else text.encode())
    return root / name


def listed(source, **options):
    return list(table.faces(source, table.Options(**options)))


def test_rows_come_in_the_order_of_the_table(tmp_path):
    csv = write(tmp_path, "label,path\nHappy,i/b.png\nsad,i/a.png\n", "i/a.png", "i/b.png")
    faces = listed(csv)
    assert faces == [Face("i/b.png", "happiness"), Face("i/a.png", "sadness")]
    assert list(table.read(csv, faces, OPTIONS)) == [b"i/b.png", b"i/a.png"]
    assert list(table.read(tmp_path, faces, OPTIONS)) == [b"i/b.png", b"i/a.png"]


def test_bom_crlf_blanks_and_quotes_are_understood(tmp_path):
    text = '\ufeff path , label\r\n\r\n"a, b.png" , "Anger" \r\n'
    csv = write(tmp_path, text.replace('" , "', '","'), "a, b.png")
    assert [(face.source, face.label, face.problem) for face in listed(csv)] == [
        ("a, b.png", "anger", "")
    ]


def test_group_frame_and_split_come_from_their_columns(tmp_path):
    csv = write(tmp_path, "path,label,video,n,usage\na.png,fear,v1,007,PrivateTest\n", "a.png")
    (face,) = listed(csv, group_column="video", frame_column="n", split_column="usage")
    assert face == Face("a.png", "fear", "v1", 7, "test")


@pytest.mark.parametrize(
    ("word", "split"),
    [
        ("Training", "train"),
        ("PublicTest", "validation"),
        ("val", "validation"),
        ("TEST", "test"),
        ("", ""),
    ],
)
def test_the_usual_words_for_splits_are_known(tmp_path, word, split):
    csv = write(tmp_path, f"path,label,s\na.png,fear,{word}\n", "a.png")
    assert listed(csv, split_column="s")[0].split == split


def test_unusual_words_for_splits_are_named_and_can_be_given_a_meaning(tmp_path):
    csv = write(tmp_path, "path,label,s\na.png,fear,f1\nb.png,fear,f2\n", "a.png", "b.png")
    with pytest.raises(SourceError, match=r"options\.split_values: .*got 'f1', 'f2'\."):
        table.faces(csv, table.Options(split_column="s"))
    faces = listed(csv, split_column="s", split_values="f1=train, f2=validation")
    assert [face.split for face in faces] == ["train", "validation"]


@pytest.mark.parametrize("values", ["f1", "f1=dev", "train", "=", "f1=train,f2"])
def test_a_malformed_meaning_is_refused(tmp_path, values):
    csv = write(tmp_path, "path,label,s\na.png,fear,f1\n", "a.png")
    with pytest.raises(SourceError, match=r"options\.split_values: must be VALUE=SPLIT"):
        table.faces(csv, table.Options(split_column="s", split_values=values))


def test_meanings_without_a_split_column_are_refused(tmp_path):
    csv = write(tmp_path, "path,label\na.png,fear\n", "a.png")
    with pytest.raises(SourceError, match=r"needs options\.split_column"):
        table.faces(csv, table.Options(split_values="f1=train"))


def test_columns_that_are_not_there_are_all_named_with_those_there_are(tmp_path):
    csv = write(tmp_path, "paths,labels\na.png,fear\n")
    with pytest.raises(SourceError) as caught:
        table.faces(csv, table.Options(group_column="subject"))
    lines = str(caught.value).splitlines()
    assert [line.split(":")[0] for line in lines] == [
        "options.path_column",
        "options.label_column",
        "options.group_column",
    ]
    assert "Did you mean 'paths'? Choices: paths, labels." in lines[0]


@pytest.mark.parametrize("text", ["", "\n\n", "path,path,label\n", "path;label\n"])
def test_a_header_without_the_columns_is_refused(tmp_path, text):
    with pytest.raises(SourceError, match=r"options\.path_column"):
        table.faces(write(tmp_path, text), OPTIONS)


def test_what_is_wrong_with_a_row_stays_with_that_row(tmp_path):
    rows = [
        "a.png,fear,g,1",
        "gone.png,fear,g,1",
        "../out.png,fear,g,1",
        "/etc/hostname,fear,g,1",
        "a.png,sad,g,1",
        "./a.png,fear,g,1",
        "b.png,,g,1",
        ",fear,g,1",
        ",fear,g,1",
        "c.png,fear,,1",
        "d.png,fear,g,x",
        "e.png,fear",
        "folder,fear,g,1",
        "nul\0.png,fear,g,1",
    ]
    root = tmp_path / "root"
    (root / "folder").mkdir(parents=True)
    (tmp_path / "out.png").touch()
    csv = write(root, "path,label,group,frame\n" + "\n".join(rows), *(f"{c}.png" for c in "abcd"))
    faces = listed(csv, group_column="group", frame_column="frame")
    assert [(face.source, face.problem) for face in faces[:13]] == [
        ("a.png", ""),
        ("gone.png", "file missing"),
        ("../out.png", "path leads out of the data set's folder"),
        ("/etc/hostname", "path leads out of the data set's folder"),
        ("labels.csv:6", "duplicate of line 2, which says 'fear'"),
        ("labels.csv:7", "duplicate of line 2"),
        ("b.png", "label empty"),
        ("labels.csv:9", "path empty"),
        ("labels.csv:10", "path empty"),
        ("c.png", "group empty"),
        ("d.png", "frame is no number of a frame: 'x'"),
        ("labels.csv:13", "row has 2 fields where the header has 4"),
        ("folder", "not a file"),
    ]
    assert "cannot be printed" in faces[13].problem
    assert len(faces) == len(rows)
    assert all(
        isinstance(pixels, Unreadable) for pixels in list(table.read(csv, faces, OPTIONS))[1:]
    )


def test_a_row_that_is_not_utf8_spoils_neither_the_table_nor_its_own_report(tmp_path):
    csv = write(tmp_path, b"path,label\n\xff.png,fear\na.png,fear\n", "a.png")
    bad, good = listed(csv)
    assert (bad.source, bad.problem) == (r"\udcff.png", "row is not valid UTF-8")
    assert good.problem == ""


def test_a_folder_is_read_through_its_only_table_or_labels_csv(tmp_path):
    write(tmp_path, "path,label\na.png,fear\n", "a.png", name="train.csv")
    assert len(listed(tmp_path)) == 1
    write(tmp_path, "path,label\n", name="other.csv")
    with pytest.raises(SourceError, match=r"with other\.csv, train\.csv"):
        table.faces(tmp_path, OPTIONS)
    write(tmp_path, "path,label\n")
    assert listed(tmp_path) == []


def test_a_source_that_is_not_there_is_refused(tmp_path):
    with pytest.raises(SourceError, match="must be a CSV file or its folder"):
        table.faces(tmp_path / "gone", OPTIONS)


def test_a_field_too_long_for_csv_is_refused_with_its_line(tmp_path):
    csv = write(tmp_path, "path,label\na.png," + "x" * 200_000 + "\n", "a.png")
    with pytest.raises(SourceError, match=r"labels\.csv:2: must be CSV"):
        listed(csv)


def test_a_name_with_a_line_break_is_quarantined_under_a_name_that_fits_a_line(tmp_path):
    (tmp_path / "labels.csv").write_text('path,label\n"a\nb.png",happy\n')
    (tmp_path / "a\nb.png").write_bytes(b"x")
    (face,) = table.faces(tmp_path, table.Options())
    assert face.source == "a\\nb.png"
    assert face.problem == "row holds characters that cannot be printed"


def test_a_whole_path_does_not_tell_where_the_set_lies(tmp_path):
    (tmp_path / "a.png").write_bytes(b"x")
    (tmp_path / "labels.csv").write_text(f"path,label\n{tmp_path}/a.png,happy\n")
    (face,) = table.faces(tmp_path, table.Options())
    assert (face.source, face.problem) == ("a.png", "")
