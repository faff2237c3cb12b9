"""The template catalogue: the shipped one, and what is no catalogue."""

from __future__ import annotations

import pytest

from sandbox_service.providers.catalogue import CatalogueError, YamlCatalogue

GOOD = """
languages:
  ruby: {command: [ruby, -W0], extension: .rb}
templates:
  mine: {id: abc123, cpu: 4, memory_mib: 2048, languages: [ruby], description: Ruby.}
"""


def test_the_shipped_catalogue_has_the_promised_templates_and_languages():
    """`base`, `python` and `node` are in every example."""
    shipped = YamlCatalogue.load(None)

    assert [template.name for template in shipped.templates] == ["base", "python", "node"]
    assert {"python", "javascript", "bash"} <= set(shipped.languages)


def test_another_file_replaces_it_whole(tmp_path):
    """An operator's templates are not mixed with ours."""
    path = tmp_path / "catalogue.yaml"
    path.write_text(GOOD)

    mine = YamlCatalogue.load(path)

    assert [template.backend_id for template in mine.templates] == ["abc123"]
    assert mine.languages["ruby"].command == ("ruby", "-W0")


@pytest.mark.parametrize(
    "text",
    [
        "",
        "- a list",
        "templates: {}",
        "languages: {}\ntemplates: {}",
        "languages: {}\ntemplates: {a: {id: x}}",
        "languages: {}\ntemplates: {a: {id: x, cpu: many, memory_mib: 1}}",
        GOOD.replace("[ruby],", "[perl],"),
        "a: [unclosed",
    ],
)
def test_what_is_no_catalogue_is_refused_with_the_files_name(text):
    """The operator learns which file, and why, at the start."""
    with pytest.raises(CatalogueError, match=r"^my\.yaml"):
        YamlCatalogue(text, "my.yaml")


def test_a_file_that_is_not_there_is_told(tmp_path):
    """No traceback for a wrong path."""
    with pytest.raises(CatalogueError, match="cannot be read"):
        YamlCatalogue.load(tmp_path / "none.yaml")


def test_a_root_filesystem_is_named_from_the_folder_of_the_file(tmp_path):
    """Both can be moved together; only the embedded backend looks at it."""
    path = tmp_path / "catalogue.yaml"
    path.write_text(GOOD.replace("cpu: 4,", "cpu: 4, rootfs: ruby.tar,"))

    assert YamlCatalogue.load(path).roots == {"abc123": tmp_path / "ruby.tar"}
    path.write_text(GOOD.replace("cpu: 4,", "cpu: 4, rootfs: /srv/ruby,"))
    assert YamlCatalogue.load(path).roots["abc123"].as_posix() == "/srv/ruby"
    path.write_text(GOOD)
    assert YamlCatalogue.load(path).roots == {}


def test_templates_of_one_id_have_one_root():
    """The backend knows only the id."""
    second = "  other: {id: abc123, cpu: 1, memory_mib: 1, rootfs: other.tar}\n"
    with pytest.raises(CatalogueError, match="differ in rootfs"):
        YamlCatalogue(GOOD + second, "my.yaml")
