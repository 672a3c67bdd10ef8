"""The paths at the root: the list of the collections, and the description."""

from __future__ import annotations

from sbm.web.http.api_request import ApiRequest
from sbm.web.http.reply import OptionsInfo, Reply
from sbm.web.openapi.parts import Operation, PathItem, Section, allow, answer_of, no_content
from sbm.web.openapi.schemas import one_object
from sbm.web.schema.json_schema import TEXT, URL

COLLECTIONS_OPTIONS = OptionsInfo(name="Api Root", description="The URLs of the collections.")

_COLLECTIONS = ("subscriptions", "failed-tasks", "behind-subscriptions")


async def read_collections(request: ApiRequest) -> Reply:
    """The URLs of the collections."""
    return Reply(body={name: request.url(f"/api/v1/{name}/") for name in _COLLECTIONS})


COLLECTIONS = Section(
    tags=[("Service", "What the service is, and whether it works.")],
    paths=[
        PathItem(
            path="/api/v1/",
            tag="Service",
            operations={
                "GET": Operation(
                    name="read_collections",
                    summary="Read the URLs of the collections",
                    answers={
                        200: answer_of(
                            one_object(
                                {
                                    "subscriptions": URL,
                                    "failed-tasks": URL,
                                    "behind-subscriptions": URL,
                                }
                            ),
                            "Their URLs.",
                        )
                    },
                )
            },
        ),
    ],
)


DESCRIPTION = Section(
    paths=[
        PathItem(
            path="/api/v1/openapi.json",
            tag="Service",
            needs_user=False,
            is_api=False,
            operations={
                "GET": Operation(
                    name="read_description",
                    summary="Read this description",
                    answers={
                        200: answer_of({"type": "object"}, "OpenAPI 3.1."),
                        304: no_content("The client already has this version."),
                    },
                )
            },
        ),
        PathItem(
            path="/docs/",
            tag="Service",
            needs_user=False,
            is_api=False,
            operations={
                "GET": Operation(
                    name="read_docs",
                    summary="Read this description as a page",
                    answers={
                        200: {
                            "description": "The page.",
                            "headers": allow(),
                            "content": {"text/html": {"schema": TEXT}},
                        },
                        304: no_content("The client already has this version."),
                    },
                )
            },
        ),
    ],
)
