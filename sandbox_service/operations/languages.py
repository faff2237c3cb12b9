"""Which program runs the source code of a language."""

from __future__ import annotations

from sandbox_service.domain.errors import LanguageNotSupportedError
from sandbox_service.domain.execs import Program, SourceCode
from sandbox_service.domain.ports import Catalogue
from sandbox_service.domain.sandboxes import Language


def language_of(program: Program, template: str, catalogue: Catalogue) -> Language | None:
    """Return how to run a program's source code. None when it is no source code.

    Args:
        program: What is to be run.
        template: The name of the sandbox's template. Empty for a raw one, of
            which the catalogue does not know what it can run.
        catalogue: The languages.

    Raises:
        LanguageNotSupportedError: The template does not run that language.
    """
    if not isinstance(program, SourceCode):
        return None
    language = catalogue.languages.get(program.language)
    offered = {it.name: it.languages for it in catalogue.templates}
    if language is None or program.language not in offered.get(template, (program.language,)):
        raise LanguageNotSupportedError(
            f"The template {template!r} does not run {program.language!r}. "
            "GetCapabilities lists what each runs.",
            metadata={"language": program.language, "template": template},
        )
    return language
