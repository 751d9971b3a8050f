"""PubMed XML: records written here by hand, in the shapes that PubMed's DTD allows."""

from __future__ import annotations

import gzip
import re
import zipfile
from pathlib import Path

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmark.dataset import Rows
from benchmark.readers import pubmed_xml
from benchmark.readers.canonical_articles import COLUMNS
from benchmark.readers.files import LEFT_OUT
from features.errors import InputError

DATE = "<Year>2011</Year><Month>Feb</Month>"


def citation(
    pmid: str = "11",
    *,
    title: str = "A title.",
    abstract: str = "<AbstractText>Text.</AbstractText>",
    date: str = DATE,
    mesh: str = "<MeshHeading><DescriptorName>Humans</DescriptorName></MeshHeading>",
    version: int = 1,
    revised: str = "2012",
    more: str = "",
) -> str:
    """A `MedlineCitation` with the given parts."""
    return f"""<MedlineCitation Status="MEDLINE"><PMID Version="{version}">{pmid}</PMID>
    <DateRevised><Year>{revised}</Year><Month>03</Month><Day>4</Day></DateRevised>
    <Article><Journal><JournalIssue><PubDate>{date}</PubDate></JournalIssue>
    <Title>Journal of Things</Title></Journal><ArticleTitle>{title}</ArticleTitle>
    <Abstract>{abstract}</Abstract>
    <AuthorList><Author><LastName>A</LastName></Author><Author><LastName>B</LastName></Author>
    </AuthorList><Language>eng</Language><PublicationTypeList>
    <PublicationType UI="D016428">Journal Article</PublicationType>
    <PublicationType UI="D016449">Randomized Controlled Trial</PublicationType>
    </PublicationTypeList></Article><MeshHeadingList>{mesh}</MeshHeadingList>{more}
    </MedlineCitation>"""


def article(pmid: str = "11", **parts: object) -> str:
    return f"<PubmedArticle>{citation(pmid, **parts)}</PubmedArticle>"  # type: ignore[arg-type]


def whole(*records: str, root: str = "PubmedArticleSet", doctype: str = "") -> bytes:
    head = '<?xml version="1.0" encoding="utf-8"?>'
    return f"{head}{doctype}<{root}>{''.join(records)}</{root}>".encode()


def read(folder: Path, *records: str, name: str = "p.xml", **how: str) -> Rows:
    (folder / name).write_bytes(whole(*records, **how))
    return pubmed_xml.read(pubmed_xml.Options(path=folder / name))


def refused(folder: Path, content: bytes, name: str = "p.xml") -> str:
    (folder / name).write_bytes(content)
    with pytest.raises(InputError) as caught:
        pubmed_xml.read(pubmed_xml.Options(path=folder / name))
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_an_article_gives_its_canonical_row(tmp_path: Path) -> None:
    rows = read(tmp_path, article())
    row = rows.frame.loc["11"]
    assert row["title"] == "A title."
    assert row["abstract"] == "Text."
    assert row["journal"] == "Journal of Things"
    assert row["language"] == "eng"
    assert row["n_authors"] == 2
    assert row["pub_date"] == pd.Timestamp(2011, 2, 1)
    assert row["publication_types"] == "Journal Article|Randomized Controlled Trial"
    assert row["mesh_headings"] == "Humans"
    assert row["labels"] == "RCT|Human"
    assert row["source"] == "p.xml"
    assert rows.rejected.empty
    assert (rows.date, rows.group) == ("pub_date", "journal")


def test_what_the_labels_are_made_from_is_no_input(tmp_path: Path) -> None:
    rows = read(tmp_path, article())
    names = {column.name for column in rows.columns}
    assert names == {column.name for column in COLUMNS}
    assert not names & {"publication_types", "mesh_headings", "labels", "source", "status"}


def test_sections_of_an_abstract_keep_their_labels_and_markup_becomes_text(tmp_path: Path) -> None:
    abstract = (
        '<AbstractText Label="METHODS" NlmCategory="METHODS">We gave 10<sup>6</sup> <i>E. coli</i>'
        '\n cells.</AbstractText><AbstractText Label="UNLABELLED">So &amp; so.</AbstractText>'
        "<AbstractText>&#946; &lt; 1</AbstractText><AbstractText Label='EMPTY'/>"
    )
    rows = read(tmp_path, article(abstract=abstract, title="On <b><i>Mus</i> musculus</b>."))
    assert rows.frame.loc["11", "abstract"] == "METHODS: We gave 106 E. coli cells. So & so. β < 1"
    assert rows.frame.loc["11", "title"] == "On Mus musculus."


