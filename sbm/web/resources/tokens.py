"""``/api/v1/tokens``: the tokens of all users, for administrators."""

from __future__ import annotations

from attrs import frozen

from sbm.model.user import ADMINISTER, MAX_TOKEN_NAME
from sbm.operations.users import issue_token, revoke_token
from sbm.store import subscriptions, users
from sbm.store.postgres.transaction import Transaction
from sbm.store.users import TokenRecord
from sbm.web.declaration.collection import Collection, collection_app
from sbm.web.declaration.resource import Resource
from sbm.web.declaration.sentences import Sentences
from sbm.web.http.api_request import ApiRequest
from sbm.web.http.needs import Needs
from sbm.web.http.reply import Reply
from sbm.web.openapi.parts import TOO_MANY, Operation, Section, answer_of
from sbm.web.openapi.schemas import one_object, said, schema, shown
from sbm.web.schema import filters
from sbm.web.schema.fields import CREATED_AT, ID, ReadOnly, Reference, Text
from sbm.web.schema.filters import Filter
from sbm.web.schema.json_schema import TEXT
from sbm.web.schema.moments import Moment
from sbm.web.schema.schema import Schema

SCHEMA = Schema(
    [
        ReadOnly(name="id", shown_as="integer", note=ID),
        Reference(name="user", attribute="user_id", hold=users.hold, note="The user of the token."),
        ReadOnly(name="username", note="The name of the user."),
        Text(
            name="name",
            max_length=MAX_TOKEN_NAME,
            blank=True,
            default="",
            note="What the token is for.",
        ),
        ReadOnly(name="created_at", shown_as="datetime", note=CREATED_AT),
        Moment(
            name="expires_at",
            null=True,
            default=None,
            note="From when on it is refused; null: it never expires.",
        ),
        Moment(
            name="last_used_at",
            read_only=True,
            null=True,
            note="When it was used, as of an hour ago; null: it was not used.",
        ),
        Moment(name="revoked_at", read_only=True, null=True, note="When it was revoked."),
    ]
)

FILTERS = [
    Filter(
        name="user",
        parameter="user_id",
        read=filters.reference,
        exists=subscriptions.knows_user,
        note="Tokens of this user.",
    ),
    Filter(
        name="is_live",
        read=filters.boolean,
        note="Whether tokens are neither revoked nor expired.",
    ),
]

RESOURCE = Resource[TokenRecord](
    path="/api/v1/tokens/",
    title="Token",
    description="The tokens of all users, without the tokens themselves.",
    methods=("GET", "POST", "DELETE"),
    needs=Needs(of_path=ADMINISTER),
    schema=SCHEMA,
    filters=FILTERS,
    key="token_id",
    list_page=users.list_tokens_page,
    find=users.find_token,
    delete=revoke_token,
    sentences=Sentences(
        tag="Users",
        name="token",
        one="a token",
        many="tokens",
        schema_name="TokenRecord",
        key="The token.",
        notes={"DELETE": "It is revoked for ever. Its row stays, with `revoked_at`."},
        post=Operation(
            name="create_token",
            summary="Make a token for a user",
            description="The answer has the token itself, which is shown only once.",
            body=schema("TokenRecordWritten"),
            example={"user": 2, "name": "the hub", "expires_at": "2030-01-01T00:00:00Z"},
            answers={
                201: answer_of(schema("NewToken"), "The token."),
                **TOO_MANY,
            },
        ),
    ),
)


@frozen(eq=False, kw_only=True)
class Tokens(Collection):
    """The tokens; a user has at most ``max_tokens`` live ones."""

    app = collection_app()
    resource = RESOURCE

    max_tokens: int

    async def create(self, transaction: Transaction, request: ApiRequest) -> Reply:
        """Make a token; only this answer shows it."""
        draft = self.draft(SCHEMA.read(request.body()), request)
        with self.refusals_told():
            (await draft.hold_references(transaction)).check()
            token_id, token = await issue_token(transaction, **draft.values, most=self.max_tokens)
        made = await users.find_token(transaction, token_id=token_id)
        assert made is not None
        return Reply(status=201, body={**RESOURCE.shown(request, made), "token": token})


_schemas = RESOURCE.schemas()

SECTION = Section(
    paths=RESOURCE.paths(),
    schemas={
        **{name: one for name, one in _schemas.items() if name != "TokenRecordChanged"},
        "NewToken": one_object(
            shown(SCHEMA)["properties"] | {"token": said(TEXT, "The token. It is shown once.")}
        ),
    },
)
