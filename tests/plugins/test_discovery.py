"""Sources of methods: files and installed packages, their names, and names that are taken."""

import os

import pytest

from benchmark.errors import ConfigError, MethodError
from benchmark.plugins import discovery
from benchmark.plugins.discovery import add_plugin, clashes, method_names, origin_of, repository_names, source_of
from benchmark.plugins.importer import code_of, method_class
from benchmark.plugins.recipes import resolve_recipe

pytestmark = pytest.mark.usefixtures("own_plugins")


@pytest.mark.parametrize("name", ["My_Method", "my-method", "2nd", "class", "failed", "_mine", "naïve"])
def test_file_whose_name_cannot_be_a_methods_is_refused(plugin, name):
    with pytest.raises(ConfigError, match="cannot name a method"):
        add_plugin(plugin(name))


def test_missing_file_and_file_that_is_not_python_are_refused(tmp_path, plugin):
    for path, problem in ((tmp_path / "nowhere.py", "does not exist"), (tmp_path, "is a folder")):
        with pytest.raises(ConfigError, match=rf"--plugin .*: {problem}"):
            add_plugin(path)
    with pytest.raises(ConfigError, match="is not a Python file"):
        add_plugin(plugin("mine").with_suffix(".yaml"))


def test_name_that_is_taken_is_refused_naming_both_files(plugin):
    with pytest.raises(MethodError, match=r"plugins/coop.py: the name 'coop' is taken \(methods/coop.py\). Rename"):
        add_plugin(plugin("coop"))
    assert not source_of("coop").is_plugin
    one, other = plugin("mine", folder="one"), plugin("mine", folder="other")
    add_plugin(one)
    with pytest.raises(MethodError, match=r"other/mine.py: the name 'mine' is taken \(.*one/mine.py\)"):
        add_plugin(other)
    assert source_of("mine").path == one


def test_same_file_may_be_given_again_and_by_another_path(plugin, tmp_path, monkeypatch):
    file = plugin("mine")
    monkeypatch.chdir(tmp_path)
    os.symlink(file.parent, tmp_path / "link")
    names = {add_plugin(file), add_plugin("plugins/mine.py"), add_plugin("link/mine.py")}
    assert names == {"mine"}
    assert add_plugin(discovery.METHODS / "coop.py") == "coop"
    assert not source_of("coop").is_plugin


def test_plugin_is_a_method_but_not_one_of_the_repository(plugin):
    add_plugin(plugin("mine"))
    assert "mine" in method_names()
    assert "mine" not in repository_names()
    assert origin_of("mine") == {"file": "mine.py"}
    assert origin_of("coop") is None


@pytest.mark.parametrize("value", ["our_methods.ours:MyMethod", "our_methods.ours"])
def test_installed_package_offers_a_method_with_its_recipe_next_to_the_module(package, value):
    package("our-methods", {"held": value})
    assert method_class("held").__name__ == "MyMethod"
    assert resolve_recipe("held", template="{}.").options["n_ctx"] == 4
    assert len(code_of("held")) == 16
    assert origin_of("held") == {"file": "ours.py", "package": "our-methods", "version": "1.2"}
    assert clashes() == []


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("our_methods.gone:MyMethod", r"method 'held' of our-methods .*: there is no Python file of module"),
        ("nothing_here.ours:MyMethod", r"method 'held' of our-methods .*: ModuleNotFoundError"),
        ("our_methods.ours:Other", r"ours.py:1: defines 0 subclasses of Method"),
    ],
)
def test_wrong_entry_point_is_reported(package, value, message):
    package("our-methods", {"held": value})
    with pytest.raises(MethodError, match=message):
        method_class("held")


def test_installed_method_whose_name_is_taken_is_left_out_and_reported(package, plugin):
    entries = dict.fromkeys(["coop", "Loud-Name", "mine"], "our_methods.ours:MyMethod")
    package("our-methods", entries)
    assert method_class("coop").__module__ == "methods.coop"
    taken, unfit = sorted(clashes(), key=lambda text: "coop" not in text)
    assert taken.startswith("method 'coop' of our-methods")
    assert taken.endswith("is left out: its name is taken.")
    assert unfit.endswith("is left out: its name cannot be a method's.")
    with pytest.raises(MethodError, match=r"'mine' is taken .method 'mine' of our-methods"):
        add_plugin(plugin("mine"))