@pytest.mark.parametrize(
    ("date", "day"),
    [
        ("<Year>2001</Year>", "2001-01-01"),
        ("<Year>2001</Year><Month>06</Month><Day>5</Day>", "2001-06-05"),
        ("<Year>2001</Year><Month>Jun</Month><Day>15</Day>", "2001-06-15"),
        ("<Year>1990</Year><Season>Spring</Season>", "1990-01-01"),
        ("<MedlineDate>2001 Jan-Feb</MedlineDate>", "2001-01-01"),
        ("<MedlineDate>1998 Dec-1999 Jan</MedlineDate>", "1998-12-01"),
        ("<MedlineDate>Winter 1978-1979</MedlineDate>", "1978-01-01"),
        ("<MedlineDate>2000 Spring-Summer</MedlineDate>", "2000-01-01"),
        ("<MedlineDate>2007 Oct 5-12</MedlineDate>", "2007-10-05"),
        ("<MedlineDate>2004 1st Quart</MedlineDate>", "2004-01-01"),
    ],
)
def test_dates_in_all_of_pubmeds_ways(tmp_path: Path, date: str, day: str) -> None:
    rows = read(tmp_path, article(date=date))
    assert rows.frame.loc["11", "pub_date"] == pd.Timestamp(day)
    assert rows.rejected.empty


@pytest.mark.parametrize(
    "date",
    [
        "<Year>2013</Year><Month>02</Month><Day>30</Day>",
        "<Year>2013</Year><Month>Feb</Month><Day>30</Day>",
        "<MedlineDate>soon</MedlineDate>",
        "<Year>201</Year>",
    ],
)
def test_a_date_that_is_none_is_emptied_and_listed(tmp_path: Path, date: str) -> None:
    rows = read(tmp_path, article(date=date))
    assert rows.frame["pub_date"].isna().all()
    assert rows.rejected["id"].tolist() == ["11"]
    assert rows.rejected["reason"].str.startswith("cell left empty: pub_date").all()


def test_only_the_authors_keywords_are_text(tmp_path: Path) -> None:
    lists = (
        '<KeywordList Owner="NOTNLM"><Keyword>gait</Keyword><Keyword>falls</Keyword></KeywordList>'
        '<KeywordList Owner="PIP"><Keyword>Research Report</Keyword></KeywordList>'
    )
    assert read(tmp_path, article(more=lists)).frame.loc["11", "keywords"] == "gait; falls"


def test_an_article_without_headings_is_unlabelled_and_not_negative(tmp_path: Path) -> None:
    rows = read(tmp_path, article(mesh=""), article("12"))
    assert pd.isna(rows.frame.loc["11", "labels"])
    assert rows.frame["has_mesh"].tolist() == [False, True]


def test_the_baseline_before_2016_has_citations_without_an_article_around(tmp_path: Path) -> None:
    rows = read(tmp_path, citation("11"), citation("12"), root="MedlineCitationSet")
    assert rows.frame.index.tolist() == ["11", "12"]


def test_a_book_chapter_is_a_row_with_its_book_as_journal(tmp_path: Path) -> None:
    book = """<PubmedBookArticle><BookDocument><PMID Version="1">20</PMID><Book><BookTitle>Gene
    Reviews</BookTitle><PubDate><Year>1993</Year></PubDate></Book>
    <ArticleTitle>A gene</ArticleTitle>
    <Language>eng</Language><AuthorList Type="authors"><Author/></AuthorList>
    <PublicationType>Review</PublicationType>
    <Abstract><AbstractText>On it.</AbstractText></Abstract>
    </BookDocument></PubmedBookArticle>"""
    row = read(tmp_path, article(), book).frame.loc["20"]
    assert (row["title"], row["journal"], row["abstract"]) == ("A gene", "Gene Reviews", "On it.")
    assert row["pub_date"] == pd.Timestamp(1993, 1, 1)
    assert pd.isna(row["labels"])


def test_the_latest_version_of_an_article_is_kept_and_the_others_are_listed(tmp_path: Path) -> None:
    rows = read(
        tmp_path,
        article(title="v2", version=2, revised="2010"),
        article(title="v1, revised later", revised="2020"),
        article("12", title="old", revised="2012"),
        article("12", title="new", revised="2015"),
        article("13"),
        article("13"),
    )
    assert rows.frame["title"].tolist() == ["v2", "new", "A title."]
    assert rows.rejected["row"].tolist() == [2, 3, 5]
    assert rows.rejected["reason"].tolist() == [
        f"{LEFT_OUT}11 stands in row 1 too, a later version, which is kept",
        f"{LEFT_OUT}12 stands in row 4 too, a later version, which is kept",
        f"{LEFT_OUT}13 stands in row 6 too, with the same content",
    ]


