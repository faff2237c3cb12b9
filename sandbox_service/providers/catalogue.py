"""The template catalogue, read from a YAML file. Implements `domain.ports.Catalogue`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib import resources
from pathlib import Path
from typing import Any

import yaml

from sandbox_service.domain.sandboxes import Language, Resources, Template


class CatalogueError(Exception):
    """The file is no catalogue. The message says where and why."""


class YamlCatalogue:
    """Templates and languages as a YAML file names them.

    Args:
        text: The file's content; see `catalogue.yaml` for its shape.
        origin: What to call the file in errors.
        folder: Where paths in it start.

    Attributes:
        roots: Root filesystems for the embedded backend, by the templates' `backend_id`.

    Raises:
        CatalogueError: It does not have that shape.
    """

    def __init__(self, text: str, origin: str, folder: Path = Path()) -> None:
        try:
            content = yaml.safe_load(text)
        except yaml.YAMLError as error:
            raise CatalogueError(f"{origin} is not YAML: {error}") from error
        try:
            self._languages = {
                name: Language(name, tuple(map(str, it["command"])), str(it["extension"]))
                for name, it in content["languages"].items()
            }
            self._templates = tuple(
                _template(name, it) for name, it in content["templates"].items()
            )
            self.roots: Mapping[str, Path] = _roots(content["templates"], folder)
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise CatalogueError(f"{origin} is not a catalogue: {error!r}") from error
        if not self._templates:
            raise CatalogueError(f"{origin} names no template")
        for template in self._templates:
            unknown = set(template.languages) - set(self._languages)
            if unknown:
                raise CatalogueError(
                    f"{origin}: {template.name} lists unknown languages {sorted(unknown)}"
                )

    @classmethod
    def load(cls, path: Path | None) -> YamlCatalogue:
        """Read the catalogue at `path`, or the one that the service ships."""
        if path is None:
            shipped = resources.files(__package__).joinpath("catalogue.yaml")
            return cls(shipped.read_text(), "the shipped catalogue")
        try:
            return cls(path.read_text(), str(path), path.absolute().parent)
        except OSError as error:
            raise CatalogueError(f"{path} cannot be read: {error.strerror}") from error

    @property
    def templates(self) -> Sequence[Template]:
        """See `Catalogue`."""
        return self._templates

    @property
    def languages(self) -> Mapping[str, Language]:
        """See `Catalogue`."""
        return self._languages


def _template(name: str, it: Mapping[str, Any]) -> Template:
    return Template(
        name=name,
        backend_id=str(it["id"]),
        resources=Resources(int(it["cpu"]), int(it["memory_mib"])),
        languages=tuple(it.get("languages", ())),
        description=str(it.get("description", "")),
    )


def _roots(templates: Mapping[str, Mapping[str, Any]], folder: Path) -> dict[str, Path]:
    roots: dict[str, set[str | None]] = {}
    for it in templates.values():
        roots.setdefault(str(it["id"]), set()).add(it.get("rootfs"))
    for backend_id, named in roots.items():
        if len(named) > 1:
            raise ValueError(f"templates of the id {backend_id} differ in rootfs")
    return {
        backend_id: folder / str(root)
        for backend_id, named in roots.items()
        for root in named
        if root is not None
    }
