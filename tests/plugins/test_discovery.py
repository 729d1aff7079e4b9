"""Where methods come from: files and installed packages, their names, and names that clash."""

import os

import pytest

from benchmark.errors import ConfigError, MethodError
from benchmark.plugins import discovery
from benchmark.plugins.discovery import add_plugin, clashes, method_names, origin_of, repository_names, source_of
from benchmark.plugins.factory import resolve_recipe
from benchmark.plugins.importer import code_of, method_class

pytestmark = pytest.mark.usefixtures("own_plugins")


@pytest.mark.parametrize("name", ["My_Method", "my-method", "my method", "2nd", "class", "failed", "_mine", "naïve"])
def test_file_whose_name_cannot_be_a_methods_is_refused(plugin, name):
    with pytest.raises(ConfigError, match="cannot name a method"):
        add_plugin(plugin(name))


def test_file_that_is_not_there_or_no_python_is_refused(tmp_path, plugin):
    with pytest.raises(ConfigError, match=r"--plugin .*nowhere.py: is not there"):
        add_plugin(tmp_path / "nowhere.py")
    with pytest.raises(ConfigError, match="is no Python file"):
        add_plugin(plugin("mine").with_suffix(".yaml"))
    with pytest.raises(ConfigError, match="is not there"):
        add_plugin(tmp_path)


def test_name_of_a_method_of_the_repository_is_refused_naming_both_files(plugin):
    with pytest.raises(MethodError, match=r"plugins/coop.py: .* already \(methods/coop.py\). Rename"):
        add_plugin(plugin("coop"))
    assert not source_of("coop").is_plugin


def test_two_plugins_of_one_name_are_refused_naming_both_files(plugin):
    one, other = plugin("mine", folder="one"), plugin("mine", folder="other")
    add_plugin(one)
    with pytest.raises(MethodError, match=r"other/mine.py: .* already \(.*one/mine.py\)"):
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


def test_plugin_stands_among_the_methods_but_not_among_ours(plugin):
    add_plugin(plugin("mine"))
    assert "mine" in method_names()
    assert "mine" not in repository_names()
    assert origin_of("mine") == {"file": "mine.py"}
    assert origin_of("coop") is None


def test_installed_package_offers_a_method_with_its_recipe_beside_the_module(package):
    package("our-methods", {"held": "our_methods.ours:MyMethod"})
    assert method_class("held").__name__ == "MyMethod"
    assert resolve_recipe("held", template="{}.").options["n_ctx"] == 4
    assert len(code_of("held")) == 16
    assert origin_of("held") == {"file": "ours.py", "package": "our-methods", "version": "1.2"}
    assert clashes() == []


def test_entry_point_without_a_class_takes_the_one_of_its_module(package):
    package("our-methods", {"held": "our_methods.ours"})
    assert method_class("held").__name__ == "MyMethod"


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("our_methods.gone:MyMethod", r"method 'held' of our-methods .*: there is no Python file of module"),
        ("nothing_here.ours:MyMethod", r"method 'held' of our-methods .*: ModuleNotFoundError"),
        ("our_methods.ours:Other", r"ours.py:1: defines 0 subclasses of Method"),
    ],
)
def test_entry_point_that_leads_nowhere_is_told(package, value, message):
    package("our-methods", {"held": value})
    with pytest.raises(MethodError, match=message):
        method_class("held")


def test_installed_method_without_a_recipe_is_told(package):
    package("our-methods", {"held": "our_methods.ours:MyMethod"}, recipe=False)
    with pytest.raises(MethodError, match=r"its recipe ours.yaml is not beside it"):
        resolve_recipe("held", template="{}.")


def test_installed_method_whose_name_is_taken_is_left_out_and_told(package):
    package("our-methods", {"coop": "our_methods.ours:MyMethod", "Loud-Name": "our_methods.ours:MyMethod"})
    assert method_class("coop").__module__ == "methods.coop"
    taken, unfit = sorted(clashes(), key=lambda text: "coop" not in text)
    assert taken.startswith("method 'coop' of our-methods")
    assert taken.endswith("is left out: its name is taken.")
    assert unfit.endswith("is left out: its name cannot be a method's.")


def test_file_whose_name_an_installed_package_has_is_refused(package, plugin):
    package("our-methods", {"mine": "our_methods.ours:MyMethod"})
    with pytest.raises(MethodError, match=r"already .method 'mine' of our-methods"):
        add_plugin(plugin("mine"))