def test_a_deletion_voids_what_came_before_it_in_the_folder(tmp_path: Path) -> None:
    delete = "<DeleteCitation><PMID>11</PMID><PMID>99</PMID></DeleteCitation>"
    (tmp_path / "p1.xml").write_bytes(whole(article("11"), article("12")))
    (tmp_path / "p2.xml.gz").write_bytes(gzip.compress(whole(article("13"), delete)))
    (tmp_path / "notes.txt").write_text("no record")
    rows = pubmed_xml.read(pubmed_xml.Options(path=tmp_path))
    assert rows.frame.index.tolist() == ["12", "13"]
    assert rows.frame["source"].tolist() == ["p1.xml", "p2.xml.gz"]
    assert rows.group == "source"
    assert rows.rejected.values.tolist() == [
        [1, "11", f"{LEFT_OUT}11 was deleted by a later DeleteCitation"]
    ]


def test_a_record_without_its_parts_or_its_pmid_is_listed(tmp_path: Path) -> None:
    broken = "<PubmedArticle><MedlineCitation><PMID>7</PMID></MedlineCitation></PubmedArticle>"
    rows = read(tmp_path, broken, article("x1"), article(""), article("0012"), article("13"),
                article("14"), article("15"))  # fmt: skip
    assert rows.frame.index.tolist() == ["12", "13", "14", "15"]
    assert rows.rejected.values.tolist() == [
        [1, "7", f"{LEFT_OUT}p.xml: a PubmedArticle without its parts"],
        [2, "x1", f"{LEFT_OUT}pmid: 'x1' is no PMID"],
        [3, "", f"{LEFT_OUT}pmid: nothing is no PMID"],
    ]


def test_mostly_unusable_records_are_an_error(tmp_path: Path) -> None:
    text = refused(tmp_path, whole(article("a"), article("b"), article("11")))
    assert "2 of 3 records cannot be used" in text
    assert "no usable record" in refused(tmp_path, whole())


def test_an_external_entity_is_refused_and_never_read(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("the secret")
    doctype = f'<!DOCTYPE x [<!ENTITY xxe SYSTEM "{(tmp_path / "secret").as_uri()}">]>'
    text = refused(tmp_path, whole(article(title="&xxe;"), doctype=doctype))
    assert "declares the entity 'xxe'" in text
    assert "the secret" not in text


def test_a_billion_laughs_are_refused_at_once(tmp_path: Path) -> None:
    entities = '<!ENTITY l0 "lol">' + "".join(
        f'<!ENTITY l{n} "{f"&l{n - 1};" * 10}">' for n in range(1, 11)
    )
    text = refused(tmp_path, whole(article(title="&l10;"), doctype=f"<!DOCTYPE x [{entities}]>"))
    # which of the two comes first depends on how far libxml2 has read
    assert re.search("declares the entity|entity amplification", text)
    assert len(text) < 1000


def test_an_entity_of_a_dtd_that_is_not_loaded_costs_its_record(tmp_path: Path) -> None:
    doctype = '<!DOCTYPE PubmedArticleSet SYSTEM "http://localhost:1/no.dtd">'
    rows = read(tmp_path, article(title="&beta; cells"), article("12"), doctype=doctype)
    assert rows.frame.index.tolist() == ["12"]
    assert rows.rejected.values.tolist() == [
        [1, "11", f"{LEFT_OUT}p.xml: the entity &beta; is not defined"]
    ]


def test_a_cut_off_file_is_an_error_that_says_where(tmp_path: Path) -> None:
    content = whole(article("11"), article("12"))
    assert "after record 1" in refused(tmp_path, content[:-60])
    packed = gzip.compress(content)
    assert "broken or cut off" in refused(tmp_path, packed[:-20], "p.xml.gz")
    damaged = packed[:30] + b"\0" * 30 + packed[60:]
    assert "broken or cut off" in refused(tmp_path, damaged, "p.xml.gz")


def test_a_gzip_file_that_expands_without_end_is_stopped(tmp_path: Path) -> None:
    blank = gzip.compress(whole(article(), " " * 20_000_000))
    assert "expands to more than" in refused(tmp_path, blank, "p.xml.gz")


def test_a_zip_of_files_is_read_like_a_folder(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "p.zip", "w") as archive:
        archive.writestr("a.xml", whole(article("11")))
        archive.writestr("b.xml.gz", gzip.compress(whole(article("12"))))
        archive.writestr("readme.txt", "no record")
    rows = pubmed_xml.read(pubmed_xml.Options(path=tmp_path / "p.zip"))
    assert rows.frame["source"].tolist() == ["p.zip/a.xml", "p.zip/b.xml.gz"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"<html><body>502 Bad Gateway</body></html>", "the root <html>"),
        (b"<eFetchResult><ERROR>no</ERROR></eFetchResult>", "the root <eFetchResult>"),
        (b"", "no root|not sound"),
        (b"PMID- 1\nTI  - x\n", "not sound XML"),
        (b"PK\x03\x04....", "zip archive"),
        (b"PAR1....", "not sound XML"),
        (b"<?xml version='1.0'?>", "not sound XML|no root"),
        (whole(article()) + whole(article("12")), "not sound XML after record 0"),
        (b"\xff\xfe<\0", "not sound XML|no root"),
    ],
)
def test_a_file_that_is_no_pubmed_xml_is_one_line(
    tmp_path: Path, content: bytes, message: str
) -> None:
    assert re.search(message, refused(tmp_path, content))


