"""The schema as it is served: documents are limited before they cost anything, errors leave with codes."""

from collections.abc import Iterator
from copy import copy
from typing import Any, Self, cast

import strawberry
from graphql import (
    DocumentNode,
    GraphQLError,
    GraphQLSchema,
    NoSchemaIntrospectionCustomRule,
    OperationDefinitionNode,
    parse,
    specified_rules,
    validate,
)
from graphql.validation.validate import ValidationAbortedError
from strawberry.extensions import SchemaExtension
from strawberry.schema.validation_rules.maybe_null import MaybeNullValidationRule
from strawberry.schema.validation_rules.one_of import OneOfInputValidationRule
from strawberry.types.execution import ExecutionContext

from schema.errors import TopLevelCode, coded, settle_errors, settle_exception
from schema.execution.documents import Document, ValidDocuments
from schema.execution.once import resolve_once
from schema.execution.sink import OperationFailed
from schema.limits import MAX_LENGTH, MAX_TOKENS, check_cost, check_shape
from schema.persisted.documents import PersistedDocuments

# How the library words that the budget of schema/limits/shape.py is spent; at 100 errors it says another thing.
ABORTED = "Validation aborted."
COMPARISON_TOO_LONG = "Too many fields of the same name to compare. Ask for each once, in fewer fragments."


class ParleySchema(strawberry.Schema):
    """A Strawberry schema with this server's limits and error codes, on every transport."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.introspection = True
        self.persisted = PersistedDocuments()
        self.documents = ValidDocuments()
        resolve_once(self.core)

    def without_introspection(self) -> Self:
        """The same schema for clients that may not explore it: no __schema, no __type, no "Did you mean"."""
        other = copy(self)
        other.introspection = False
        other.documents = ValidDocuments(self.persisted.texts)
        return other

    def with_persisted(self, persisted: PersistedDocuments) -> Self:
        """The same schema for clients that may send the ids of these."""
        other = copy(self)
        other.persisted = persisted
        other.documents = ValidDocuments(persisted.texts)
        return other

    def get_extensions(self, sync: bool = False) -> list[SchemaExtension]:  # noqa: FBT001, FBT002 - Strawberry's
        return [Guard(self), *super().get_extensions(sync)]

    @property
    def core(self) -> GraphQLSchema:
        """graphql-core's schema, which Strawberry gives no public name."""
        return self._schema

    def operation(self, text: str, name: str | None) -> tuple[Document, OperationDefinitionNode]:
        """The valid document of this text, and the operation in it; its cost is not checked yet.

        Raises OperationFailed.
        """
        document = self.documents.get(text)
        if document is None:
            node = _parsed(text)
            operation = _operation(node, name)
            if isinstance(operation, GraphQLError):
                raise OperationFailed([operation])
            document = self._validated(text, node, name)
        operation = _operation(document.node, name)
        if isinstance(operation, GraphQLError):
            raise OperationFailed([operation])
        return document, operation

    def admit(self, text: str) -> Document:
        """The valid document of this text, whichever operations are in it. Raises OperationFailed."""
        return self.documents.get(text) or self._validated(text, _parsed(text), None)

    def _validated(self, text: str, node: DocumentNode, name: str | None) -> Document:
        errors = self.refuse(node)
        if errors:
            settle_errors(errors, operation=name, suggestions=self.introspection)
            raise OperationFailed(errors)
        return self.documents.add(text, node)

    def refuse(self, document: DocumentNode) -> list[GraphQLError]:
        """What is wrong with the document as such: its shape, or its validity. Settled errors."""
        return check_shape(document) or self._validate(document)

    def _validate(self, document: DocumentNode) -> list[GraphQLError]:
        """The rules of Strawberry's own assume a document that is valid otherwise."""
        rules: list[Any] = [*specified_rules]
        if not self.introspection:
            rules.append(NoSchemaIntrospectionCustomRule)
        for each in (rules, [MaybeNullValidationRule, OneOfInputValidationRule]):
            errors = validate(self.core, document, each, hide_suggestions=not self.introspection)
            if any(isinstance(error, ValidationAbortedError) and error.message == ABORTED for error in errors):
                return [coded(COMPARISON_TOO_LONG, TopLevelCode.QUERY_TOO_COSTLY)]
            for error in errors:
                error.extensions = {"code": _code(error).value}
            if errors:
                return errors
        return []

    def process_errors(self, errors: list[GraphQLError], execution_context: ExecutionContext | None = None) -> None:
        """Strawberry would log each of them, users' mistakes too, with the text of the document."""
        operation = execution_context.operation_name if execution_context is not None else None
        settle_errors(errors, operation=operation, suggestions=self.introspection)


class Guard(SchemaExtension):
    """One per operation: parser limits, the limits of the document's shape, validation, cost."""

    def __init__(self, schema: ParleySchema) -> None:
        super().__init__()
        self._schema = schema
        self._is_known = False

    def on_operation(self) -> Iterator[None]:
        options = cast("dict[str, int]", self.execution_context.parse_options)
        options.update(max_tokens=MAX_TOKENS, max_source_length=MAX_LENGTH)
        yield

    def on_parse(self) -> Iterator[None]:
        known = self._schema.documents.get(self.execution_context.query or "")
        if known is not None:
            self.execution_context.graphql_document = known.node
            self._is_known = True
        yield

    def on_validate(self) -> Iterator[None]:
        # A list, be it empty, tells Strawberry that validation is done.
        self.execution_context.pre_execution_errors = self._refuse()
        yield

    def _refuse(self) -> list[GraphQLError]:
        context = self.execution_context
        document = context.graphql_document
        assert document is not None  # noqa: S101 - on_validate runs after parsing
        if not self._is_known:
            errors = self._schema.refuse(document)
            if errors:
                return errors
            self._schema.documents.add(context.query or "", document)
        operation = _operation(document, context._provided_operation_name)  # noqa: SLF001 - its public name invents one
        if isinstance(operation, GraphQLError):
            return [operation]
        return check_cost(self._schema.core, document, operation, context.variables or {})


def _parsed(text: str) -> DocumentNode:
    try:
        return parse(text, max_tokens=MAX_TOKENS, max_source_length=MAX_LENGTH)
    except GraphQLError as error:
        settled = settle_exception(error)
        settled.locations = error.locations
        raise OperationFailed([settled]) from None


def _code(error: GraphQLError) -> TopLevelCode:
    is_limit = error.message == "Maximum introspection depth exceeded"
    return TopLevelCode.QUERY_TOO_COSTLY if is_limit else TopLevelCode.VALIDATION_FAILED


def _operation(document: DocumentNode, name: str | None) -> OperationDefinitionNode | GraphQLError:
    """The operation to execute. Without a name Strawberry takes the first, where the specification wants an error."""
    operations = [node for node in document.definitions if isinstance(node, OperationDefinitionNode)]
    if name is None:
        if len(operations) == 1:
            return operations[0]
        message = f"The document has {len(operations)} operations. Say in 'operationName' which one to run."
        return coded(message, TopLevelCode.BAD_REQUEST)
    for node in operations:
        if node.name is not None and node.name.value == name:
            return node
    return coded(f"The document has no operation '{name}'.", TopLevelCode.BAD_REQUEST)
