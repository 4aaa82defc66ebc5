"""The schema as the settings want it served. What is wrong with a manifest's documents is found here, at the start."""

from collections.abc import Sequence

from app.manifest import PersistedDocument, read_manifest, refuse
from app.settings import Settings
from schema.errors import TopLevelCode
from schema.execution.sink import OperationFailed
from schema.guard import ParleySchema
from schema.persisted.documents import PersistedDocuments
from schema.persisted.recent_texts import RecentTexts
from schema.root import schema

_ADVICE = {
    TopLevelCode.QUERY_TOO_COSTLY: "Make it ask for less.",
    TopLevelCode.PARSE_FAILED: "Generate the manifest again, and do not edit it.",
}
_OTHERWISE = "Repair it, and generate the manifest again with the schema that 'parley schema' prints."


def served_schema(settings: Settings, manifest: Sequence[PersistedDocument] | None = None) -> ParleySchema:
    """Raises SettingsError with a line per problem. `manifest` is that of the settings, if it has been read already."""
    served = schema if settings.introspection else schema.without_introspection()
    if manifest is None and settings.persisted_documents is not None:
        manifest = read_manifest(settings.persisted_documents)
    if not manifest and not settings.automatic_persisted_queries:
        return served
    automatic = RecentTexts() if settings.automatic_persisted_queries else None
    served = served.with_persisted(
        PersistedDocuments(manifest or (), only=settings.persisted_documents_only, automatic=automatic)
    )
    refuse([problem for document in manifest or () for problem in _problems(served, document)])
    return served


def _problems(served: ParleySchema, document: PersistedDocument) -> list[str]:
    """At most one, in one line. A document without any is kept from here on."""
    try:
        served.admit(document.text)
    except OperationFailed as failed:
        first = failed.errors[0]
        advice = _ADVICE.get((first.extensions or {})["code"], _OTHERWISE)
        # Below a syntax error's first line is where in the text it is, drawn.
        return [f"{document} cannot be used: {first.message.splitlines()[0]} {advice}"]
    return []