def test_paths_that_hold_no_records_say_so(tmp_path: Path) -> None:
    (tmp_path / "pubmed.xml").write_bytes(whole(article()))
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match=r"did you mean 'pubmed\.xml'"):
        pubmed_xml.read(pubmed_xml.Options(path=tmp_path / "pubmde.xml"))
    with pytest.raises(InputError, match=r"no file that ends in \.xml"):
        pubmed_xml.read(pubmed_xml.Options(path=tmp_path / "empty"))


def test_memory_does_not_grow_with_the_number_of_records(tmp_path: Path) -> None:
    path = tmp_path / "p.xml"
    path.write_bytes(whole(*(article(str(n)) for n in range(1, 1001))))
    with path.open("rb") as stream:
        held = [len(element.getparent()) for element in pubmed_xml._elements(stream)]
    assert len(held) == 1000
    assert max(held) < 100  # lxml reads blocks of 32 KiB, some 40 of these records


def outcome(path: Path) -> tuple[Rows | None, str]:
    """The rows, or the text of the error if the file is refused."""
    try:
        return pubmed_xml.read(pubmed_xml.Options(path=path)), ""
    except InputError as error:
        return None, str(error)


@settings(max_examples=30, deadline=None)
@given(ids=st.lists(st.sampled_from(["1", "2", "3", "x", ""]), min_size=1, max_size=9))
def test_every_record_is_in_the_frame_or_rejected(
    tmp_path_factory: pytest.TempPathFactory, ids: list[str]
) -> None:
    sound = {id_ for id_ in ids if id_.isdigit()}
    path = tmp_path_factory.getbasetemp() / "any.xml"
    path.write_bytes(whole(*map(article, ids)))
    rows, refusal = outcome(path)
    if rows is None:
        assert 2 * sum(not id_.isdigit() for id_ in ids) > len(ids), refusal
        return
    assert set(rows.frame.index) == sound
    assert len(rows.frame) + len(rows.rejected) == len(ids)


@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_mangled_bytes_never_raise_anything_else(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    content = bytearray(whole(article("11"), article("12")))
    for _ in range(data.draw(st.integers(1, 3))):
        at = data.draw(st.integers(0, len(content)))
        content[at : at + data.draw(st.sampled_from([0, 1, 30]))] = data.draw(st.binary(max_size=6))
    zipped = data.draw(st.booleans())
    path = tmp_path_factory.getbasetemp() / "mangled.xml"
    path.write_bytes(gzip.compress(bytes(content)) if zipped else bytes(content))
    rows, refusal = outcome(path)
    assert "\n" not in refusal
    assert rows is None or len(rows.frame)


def test_the_shared_files_are_read_whole(shared: Path) -> None:
    counts = {"medline16n0902.xml.gz": 604, "pubmed1.xml": 2, "pubmed21n1004.xml": 88, "": 694}
    for name, count in counts.items():
        rows = pubmed_xml.read(pubmed_xml.Options(path=shared / "pubmed" / name))
        assert (len(rows.frame), len(rows.rejected)) == (count, 0), name
        assert rows.frame["pub_date"].notna().all()


def test_xml_and_the_shared_table_tell_the_same_of_an_article(shared: Path) -> None:
    mine = pubmed_xml.read(pubmed_xml.Options(path=shared / "pubmed")).frame
    table = pd.read_parquet(shared / "pubmed" / "studies.parquet", columns=["pmid", "title"])
    titles = table.set_index(table["pmid"].astype(str))["title"]
    both = mine.index.intersection(titles.index)
    assert len(both) > 500
    assert mine.loc[both, "title"].tolist() == titles.loc[both].tolist()
