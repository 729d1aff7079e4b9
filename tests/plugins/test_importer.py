"""Import of methods: the class, or one line that names the file and the line of the error."""

import pytest

from benchmark.errors import ConfigError, MethodError
from benchmark.plugins.discovery import add_plugin
from benchmark.plugins.factory import create_method
from benchmark.plugins.importer import code_of, method_class
from benchmark.plugins.recipes import resolve_recipe

HEAD = "from benchmark.method import Method, Losses\n"
BARE = HEAD + "class Mine(Method):\n"
WORKING = (
    BARE + "    def __init__(self, clip, options, class_names, template):\n        super().__init__(clip, options)\n"
)
FORWARD = "    def forward(self, images):\n        return images.pooled\n"


@pytest.mark.parametrize(
    ("code", "message"),
    [
        ("x = 1\ndef f(:\n", r"mine.py:2: SyntaxError: "),
        ("x = 1\nimport nowhere_at_all\n", r"mine.py:2: ModuleNotFoundError: No module named 'nowhere_at_all'"),
        ("x = 1\n\nimport json\njson.loads('{')\n", r"mine.py:4: JSONDecodeError: "),
        ("raise SystemExit(3)\n", r"mine.py:1: SystemExit: 3"),
        ("class Mine: pass\n", r"mine.py:1: defines 0 subclasses of Method; exactly one is needed"),
        (HEAD + "class A(Method): pass\nclass B(A): pass\n", r"mine.py:1: defines 2 subclasses of Method .A, B.; "),
        (WORKING, r"mine.py:2: class Mine: it does not define forward.self, images."),
        (BARE + FORWARD, r"mine.py:2: class Mine: its __init__ does not take .self, clip, "),
        (WORKING + FORWARD + "    Options = dict\n", r"mine.py:2: class Mine: its Options is not a frozen dataclass"),
        (WORKING + FORWARD + "    sample_views = 2\n", r"mine.py:2: class Mine: sample_views is 2, but it does "),
        (BARE + "    Options = dict\n", r"mine.py:2: class Mine: 3 problems"),
        ("x = '\udcff'\n", r"mine.py:1: SyntaxError"),
    ],
    ids=["syntax", "import", "raised elsewhere", "exit", "no class", "two classes", "no forward", "init", "options",
         "sample", "several", "not UTF-8"],
)  # fmt: skip
def test_code_that_is_not_a_method_is_reported_with_file_and_line(plugin, code, message):
    file = plugin("mine", "")
    file.write_text(code, errors="surrogateescape")
    add_plugin(file)
    with pytest.raises(MethodError, match=message) as error:
        method_class("mine")
    assert str(file.parent) in str(error.value)


@pytest.mark.parametrize(("place", "line"), [("__init__", 5), ("set_classes", 9)])
def test_error_in_a_constructor_is_reported_with_file_and_line(plugin, clip, place, line):
    code = WORKING + "        self.set_classes(class_names, template)\n" + FORWARD
    wrong = {"__init__": code.replace("        self.set", "        1 / 0\n        self.set"),
             "set_classes": code + "    def set_classes(self, *_):\n        1 / 0\n"}  # fmt: skip
    add_plugin(plugin("mine", wrong[place], recipe="defaults: {}\n"))
    with pytest.raises(MethodError, match=rf"mine.py:{line}: ZeroDivisionError"):
        create_method("mine", clip=clip, class_names=["a"], template="{}.")


@pytest.mark.parametrize(
    ("recipe", "message"),
    [
        (None, r"mine.py: its recipe mine.yaml is missing next to it. Write `defaults:`"),
        ("defaults: [", r"mine.yaml:\d+: "),
        ("defaults: {n_ctx: four}\n", r"mine.yaml: 3 problems"),
        ("defaults: {anchor: 3}\n", r"mine: 'anchor' is not an option. Did you mean 'anchor_weight'"),
        ("cases: [{when: {datset: dtd}, set: {}}]\n", r"a key of 'cases\[0\].when' must be 'dataset', 'protocol' or"),
        ("cases: [{when: {shots: 1}}]\n", r"mine.yaml: 'cases\[0\].set' is missing"),
        ("default: {}\n", r"mine.yaml: 'default' is not an option; did you mean 'defaults'"),
    ],
)
def test_error_in_a_recipe_file_is_attributed_to_the_method(plugin, recipe, message):
    add_plugin(plugin("mine", recipe=recipe))
    for layers in ([], [{}], [{"n_ctx": 3}]):
        with pytest.raises(MethodError, match=message):
            resolve_recipe("mine", layers, template="{}.")


def test_error_in_a_setting_is_not_attributed_to_the_method(plugin):
    add_plugin(plugin("mine"))
    for setting in ({"n_ctx": "four"}, {"epochs": 0}, {"anchor": 1.0}):
        with pytest.raises(ConfigError) as error:
            resolve_recipe("mine", [setting], template="{}.")
        assert not isinstance(error.value, MethodError)


def test_changed_file_is_imported_and_hashed_again_when_it_is_added_again(plugin):
    file = plugin("mine", WORKING + FORWARD + "    marker = 1\n")
    add_plugin(file)
    first = code_of("mine")
    assert (len(first), method_class("mine").marker, code_of("coop")) == (16, 1, "")
    file.write_text(WORKING + FORWARD + "    marker = 2\n")  # within a second: a compiled copy would look up to date
    assert (code_of("mine"), method_class("mine").marker) == (first, 1)
    add_plugin(file)
    assert method_class("mine").marker == 2
    assert code_of("mine") != first
    assert not list(file.parent.glob("__pycache__"))
