"""Users, and their tokens by an e-mail address or a password: ``/api/v1/users`` and others."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any, ClassVar

from attrs import evolve, frozen
from twisted.web.server import Request

from sbm.model.echo import echoed
from sbm.model.email import is_email
from sbm.model.user import (
    ADMINISTER,
    CONTENT_EDIT,
    MAX_EMAIL,
    MAX_USERNAME,
    PERMISSIONS,
    STORED_PERMISSIONS,
    USUAL,
)
from sbm.operations.usernames import UnfitText
from sbm.operations.users import (
    AmbiguousUser,
    change_user,
    create_token,
    create_user,
    issue_token,
)
from sbm.store import users
from sbm.store.postgres.transaction import Transaction
from sbm.store.users import UserRecord
from sbm.web.declaration.collection import Collection, collection_app
from sbm.web.declaration.resource import Resource
from sbm.web.declaration.sentences import Sentences
from sbm.web.http.api_request import ApiRequest
from sbm.web.http.authors import by_author
from sbm.web.http.bodies import FORM, JSON, MULTIPART
from sbm.web.http.endpoint import Endpoint, Method, new_app, replying
from sbm.web.http.http_errors import Invalid, NotFound
from sbm.web.http.needs import Needs
from sbm.web.http.passwords import Passwords
from sbm.web.http.reply import OptionsInfo, Reply
from sbm.web.http.wire import row_id
from sbm.web.openapi.parts import TOO_MANY, Operation, PathItem, Section, answer_of
from sbm.web.openapi.schemas import one_object, ref, said, schema, taken_by, written
from sbm.web.schema import filters
from sbm.web.schema.fields import (
    CREATED_AT,
    ID,
    NON_FIELD,
    NOT_BLANK,
    Boolean,
    Field,
    FieldError,
    ReadOnly,
    Text,
)
from sbm.web.schema.filters import Filter
from sbm.web.schema.json_schema import TEXT, JsonSchema
from sbm.web.schema.schema import ParsedBody, Schema

WRONG_EMAIL = "Enter a valid email address."
WRONG_PASSWORD = "Unable to log in with provided credentials."  # noqa: S105 (a sentence)


@frozen(kw_only=True)
class Email(Text):
    """An e-mail address that can be the name of a user."""

    kind: ClassVar[str] = "email"

    def parse(self, given: Any) -> str:
        if isinstance(given, bool) or not isinstance(given, (str, int, float)):
            raise FieldError(WRONG_EMAIL)
        return super().parse(given)

    def objections(self, text: str) -> list[str]:
        if self.max_length is not None and len(text) > self.max_length:
            return super().objections(text)  # do not parse such a long text
        return super().objections(text) + ([] if is_email(text) else [WRONG_EMAIL])


@frozen(kw_only=True)
class Verbatim(Text):
    """A text; blanks at its ends are not removed."""

    def parse(self, given: Any) -> str:
        if not isinstance(given, str):
            return super().parse(given)
        if not given and not self.blank:
            raise FieldError(NOT_BLANK)
        objections = self.objections(given)
        if objections:
            raise FieldError(*objections)
        return given


@frozen(kw_only=True)
class OptionalEmail(Verbatim):
    """An e-mail address, or nothing; the operation checks the form of a new one."""

    kind: ClassVar[str] = "email"


@taken_by.register
def _(field: Email) -> JsonSchema:
    return TEXT | {"format": "email", "maxLength": field.max_length}


EMAIL_SCHEMA = Schema(
    [
        Email(
            name="email",
            max_length=MAX_USERNAME,
            note="The e-mail address. It is also the name of the user.",
        )
    ]
)
PASSWORD_SCHEMA = Schema(
    [
        Text(name="username", note="The name of the user."),
        Verbatim(name="password", note="The password, as it is."),
    ]
)

_USER_TOKEN_NEEDS = Needs(of_path=ADMINISTER, is_told=False)
_USER_TOKEN = OptionsInfo(
    name="User", description="Makes a token for a user; if there is no such user, makes the user."
)
_TOKEN_AUTH = OptionsInfo(name="Obtain Auth Token", parses=(FORM, MULTIPART, JSON))


@frozen(eq=False, kw_only=True)
class UserTokens:
    """Administrators make tokens for others."""

    app = new_app()

    endpoint: Endpoint
    max_tokens: int

    @app.route("/")
    async def tokens(self, request: Request) -> bytes:
        methods = {"POST": replying(self._create)}
        return await self.endpoint.answer(request, _USER_TOKEN, methods, needs=_USER_TOKEN_NEEDS)

    async def _create(self, transaction: Transaction, request: ApiRequest) -> Reply:
        parsed = EMAIL_SCHEMA.read(request.body())
        parsed.check()
        try:
            token = await create_token(transaction, **parsed.attributes(), most=self.max_tokens)
        except UnfitText as error:
            raise Invalid({"email": [f"An e-mail address of a new user {error}."]}) from None
        except AmbiguousUser as error:
            raise Invalid({"email": [f"{error}."]}) from None
        return Reply(status=201, body={"token": token})


@frozen(eq=False, kw_only=True)
class TokenAuth:
    """Users make tokens for themselves, with their password."""

    app = new_app()

    endpoint: Endpoint
    passwords: Passwords
    max_tokens: int

    @app.route("/")
    async def log_in(self, request: Request) -> bytes:
        methods = {"POST": self._create}
        return await self.endpoint.answer(request, _TOKEN_AUTH, methods, needs_user=False)

    async def _create(self, request: ApiRequest) -> Reply:
        parsed = PASSWORD_SCHEMA.read(request.body())
        parsed.check()
        user = await self.passwords.user_with(**parsed.attributes(), address=request.address)
        if user is None:
            raise Invalid({NON_FIELD: [WRONG_PASSWORD]}, kind="wrong-password")
        assert user.id is not None
        author = evolve(request.author(), actor=user.username, user_id=user.id)
        _, token = await self.endpoint.database.transact(
            by_author, author, issue_token, user_id=user.id, most=self.max_tokens
        )
        return Reply(body={"token": token})


@frozen(kw_only=True)
class Permissions(Field):
    """A list of permissions, in the order of the table of permissions."""

    kind: ClassVar[str] = "list"

    def parse(self, given: Any) -> list[str]:
        if isinstance(given, str) or not isinstance(given, Sequence):
            raise FieldError(f'Expected a list of items but got type "{type(given).__name__}".')
        unknown = [one for one in given if one not in STORED_PERMISSIONS]
        if unknown:
            raise FieldError(*(f'"{echoed(one)}" is not a valid choice.' for one in unknown))
        return [one for one in STORED_PERMISSIONS if one in given]

    def show(self, value: Any, request: ApiRequest) -> list[str]:  # noqa: ARG002
        return list(value)


@taken_by.register
def _(field: Permissions) -> JsonSchema:  # noqa: ARG001
    return {"type": "array", "items": TEXT | {"enum": list(STORED_PERMISSIONS)}}


SCHEMA = Schema(
    [
        ReadOnly(name="id", shown_as="integer", note=ID),
        Verbatim(name="username", max_length=MAX_USERNAME, note="A unique name."),
        OptionalEmail(
            name="email",
            max_length=MAX_EMAIL,
            blank=True,
            default="",
            note="The e-mail address; it may be empty.",
        ),
        Boolean(
            name="is_active", default=True, note="Whether the user's tokens and password are valid."
        ),
        Boolean(name="is_admin", default=False, note="Whether the user holds all permissions."),
        Boolean(
            name="is_limited",
            default=False,
            note="Whether the user holds only the `permissions`; otherwise, also "
            + ", ".join(one for one in PERMISSIONS if one in USUAL)
            + ".",
        ),
        Permissions(
            name="permissions",
            default=[],
            note="What was granted. "
            + " ".join(f"{name}: {PERMISSIONS[name]}" for name in STORED_PERMISSIONS),
        ),
        Verbatim(
            name="password",
            write_only=True,
            null=True,
            default=None,
            note="A new password; null: it stays as it is, and a new user has none.",
        ),
        ReadOnly(name="created_at", shown_as="datetime", note=CREATED_AT),
    ]
)

FILTERS = [
    Filter(name="username", read=filters.text, note="The user with this name."),
    Filter(name="email", read=filters.text, note="Users with this e-mail address."),
    Filter(name="is_active", read=filters.boolean, note="Whether users are active."),
    Filter(name="is_admin", read=filters.boolean, note="Whether users are administrators."),
    Filter(name="is_limited", read=filters.boolean, note="Whether users are limited."),
]

RESOURCE = Resource[UserRecord](
    path="/api/v1/users/",
    title="User",
    description="The users of this service.",
    methods=("GET", "POST", "PUT", "PATCH"),
    needs=Needs(of_path=ADMINISTER),
    schema=SCHEMA,
    filters=FILTERS,
    key="user_id",
    list_page=users.list_page,
    find=users.find,
    create=create_user,
    change=change_user,
    sentences=Sentences(
        tag="Users",
        name="user",
        one="a user",
        many="users",
        schema_name="User",
        key="The user.",
        notes={
            "POST": "A user without a password can only use tokens.",
            "PUT": "A field that is left out and has a default is not changed.",
        },
        changed={409: ref("responses", "LastAdministrator")},
        example={
            "username": "editor@example.org",
            "is_limited": True,
            "permissions": [CONTENT_EDIT],
        },
        change={"is_active": False},
    ),
)


@frozen(eq=False, kw_only=True)
class Users(Collection):
    """The users. A password is hashed before the transaction, because that takes long."""

    app = collection_app()
    resource = RESOURCE

    passwords: Passwords

    def list_methods(self) -> dict[str, Method]:
        """The methods of the list."""
        return super().list_methods() | {"POST": self._create_user}

    def row_methods(self, key: str) -> dict[str, Method]:
        """The methods of one user."""
        change = partial(self._change_user, key)
        return super().row_methods(key) | {"PUT": change, "PATCH": change}

    async def _create_user(self, request: ApiRequest) -> Reply:
        parsed = SCHEMA.read(request.body())
        await self._hash(parsed)
        with self.refusals_told():
            made = await self.endpoint.database.transact(
                by_author, request.author(), create_user, draft=self.draft(parsed, request)
            )
        return Reply(status=201, body=RESOURCE.shown(request, made))

    async def _change_user(self, key: str, request: ApiRequest) -> Reply:
        user_id = row_id(key)
        if await self.endpoint.database.transact(users.find, user_id=user_id) is None:
            raise NotFound
        parsed = SCHEMA.read(request.body(), method=request.method)
        await self._hash(parsed)
        changes = partial(self.draft, parsed, request)
        with self.refusals_told():
            changed = await self.endpoint.database.transact(
                by_author, request.author(), change_user, changes=changes, user_id=user_id
            )
        return Reply(body=RESOURCE.shown(request, changed))

    async def _hash(self, parsed: ParsedBody) -> None:
        """Replace the password, if there is one, by its hash."""
        password = parsed.values.get("password")
        if password is not None:
            parsed.values["password"] = await self.passwords.hashed(password)


SECTION = Section(
    tags=[("Users", "Users, their permissions, and tokens to authenticate with.")],
    paths=[
        *RESOURCE.paths(),
        PathItem(
            path="/api/v1/user/token/",
            tag="Users",
            needs=_USER_TOKEN_NEEDS,
            operations={
                "POST": Operation(
                    name="create_user_token",
                    summary="Make a token for a user",
                    description="If there is no user with this name, the user is made, too."
                    " Capitals do not count, except if there is a user of exactly this name."
                    " For administrators.",
                    body=schema("EmailWritten"),
                    example={"email": "bob@example.org"},
                    answers={201: answer_of(schema("Token"), "The token."), **TOO_MANY},
                )
            },
        ),
        PathItem(
            path="/api/token-auth/",
            tag="Users",
            needs_user=False,
            operations={
                "POST": Operation(
                    name="create_own_token",
                    summary="Make a token with a password",
                    description="The request needs no authentication. If it has an Authorization"
                    " header, the credentials in it must be right.",
                    body=schema("PasswordWritten"),
                    example={"username": "bob@example.org", "password": "as it is"},
                    answers={200: answer_of(schema("Token"), "The token."), **TOO_MANY},
                )
            },
        ),
    ],
    schemas={
        **RESOURCE.schemas(),
        "EmailWritten": written(EMAIL_SCHEMA),
        "PasswordWritten": written(PASSWORD_SCHEMA),
        "Token": one_object(
            {"token": said(TEXT, "A new token. It is shown once. Older tokens stay valid.")}
        ),
    },
)
