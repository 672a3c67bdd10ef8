"""Tokens: ``/api/v1/user/token`` for administrators, ``/api/token-auth`` for a password."""

from __future__ import annotations

from typing import Any, ClassVar

from attrs import evolve, frozen
from twisted.web.server import Request

from sbm.model.email import is_email
from sbm.model.user import ADMINISTER, MAX_USERNAME
from sbm.operations.users import AmbiguousUser, UnfitText, create_token
from sbm.store import users
from sbm.store.postgres.database import Transaction
from sbm.web.http.authors import by_author
from sbm.web.http.bodies import FORM, JSON, MULTIPART
from sbm.web.http.endpoint import ApiRequest, Endpoint, OptionsInfo, Reply, new_app, replying
from sbm.web.http.http_errors import Invalid
from sbm.web.http.passwords import Passwords
from sbm.web.openapi.parts import Operation, PathItem, Section, answer_of
from sbm.web.openapi.schemas import one_object, said, schema, taken_by, written
from sbm.web.schema.fields import NON_FIELD, NOT_BLANK, FieldError, Text
from sbm.web.schema.json_schema import TEXT, JsonSchema
from sbm.web.schema.schema import Schema

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
class Password(Text):
    """A text; blanks at its ends are not removed."""

    def parse(self, given: Any) -> str:
        if not isinstance(given, str):
            return super().parse(given)
        if not given:
            raise FieldError(NOT_BLANK)
        objections = self.objections(given)
        if objections:
            raise FieldError(*objections)
        return given


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
        Password(name="password", note="The password, as it is."),
    ]
)

_USER_TOKEN = OptionsInfo(
    name="User", description="Makes a token for a user; if there is no such user, makes the user."
)
_TOKEN_AUTH = OptionsInfo(name="Obtain Auth Token", parses=(FORM, MULTIPART, JSON))


@frozen(eq=False, kw_only=True)
class UserTokens:
    """Administrators make tokens for others."""

    app = new_app()

    endpoint: Endpoint

    @app.route("/")
    async def tokens(self, request: Request) -> bytes:
        methods = {"POST": replying(_create)}
        return await self.endpoint.answer(request, _USER_TOKEN, methods, permission=ADMINISTER)


async def _create(transaction: Transaction, request: ApiRequest) -> Reply:
    parsed = EMAIL_SCHEMA.read(request.body())
    parsed.check()
    try:
        token = await create_token(transaction, **parsed.attributes())
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

    @app.route("/")
    async def log_in(self, request: Request) -> bytes:
        methods = {"POST": self._create}
        return await self.endpoint.answer(request, _TOKEN_AUTH, methods, needs_user=False)

    async def _create(self, request: ApiRequest) -> Reply:
        parsed = PASSWORD_SCHEMA.read(request.body())
        parsed.check()
        user = await self.passwords.user_with(**parsed.attributes())
        if user is None:
            raise Invalid({NON_FIELD: [WRONG_PASSWORD]}, kind="wrong-password")
        assert user.id is not None
        author = evolve(request.author(), actor=user.username, user_id=user.id)
        token = await self.endpoint.database.transact(
            by_author, author, users.add_token, user_id=user.id
        )
        return Reply(body={"token": token})


SECTION = Section(
    tags=[("Users", "Tokens to authenticate with.")],
    paths=[
        PathItem(
            path="/api/v1/user/token/",
            tag="Users",
            permission=ADMINISTER,
            operations={
                "POST": Operation(
                    name="create_user_token",
                    summary="Make a token for a user",
                    description="If there is no user with this name, the user is made, too."
                    " Capitals do not count, except if there is a user of exactly this name."
                    " For administrators.",
                    body=schema("EmailWritten"),
                    example={"email": "bob@example.org"},
                    answers={201: answer_of(schema("Token"), "The token.")},
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
                    answers={200: answer_of(schema("Token"), "The token.")},
                )
            },
        ),
    ],
    schemas={
        "EmailWritten": written(EMAIL_SCHEMA),
        "PasswordWritten": written(PASSWORD_SCHEMA),
        "Token": one_object(
            {"token": said(TEXT, "A new token. It is shown once. Older tokens stay valid.")}
        ),
    },
)
