"""Reader `pubmed-xml`: PubMed XML, a file or a folder, plain, gzip or zip (the annual baseline).

The parser is lxml's `iterparse`, one record in memory at a time. pubmed_parser (0.5) was looked at
and not taken: it knows only `PubmedArticle` (so nothing of the baseline up to 2016 nor of books),
keeps no version, revision or language, joins headings with a `;` that may stand in them, stops at
the first record without a heading's name, and lets lxml resolve entities.
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from typing import Any

from benchmark.dataset import Rows
from benchmark.readers.article_assembly import ArticleOptions, Gathered, assemble_articles
from benchmark.readers.study_design import load_rules
from features.errors import InputError, one_line

ENDINGS = (".xml", ".xml.gz")
RECORDS = ("PubmedArticle", "PubmedBookArticle", "MedlineCitation")
ROOTS = (
    *RECORDS, "PubmedArticleSet", "PubmedBookArticleSet", "MedlineCitationSet",
)  # fmt: skip
_DELETE = ("DeleteCitation", "DeleteDocument")
_SAFE: dict[str, Any] = {
    "resolve_entities": False,
    "no_network": True,
    "load_dtd": False,
    "huge_tree": False,
    "remove_comments": True,
    "remove_pis": True,
}
_HEAD = 2**16
_AUTHORS = "NOTNLM"


class Options(ArticleOptions):
    """`path` of a file, or of a folder or a zip of `.xml` and `.xml.gz` files."""


def read(options: Options) -> Rows:
    """All articles and book chapters, the latest version of each.

    A sub- or superscript is read as plain text. A record without a PMID, or with an entity that
    XML does not define, is left out and listed. Raises `InputError` for a file that is not sound
    to its end, is no PubMed XML, or declares entities.
    """
    rules = load_rules(options.rules)
    gathered = Gathered(options.path)
    for name, stream in options.files(ENDINGS):
        _gather(name, stream, gathered)
    return assemble_articles(gathered.raw(), rules, deleted=gathered.deleted)


def _gather(name: str, stream: io.BufferedReader, gathered: Gathered) -> None:
    from lxml import etree

    before = gathered.seen
    try:
        _check_root(name, stream.peek(_HEAD))
        for element in _elements(stream):
            _add(element, name, gathered)
    except etree.XMLSyntaxError as error:
        raise InputError(
            f"{name} is not sound XML after record {gathered.seen - before}: "
            + one_line(error, 200),
            "a whole PubMed XML file",
            "download it again",
        ) from None


def _check_root(name: str, head: bytes) -> None:
    """Raise `InputError` unless the file starts as PubMed XML, without entities of its own."""
    from lxml import etree

    parser: Any = etree.XMLPullParser(events=("start",), **_SAFE)
    parser.feed(head)
    event = next(iter(parser.read_events()), None)
    root = None if event is None else event[1]
    if root is None or root.tag not in ROOTS:
        raise InputError(
            f"{name} has " + ("no root element" if root is None else f"the root <{root.tag}>"),
            "PubMed XML with the root " + " or ".join(ROOTS[3:]),
            "download it again, as XML",
        )
    subset = root.getroottree().docinfo.internalDTD
    entity = None if subset is None else next(iter(subset.iterentities()), None)
    if entity is not None:
        raise InputError(
            f"{name} declares the entity {one_line(entity.name, 40)!r}",
            "PubMed XML, which declares none (entities are never resolved)",
            "do not trust this file",
        )


def _elements(stream: io.BufferedReader) -> Iterator[Any]:
    """Every record and deletion, dropped from memory once it was looked at."""
    from lxml import etree

    for _, element in etree.iterparse(stream, events=("end",), tag=(*RECORDS, *_DELETE), **_SAFE):
        parent = element.getparent()
        if parent is not None and parent.tag == "PubmedArticle":
            continue
        yield element
        element.clear()
        while element.getprevious() is not None:
            del parent[0]


def _add(element: Any, source: str, gathered: Gathered) -> None:
    """One record or deletion of the file `source`."""
    from lxml import etree

    if element.tag in _DELETE:
        gathered.delete(_texts(element, "PMID"))
        return
    id_ = next(iter(_texts(element, ".//PMID")), "")
    entity = next(element.iter(etree.Entity), None)
    if entity is not None:
        gathered.reject(id_, f"{source}: the entity {entity.text} is not defined")
        return
    if element.tag == "PubmedBookArticle":
        article = _chapter(element.find("BookDocument"))
    else:
        inner = element.tag == "PubmedArticle"
        article = _article(element.find("MedlineCitation") if inner else element)
    if article is None:
        gathered.reject(id_, f"{source}: a {element.tag} without its parts")
    else:
        gathered.add(article | {"source": source})


def _article(citation: Any) -> dict[str, str] | None:
    """The canonical cells of a `MedlineCitation`; None if it holds no article."""
    article = None if citation is None else citation.find("Article")
    if article is None:
        return None
    headings = _texts(citation, "MeshHeadingList/MeshHeading/DescriptorName")
    return {
        **_cells(article),
        **_identity(citation),
        "title": _first(article, "ArticleTitle", "VernacularTitle"),
        "journal": _first(article, "Journal/Title", "Journal/ISOAbbreviation"),
        "pub_date": _date(article, "Journal/JournalIssue/PubDate") or _date(article, "ArticleDate"),
        "publication_types": "|".join(_texts(article, "PublicationTypeList/PublicationType")),
        "mesh_headings": "|".join(headings),
        "keywords": _keywords(citation),
        "status": citation.get("Status", ""),
    }


def _chapter(book: Any) -> dict[str, str] | None:
    """The canonical cells of a `BookDocument`; the book stands for the journal."""
    if book is None:
        return None
    return {
        **_cells(book),
        **_identity(book),
        "title": _first(book, "ArticleTitle", "Book/BookTitle"),
        "journal": _first(book, "Book/BookTitle"),
        "pub_date": _date(book, "Book/PubDate") or _date(book, "ContributionDate"),
        "publication_types": "|".join(_texts(book, "PublicationType")),
        "keywords": _keywords(book),
    }


def _cells(article: Any) -> dict[str, str]:
    """What articles and chapters write the same way."""
    authors = article.findall("AuthorList[1]/Author")
    return {
        "abstract": " ".join(
            filter(None, map(_section, article.iterfind("Abstract/AbstractText")))
        ),
        "language": "|".join(_texts(article, "Language")),
        "n_authors": str(len(authors)) if authors else "",
    }


def _identity(record: Any) -> dict[str, str]:
    """PMID, version and day of revision."""
    pmid = record.find("PMID")
    return {
        "pmid": "" if pmid is None else _text(pmid),
        "version": "" if pmid is None else pmid.get("Version", ""),
        "revised": _date(record, "DateRevised"),
    }


def _section(element: Any) -> str:
    """A part of the abstract, behind its label as MEDLINE text has it: `METHODS: We asked …`."""
    label, text = " ".join(element.get("Label", "").split()), _text(element)
    return f"{label}: {text}" if text and label and label.upper() != "UNLABELLED" else text


def _keywords(record: Any) -> str:
    """The authors' keywords. Those of indexers (Owner NLM, PIP, …) came later and are left out."""
    lists = record.iterfind("KeywordList")
    own = (one for one in lists if one.get("Owner", _AUTHORS) == _AUTHORS)
    return "; ".join(word for one in own for word in _texts(one, "Keyword"))


def _date(record: Any, path: str) -> str:
    """`2001-02-05`, `2001 Feb 5`, `2001 Spring` or what a `MedlineDate` says; "" without one."""
    date = record.find(path)
    if date is None:
        return ""
    parts = [_first(date, name) for name in ("Year", "Month", "Day")]
    year, month, day = parts
    if not year:
        return _first(date, "MedlineDate")
    if month.isdigit():
        return "-".join(part.zfill(2) for part in parts if part)
    return " ".join(filter(None, (year, month or _first(date, "Season"), day if month else "")))


def _first(element: Any, *paths: str) -> str:
    """The first text that is there and not empty."""
    found = (text for path in paths for text in _texts(element, path))
    return next(found, "")


def _texts(element: Any, path: str) -> list[str]:
    return [text for text in map(_text, element.iterfind(path)) if text]


def _text(element: Any) -> str:
    """All text inside, markup such as <i> dropped, white space as single blanks."""
    return " ".join("".join(element.itertext()).split())
