"""Configs that nobody means well with."""

from __future__ import annotations

from collections.abc import Iterator

from .files import COMMAND, NASTY, PWNED

START = "splits: stratified\nmodels: prior\n"


def configs() -> Iterator[tuple[str, bytes]]:
    """Name and text of each; most are YAML."""
    laughs = "a0: &a0 [x]\n" + "".join(
        f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]\n" for n in range(1, 12)
    )
    for name, text in (
        ("nothing", ""),
        ("a list", "[1, 2]"),
        ("a word", "run"),
        ("two documents", "a: 1\n---\nb: 2\n"),
        ("a tab", "a:\n\t- b\n"),
        ("billion laughs", laughs + START),
        (
            "laughs in the data",
            START + laughs.replace("a0:", "data:\n  a0:").replace("\na", "\n  a"),
        ),
        ("a list that holds itself", "splits: &a [*a]\nmodels: prior\n"),
        ("a section that holds itself", START + "data: &a {where: *a}\n"),
        ("deep lists", "a: " + "[" * 20_000),
        ("deep lists that end", START + "data: " + "[" * 500 + "]" * 500),
        ("deep sections", "".join(f"{' ' * n}a:\n" for n in range(2000))),
        ("a python object", f"{START}data: !!python/object/apply:os.system ['{COMMAND}']\n"),
        ("a python name", f"{START}data: !!python/name:os.system\n"),
        ("a python module", f"{START}data: !!python/module:os\n"),
        ("a set", START + "data: !!set {a, b}\n"),
        ("bytes", START + "data: !!binary aGVsbG8=\n"),
        ("keys of another kind", START + "? [1, 2]\n: 3\n"),
        ("a merge", "a: &a {splits: stratified}\n<<: *a\nmodels: prior\n"),
        ("a key twice", START + START),
        ("a number of 10000 digits", START + "seeds: " + "9" * 10_000 + "\n"),
        ("a seed of nan", START + "seeds: .nan\n"),
        ("endless seconds", START + "timeout: .inf\n"),
        ("negative memory", START + "memory: -1GiB\n"),
        ("a value of 5 MB", START + "name: " + "x" * 5_000_000 + "\n"),
        ("a name that leads out", f"{START}name: ../../{PWNED}\n"),
        ("a name of bytes", START + 'name: "\\0"\n'),
        ("an unknown reader", START + "data: {reader: ../../etc}\n"),
        ("a device as data", START + "data: {reader: ctgov-csv, path: /dev/zero}\n"),
        ("a folder as data", START + "data: {reader: ctgov-csv, path: /}\n"),
        ("a path with nul", START + 'data: {reader: ctgov-csv, path: "a\\0b"}\n'),
        (
            "a path of a variable",
            START + "data: {reader: ctgov-csv, path: '${NO_SUCH_VARIABLE}'}\n",
        ),
        ("a path of another home", START + "data: {reader: ctgov-csv, path: '~nobody-here/x'}\n"),
        (
            "a path of 100000 letters",
            START + f"data: {{reader: ctgov-csv, path: {'x' * 100_000}}}\n",
        ),
        ("a path that is a list of lists", START + "data: {reader: top, path: [[x]]}\n"),
        ("rows beyond all bounds", START + "data: {reader: synthetic, rows: 1.0e+30}\n"),
        ("negative rows", START + "data: {reader: synthetic, rows: -5}\n"),
        ("a delimiter of nothing", START + "data: {reader: trials, path: x, delimiter: ''}\n"),
        ("an encoding that is code", START + "data: {reader: medline, path: x, encoding: rot13}\n"),
        ("a filter of code", START + "data: {where: {'__import__(\"os\")': 1}}\n"),
        ("a filter of sections", START + "data: {where: {phases: {from: {to: 3}}}}\n"),
        ("ten thousand seeds", START + f"seeds: {list(range(10_000))}\n"),
        ("a seed twice", START + "seeds: [1, 1]\n"),
        ("ten thousand models", "splits: stratified\nmodels: [" + "prior, " * 10_000 + "prior]\n"),
        ("no models", "splits: stratified\nmodels: []\n"),
        ("models of numbers", "splits: stratified\nmodels: [1, null, 2.5, [prior]]\n"),
        ("a model of dunder", "splits: stratified\nmodels: __class__\n"),
        ("a split of numbers", "splits: 3\nmodels: prior\n"),
        ("shares beyond one", "splits: {name: stratified, test: 9, valid: -3}\nmodels: prior\n"),
        ("metrics of brackets", START + "metrics: ['f1[[[', '[]', 'f1_macro@@valid']\n"),
        ("a budget of nothing", START + "tune: {trials: 0, seconds: -1}\n"),
        ("text as a switch", START + "refit: perhaps\n"),
        ("utf-16", "a: b"),
        ("half a character", "name: \xe9"),
    ):
        encoding = {"utf-16": "utf-16", "half a character": "latin-1"}.get(name, "utf-8")
        yield f"config: {name}", text.encode(encoding)
    yield "config: nul", START.encode() + b"\x00\n"
    yield "config: random", bytes(range(256)) * 20
    for number, nasty in enumerate((*NASTY, "..", "", " ", "x" * 10_000, "\x00", "a/../../b")):
        quoted = nasty.encode("unicode_escape").decode().replace('"', '\\"')
        yield (
            f"config: label {number}",
            f'splits: stratified\nmodels: {{name: prior, label: "{quoted}"}}\n'.encode(),
        )
    for number, template in enumerate(
        (
            "{brief_title.__class__}",
            "{0}",
            "{}",
            "{a!r:{b}}",
            "{",
            "}",
            "{brief_title:>999999999999}",
        )
    ):
        model = f'{{name: tfidf-logreg, inputs: text, params: {{template: "{template}"}}}}'
        yield f"config: template {number}", f"splits: stratified\nmodels: {model}\n".encode()
    for number, place in enumerate(
        ("/etc", "../../..", "file:///etc", "bundled:x", "a b", "~/.ssh")
    ):
        model = f'{{name: encoder, inputs: text, params: {{checkpoint: "{place}"}}}}'
        yield f"config: checkpoint {number}", f"splits: stratified\nmodels: {model}\n".encode()


OVERRIDES = (
    "", "=", "a", "a=", "=3", "models.99.params.C=2", "models.x=1", "models.-1=prior",
    "models.0.params=!!python/name:os.system", "seeds=[", "data.where.x={", "name=\x1b[2J",
    "models.0.__class__=x", ".=1", "..=1", "data..x=1", "seeds=" + "[" * 5000,
)  # fmt: skip
"""Values of `--set`."""
