"""Holds the reader of templates against jinja2: spoils templates at random, and looks at what still loads.

    python3 oracle_templates.py VERDICTS SEED TEMPLATE...

VERDICTS is the example of that name, built for release; needs jinja2. What the inspector loads must be a template
to jinja2 as well, and by its tree reach no attribute with an underscore, by no filter, key or call.
"""
import random
import re
import subprocess
import sys
import tempfile
from pathlib import Path

import jinja2
import jinja2.ext
import jinja2.nodes as nodes

verdicts, seed, paths = sys.argv[1], int(sys.argv[2]), sys.argv[3:]


class Generation(jinja2.ext.Extension):
    """The tag by which training marks what the assistant says."""
    tags = {"generation"}

    def parse(self, parser):
        line = next(parser.stream).lineno
        body = parser.parse_statements(["name:endgeneration"], drop_needle=True)
        return nodes.CallBlock(self.call_method("_body"), [], [], body).set_lineno(line)

    def _body(self, caller):
        return caller()


env = jinja2.Environment(trim_blocks=True, lstrip_blocks=True,
                         extensions=["jinja2.ext.loopcontrols", Generation])
env.filters["tojson"] = str
BITS = [
    "__class__", "'__cl' ~ 'ass__'", "|attr('x')", ".__init__", "['_x']", "\\x5f", "{#", "#}", "{%", "%}", "{{", "}}",
    "'", '"', "lipsum", "cycler", "self", "|map('attr','y')", "{% raw %}", "{% endraw %}", "{% set k = '__class__' %}",
    "[k]", "[message.role]", "()", "loop", "namespace", "'a' 'b'", "\\", "-", "|join(',',attribute='_x')", "for k in x",
    "{% for a in ['__class__'] %}{{ x[a] }}{% endfor %}", "~", "+", "(", ")", "[", "]", "{", "}", " is ", "not in",
    "not not ", " if x ", " else ", ".format(x)", "\n", "|selectattr('_a')", "in", "1_0", "1e5", "_", "__",
]


def spoil(text, others, rnd):
    for _ in range(rnd.randint(1, 4)):
        at = rnd.randrange(len(text) + 1)
        tags = [tag for tag in re.finditer(r"\{[{%].*?[%}]\}", text, re.S)]
        if tags and rnd.random() < 0.8:
            tag = rnd.choice(tags)
            at = rnd.randint(tag.start(), tag.end())
        kind = rnd.random()
        if kind < 0.6:
            text = text[:at] + rnd.choice(BITS) + text[at:]
        elif kind < 0.8:
            text = text[:at] + text[at + rnd.randint(1, 12):]
        else:
            other = rnd.choice(others)
            start = rnd.randrange(len(other))
            text = text[:at] + other[start:start + rnd.randint(1, 60)] + text[at:]
    return text


def problems(tree):
    for node in tree.find_all(nodes.Getattr):
        if node.attr.startswith("_"):
            yield f"attribute {node.attr}"
    for node in tree.find_all(nodes.Getitem):
        arg = node.arg
        if isinstance(arg, nodes.Const) and isinstance(arg.value, str) and arg.value.startswith("_"):
            yield f"key {arg.value}"
        if isinstance(arg, nodes.Concat) or (isinstance(arg, nodes.Filter) and arg.name not in ("length", "count", "int")):
            yield "computed key"
    for node in tree.find_all(nodes.Filter):
        if node.name in ("attr", "xmlattr", "groupby", "pprint"):
            yield f"filter {node.name}"
    for node in tree.find_all(nodes.Call):
        if isinstance(node.node, nodes.Getattr) and node.node.attr in ("format", "format_map", "mro"):
            yield f"call of {node.node.attr}"
    for node in tree.find_all((nodes.Include, nodes.Import, nodes.FromImport, nodes.Extends, nodes.Block)):
        yield f"tag {type(node).__name__}"
    for node in tree.find_all(nodes.Name):
        if node.name.startswith("_") or node.name in ("lipsum", "cycler", "self", "joiner"):
            yield f"name {node.name}"


texts = [Path(path).read_text() for path in paths]
for path, text in zip(paths, texts):
    env.parse(text)
short = [text for text in texts if text and len(text) < 3000]
rnd = random.Random(seed)
with tempfile.TemporaryDirectory() as folder:
    files = [Path(folder, f"{index}.jinja") for index in range(6000)]
    for file in files:
        file.write_text(spoil(rnd.choice(short), short, rnd))
    said = subprocess.run([verdicts, *map(str, files)], capture_output=True, text=True).stdout
    loaded = [line.split("\t")[2] for line in said.splitlines() if line.startswith("load\t")]
    wrong = 0
    for file in loaded:
        text = Path(file).read_text()
        try:
            found = list(problems(env.parse(text)))
        except jinja2.TemplateSyntaxError as error:
            found = [f"jinja2 does not read it: {error}"]
        if found:
            wrong += 1
            print(found, repr(text[:400]))
print(f"{len(files)} templates spoiled, {len(loaded)} load, {wrong} of them wrongly")
sys.exit(1 if wrong or not loaded else 0)
