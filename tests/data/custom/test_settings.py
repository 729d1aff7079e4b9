"""Finding custom datasets and reading their YAML."""

import pytest

from benchmark.data.custom.settings import CustomSplit, find_source
from benchmark.errors import ConfigError, DataError


@pytest.fixture
def place(tmp_path):
    """A folder `photos` and a file `list.csv`."""
    (tmp_path / "photos").mkdir()
    (tmp_path / "list.csv").write_text("")
    return tmp_path


def refused(error, path):
    with pytest.raises(error) as caught:
        find_source("mine", path)
    return str(caught.value)


def test_data_without_a_yaml_use_the_defaults(place):
    source = find_source("mine", place / "photos")
    assert (source.data, source.images) == (place / "photos", place / "photos")
    assert source.settings.template == "a photo of a {}."
    assert find_source("mine", place / "list.csv").images == place


@pytest.mark.parametrize("suffix", [".yaml", ".yml"])
@pytest.mark.parametrize(("data", "yaml"), [("photos", "photos/dataset"), ("list.csv", "list")])
def test_yaml_next_to_the_data_is_found(place, data, yaml, suffix):
    (place / f"{yaml}{suffix}").write_text("template: '{}.'")
    assert find_source("mine", place / data).settings.template == "{}."


def test_yaml_elsewhere_names_its_data_and_images_relative_to_itself(place):
    (place / "settings").mkdir()
    yaml = place / "settings" / "mine.yaml"
    yaml.write_text("template: '{}.'")
    assert "'data' is missing" in refused(ConfigError, yaml)
    yaml.write_text("data: ../list.csv\nimages: ../photos")
    source = find_source("mine", yaml)
    assert (source.data, source.images) == (place / "list.csv", place / "photos")


def test_paths_are_relative_to_the_working_folder_or_to_home(place, monkeypatch):
    monkeypatch.setenv("HOME", str(place))
    monkeypatch.chdir(place / "photos")
    (place / "mine.yaml").write_text("data: ~/photos\ntemplate: 'mine {}.'")
    (place / "photos" / "dataset.yaml").write_text("template: 'another {}.'")
    assert find_source("mine", "~/list.csv").data == find_source("mine", "../list.csv").data == place / "list.csv"
    source = find_source("mine", "../mine.yaml")
    assert (source.data, source.settings.template) == (place / "photos", "mine {}.")


def test_missing_paths_are_named(place):
    assert f"mine: there is no file or folder {place / 'photo'}. docs/your-own-data.md" in refused(
        DataError, place / "photo"
    )
    (place / "mine.yaml").write_text("data: photo")
    assert f"no file or folder {place / 'photo'}" in refused(DataError, place / "mine.yaml")
    (place / "list.yaml").write_text("data: photos")
    assert "'data' is not" in refused(ConfigError, place / "list.csv")
    (place / "list.yaml").write_text("images: nowhere")
    assert f"there is no folder {place / 'nowhere'}, which 'images'" in refused(DataError, place / "list.csv")


def test_shares_that_leave_nothing_for_test_are_refused():
    with pytest.raises(ConfigError, match="must leave something for test"):
        CustomSplit(train=0.8)
